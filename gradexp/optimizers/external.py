"""Optimizers with the interface of ``torch.optim`` that have no batched rule."""

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
    """An option whose value is one number per run."""

    name: str
    value: Number


@dataclass(frozen=True)
class Amounts(Component):
    """An option whose value is several numbers per run, such as ``betas``."""

    name: str
    value: tuple[Number, ...]


@dataclass(frozen=True)
class Setting(Component):
    """An option with any other value, which all runs of a batch share."""

    name: str
    value: Any


@dataclass(frozen=True)
class External(Component):
    """An optimizer class with its options, for the reference engine only.

    Args:
        factory: a subclass of ``torch.optim.Optimizer``.
        options: its keyword arguments, as pairs of name and value.

    Raises:
        UserError: the factory is not such a subclass, has no option of that name, or cannot make a
            step with these options.
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
        try:  # one trial step
            (point,) = points = self.parameters(torch.ones(2, 1))
            _evaluate_sphere(point)
            make_step(self.reference(points), lambda: _evaluate_sphere(point))
        except Exception as failed:
            error = failed.__cause__ or failed
            options = ", ".join(f"{option.name}={option.value}" for option in self.options)
            options = options or "the default options"
            reason = f"a trial step with {options} failed: {error or repr(error)}"
            raise UserError("_target_", name, reason) from error

    def hyperparameters(self) -> dict[str, Number]:
        """Returns the numbers of one run by name: ``lr``, ``betas[0]``, …"""
        (group,) = self.reference(self.parameters(torch.zeros(2, 1))).param_groups
        return hyperparameters(group)

    def parameters(self, points: Tensor) -> list[Tensor]:
        """Returns one parameter for each of the points ``(dim, B)``.

        A parameter is a vector, or a matrix with one column where the optimizer rejects vectors.
        """
        vectors = [point.clone().requires_grad_() for point in points.unbind(1)]
        try:
            self.reference(vectors[:1])
        except Exception:
            return [vector.detach()[:, None].requires_grad_() for vector in vectors]
        return vectors

    def reference(self, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
        """Returns the optimizer over these parameters, with the options of one run."""
        return self.factory(parameters, **{option.name: option.value for option in self.options})


def make_step(optimizer: torch.optim.Optimizer, closure: Callable[[], Any]) -> None:
    """Makes one step of an optimizer, whose parameters already have their gradients.

    Args:
        optimizer: the optimizer.
        closure: passed to the optimizer's ``step`` if that takes an argument.

    Raises:
        UserError: the step failed.
    """
    takes_closure = bool(inspect.signature(optimizer.step).parameters)
    try:
        optimizer.step(closure) if takes_closure else optimizer.step()
    except Exception as error:
        reason = f"its step failed: {error!r}"
        raise UserError("optimizer", type(optimizer).__name__, reason) from error


def hyperparameters(group: Mapping[str, Any]) -> dict[str, Number]:
    """Returns the numbers of a ``torch.optim`` parameter group by name."""
    found: dict[str, Number] = {}
    for name, value in group.items():
        several = isinstance(value, tuple | list)
        parts = {f"{name}[{i}]": part for i, part in enumerate(value)} if several else {name: value}
        for path, part in parts.items():
            if isinstance(part, int | float) and not isinstance(part, bool):
                found[path] = float(part)
    return found


def _option(option: Any) -> Component:
    """Returns an option as the component that fits its value.

    Floats become numbers, which may differ between the runs of a batch.
    """
    if isinstance(option, Component):
        return option
    name, value = option
    if isinstance(value, float):
        return Amount(name, value)
    if isinstance(value, tuple | list) and value and all(isinstance(v, float) for v in value):
        return Amounts(name, tuple(value))
    return Setting(name, _as_tuples(name, value))


def _as_tuples(name: str, value: Any) -> Any:
    """Returns a value with its lists as tuples, so that it can be compared between runs.

    Raises:
        UserError: the value is or contains a dictionary.
    """
    if isinstance(value, dict):
        raise UserError(name, value, "must be a number, a string, true, false or a list")
    if isinstance(value, tuple | list):
        return tuple(_as_tuples(name, part) for part in value)
    return value


def _evaluate_sphere(point: Tensor) -> Any:
    """Returns ‖x‖² at a point x and sets the point's gradient."""
    point.grad = 2 * point.detach()
    return point.detach().square().sum()
