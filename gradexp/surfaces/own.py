"""Surfaces from user-defined functions."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

from torch import Tensor

from gradexp.errors import UserError
from gradexp.numbers import Dimension, Number, Points
from gradexp.surfaces.surface import Coordinates, Domain, Surface, check_domain


@dataclass(frozen=True)
class Formula(Surface):
    """A surface whose value is a function of the point and numbers; see `from_function`."""

    function: ClassVar[Callable[..., Tensor]]
    family = "multi_minima"

    dim: Dimension = 2
    domain: Domain = ()
    start: Coordinates = ()

    def __post_init__(self) -> None:
        if not self.domain:
            object.__setattr__(self, "domain", ((-5.0, 5.0),) * self.dim)
        check_domain(self.domain)
        if not self.start:
            object.__setattr__(self, "start", tuple(0.6 * high for _, high in self.domain))
        super().__post_init__()

    def value(self, point: Points) -> Tensor:
        numbers = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in ("dim", "domain", "start")
        }
        return type(self).function(point, **numbers)


@cache
def from_function(function: Callable[..., Tensor]) -> type[Formula]:
    """Returns a surface class whose value is the given function.

    Args:
        function: takes the point as its first argument; each further parameter is a number and
            becomes a field that can be set and swept. It must use only pointwise arithmetic.

    Returns:
        A subclass of `Surface` with the fields `dim` (default 2), `domain` (default [-5, 5] in each
        coordinate), `start` (default 0.6 times the domain's upper corner) and the function's
        parameters.

    Raises:
        UserError: the function does not take a point, takes variadic or positional-only numbers, or
            has a parameter with the name of a surface's field.
    """
    parameters = list(inspect.signature(function).parameters.values())
    named: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    if not parameters:
        raise UserError("_target_", function.__name__, "must take the point as first argument")
    for parameter in parameters[1:]:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise UserError("_target_", function.__name__, "must name each of its numbers")
        if parameter.name in Formula.__dataclass_fields__:
            reason = f"must not call a number {parameter.name}: a surface has such a field"
            raise UserError("_target_", function.__name__, reason)
        if parameter.default is parameter.empty:
            named.append((parameter.name, Number, field(kw_only=True)))
        else:
            named.append((parameter.name, Number, field(default=parameter.default)))
    return dataclasses.make_dataclass(
        function.__name__,
        named,
        bases=(Formula,),
        frozen=True,
        namespace={"function": staticmethod(function), "__doc__": function.__doc__},
    )
