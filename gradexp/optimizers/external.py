"""Any optimizer of ``torch.optim``'s interface, without a batched rule."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradexp.errors import UserError, nearest
from gradexp.numbers import Component, Number


@dataclass(frozen=True)
class Amount(Component):
    """An option that is a number of each run."""

    name: str
    value: Number


@dataclass(frozen=True)
class Amounts(Component):
    """An option that is some numbers of each run, such as ``betas``."""

    name: str
    value: tuple[Number, ...]


@dataclass(frozen=True)
class Setting(Component):
    """Any other option."""

    name: str
    value: Any


@dataclass(frozen=True)
class External(Component):
    """An optimizer class with its options, for the reference engine only.

    Args:
        factory: a subclass of ``torch.optim.Optimizer``.
        options: its keyword arguments, as pairs of name and value.
    """

    factory: type[torch.optim.Optimizer]
    options: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        factory: Any = self.factory
        if not isinstance(factory, type) or not issubclass(factory, torch.optim.Optimizer):
            raise UserError("factory", factory, "must be a subclass of torch.optim.Optimizer")
        object.__setattr__(self, "options", tuple(map(_option, self.options)))
        parameters = list(inspect.signature(self.factory).parameters.values())[1:]
        known, name = [one.name for one in parameters], self.factory.__name__
        takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
        for option in self.options:
            if option.name not in known and not takes_any:
                reason = f"{name} has no such option; {nearest(option.name, known)}"
                raise UserError(option.name, option.value, reason)
        try:  # once, on a point of its own
            (point,) = points = self.parameters(torch.ones(2, 1))
            _slope(point)
            make_step(self.reference(points), lambda: _slope(point))
        except Exception as failed:
            error = failed.__cause__ or failed
            told = ", ".join(f"{option.name}={option.value}" for option in self.options)
            reason = f"cannot make a step with {told or 'its defaults'}: {error or repr(error)}"
            raise UserError("_target_", name, reason) from error

    def hyperparameters(self) -> dict[str, Number]:
        """Its numbers by name, of one run: ``lr``, ``betas[0]``, …"""
        (group,) = self.reference(self.parameters(torch.zeros(2, 1))).param_groups
        return hyperparameters(group)

    def parameters(self, points: Tensor) -> list[Tensor]:
        """A parameter for each of the points ``(dim, B)``: a vector, or a matrix of one column
        where the optimizer takes no vectors."""
        vectors = [point.clone().requires_grad_() for point in points.unbind(1)]
        try:
            self.reference(vectors[:1])
        except Exception:
            return [vector.detach()[:, None].requires_grad_() for vector in vectors]
        return vectors

    def reference(self, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
        """The optimizer over these parameters, with the options of one run."""
        return self.factory(parameters, **{option.name: option.value for option in self.options})


def make_step(optimizer: torch.optim.Optimizer, closure: Callable[[], Any]) -> None:
    """A step of an optimizer, which is given a closure if it takes one; the gradients are there.

    Raises:
        UserError: it failed.
    """
    takes_closure = bool(inspect.signature(optimizer.step).parameters)
    try:
        optimizer.step(closure) if takes_closure else optimizer.step()
    except Exception as error:
        reason = f"a step of it failed: {error!r}"
        raise UserError("optimizer", type(optimizer).__name__, reason) from error


def hyperparameters(group: Mapping[str, Any]) -> dict[str, Number]:
    """The numbers of a parameter group of ``torch.optim``, by name."""
    found: dict[str, Number] = {}
    for name, value in group.items():
        several = isinstance(value, tuple | list)
        parts = {f"{name}[{i}]": part for i, part in enumerate(value)} if several else {name: value}
        for path, part in parts.items():
            if isinstance(part, int | float) and not isinstance(part, bool):
                found[path] = float(part)
    return found


def _option(option: Any) -> Component:
    """An option, by what it holds: real numbers may differ between runs that share a batch."""
    if isinstance(option, Component):
        return option
    name, value = option
    if isinstance(value, float):
        return Amount(name, value)
    if isinstance(value, tuple | list) and value and all(isinstance(v, float) for v in value):
        return Amounts(name, tuple(value))
    return Setting(name, _frozen(name, value))


def _frozen(name: str, value: Any) -> Any:
    """A value that can be compared with those of other runs.

    Raises:
        UserError: it is none.
    """
    if isinstance(value, dict):
        raise UserError(name, value, "must be a number, a word, true or false, or a list")
    if isinstance(value, tuple | list):
        return tuple(_frozen(name, part) for part in value)
    return value


def _slope(point: Tensor) -> Any:
    """The value of a sphere at a point; leaves the gradient there."""
    point.grad = 2 * point.detach()
    return point.detach().square().sum()
