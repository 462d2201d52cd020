"""The types of component fields (numbers, seeds, integers), their ranges, and their checks."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

import torch
from torch import Tensor

from gradexp.errors import UserError

Number: TypeAlias = float | Tensor
"""A real number of one run, or a tensor of shape ``(B,)`` with the numbers of B runs."""


def extremes(values: Tensor) -> tuple[float, float]:
    """Returns the minimum and the maximum of a tensor, both NaN if an element is NaN.

    This takes one pass and one synchronization with the device.
    """
    least, most = torch.stack(torch.aminmax(values)).tolist()
    return least, most


@dataclass(frozen=True)
class Interval:
    """The finite numbers between two ends; `closed` says which of the ends are included."""

    low: float = -math.inf
    high: float = math.inf
    closed: Literal["left", "right", "both", "neither"] = "neither"

    def holds(self, value: Number) -> bool:
        """Returns whether a number, or every element of a tensor, is finite and in the interval."""
        if isinstance(value, Tensor) and not value.numel():
            return True
        least, most = extremes(value) if isinstance(value, Tensor) else (value, value)
        low = least >= self.low if self.closed in ("left", "both") else least > self.low
        high = most <= self.high if self.closed in ("right", "both") else most < self.high
        return low and high and math.isfinite(least) and math.isfinite(most)

    def __str__(self) -> str:
        if self == Interval():
            return "a finite number"
        left = "[" if self.closed in ("left", "both") else "("
        right = "]" if self.closed in ("right", "both") else ")"
        low, high = (f"{end:g}".replace("inf", "∞") for end in (self.low, self.high))
        return f"a number in {left}{low}, {high}{right}"


@dataclass(frozen=True)
class Whole:
    """The integers from `low` to `high`, both included."""

    low: int
    high: int = 2**63 - 1

    def __str__(self) -> str:
        return f"a whole number, at least {self.low}"


@dataclass(frozen=True)
class _SeedRange(Whole):
    """Marks an integer that may differ from run to run and is stacked like a `Number`."""


Positive: TypeAlias = Annotated[Number, Interval(low=0.0)]
NonNegative: TypeAlias = Annotated[Number, Interval(low=0.0, closed="left")]
UnitInterval: TypeAlias = Annotated[Number, Interval(0.0, 1.0, closed="left")]
Count: TypeAlias = Annotated[int, Whole(1)]
Dimension: TypeAlias = Annotated[int, Whole(1, 10**6)]
Seed: TypeAlias = Annotated[int | Tensor, _SeedRange(0)]
"""A run's seed, 0 to 2^63 - 1, or an int64 tensor of shape ``(B,)`` with the seeds of B runs."""


def without_none(annotation: Any) -> Any:
    """Returns an annotation without its ``| None``, if it has one."""
    if get_origin(annotation) not in (Union, UnionType) or annotation == Number:
        return annotation
    others = [argument for argument in get_args(annotation) if argument is not type(None)]
    return Union[tuple(others)]  # noqa: UP007 - a union made of a list


@cache
def element(annotation: Any) -> Any:
    """Returns X for ``tuple[X, ...]`` or ``tuple[X, X]``, and None for any other annotation."""
    annotation = without_none(annotation)
    arguments = get_args(annotation)
    if get_origin(annotation) is not tuple or not arguments:
        return None
    first, *rest = arguments
    return first if rest == [Ellipsis] or all(other == first for other in rest) else None


@cache
def length(annotation: Any) -> int | None:
    """Returns the length of a ``tuple[X, X]``, or None for ``tuple[X, ...]``."""
    arguments = get_args(without_none(annotation))
    return None if Ellipsis in arguments else len(arguments)


@cache
def is_number(annotation: Any) -> bool:
    """Returns whether a field with this annotation is a number (otherwise, it is structure)."""
    plain, allowed, _ = _split(annotation)
    return plain == Number or isinstance(allowed, _SeedRange)


@cache
def _split(annotation: Any) -> tuple[Any, Any, bool]:
    """Splits an annotation into its plain type, its range (or None), and whether it allows None."""
    may_be_none = type(None) in get_args(annotation)
    annotation = without_none(annotation)
    if get_origin(annotation) is Annotated:
        plain, *extras = get_args(annotation)
        return plain, extras[0], may_be_none
    return annotation, None, may_be_none


def checked(name: str, value: Any, annotation: Any) -> Any:
    """Checks a field's value and converts it to the annotated type.

    Integers become floats where the annotation is a `Number`, and lists become tuples.

    Args:
        name: the field's name, for the message.
        value: the value to check.
        annotation: the field's annotation.

    Raises:
        UserError: if the value has the wrong type or lies outside its range.
    """
    plain, allowed, may_be_none = _split(annotation)
    if value is None and may_be_none:
        return None
    if plain == Number:
        return _checked_number(name, value, allowed or Interval(), ", or null" * may_be_none)
    if isinstance(allowed, Whole) or plain is int:
        return _checked_integer(name, value, allowed)
    item = element(plain)
    if item is not None:
        if not isinstance(value, list | tuple):
            raise UserError(name, value, "must be a list")
        count = length(plain)
        if count is not None and len(value) != count:
            raise UserError(name, value, f"must be a list of {count}")
        return tuple(checked(f"{name}[{i}]", v, item) for i, v in enumerate(value))
    if get_origin(plain) is Literal and value not in get_args(plain):
        raise UserError(name, value, f"must be one of {', '.join(map(str, get_args(plain)))}")
    if plain is bool and not isinstance(value, bool):
        raise UserError(name, value, "must be true or false")
    if plain is str and not isinstance(value, str):
        raise UserError(name, value, "must be a string")
    return value


def _tensor(name: str, value: Any, reason: str) -> Any:
    """Converts arrays and tensors to a detached tensor, and returns any other value as it is.

    Raises:
        UserError: if the tensor is not dense or its elements are not real numbers.
    """
    if isinstance(value, numbers.Number) or not hasattr(value, "__array__"):
        return value
    try:
        tensor = torch.as_tensor(value).detach()
    except TypeError:
        raise UserError(name, value, reason) from None
    if tensor.is_complex() or tensor.dtype == torch.bool or tensor.layout != torch.strided:
        raise UserError(name, value, f"{reason}, or a dense tensor of such")
    return tensor


def _checked_number(name: str, value: Any, allowed: Interval, otherwise: str = "") -> Number:
    if type(value) is float and allowed.holds(value):
        return value
    reason = f"must be {allowed}{otherwise}"
    value = _tensor(name, value, reason)
    if isinstance(value, bool) or not isinstance(value, numbers.Real | Tensor):
        raise UserError(name, value, reason)
    try:
        number = value if isinstance(value, Tensor) else float(value)
    except OverflowError:
        raise UserError(name, value, reason) from None
    if not allowed.holds(number):
        raise UserError(name, value, reason)
    return number


def _checked_integer(name: str, value: Any, allowed: Whole | None) -> int | Tensor:
    reason = f"must be {allowed or 'a whole number'}"
    if isinstance(allowed, _SeedRange):
        value = _tensor(name, value, reason)
        if isinstance(value, Tensor):
            if value.is_floating_point() or bool((value < allowed.low).any()):
                raise UserError(name, value, reason)
            return value.to(torch.int64)
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise UserError(name, value, reason)
    whole = int(value)
    if allowed and whole > allowed.high:
        raise UserError(name, whole, f"{reason} and at most {allowed.high}")
    if allowed and whole < allowed.low:
        raise UserError(name, whole, reason)
    return whole
