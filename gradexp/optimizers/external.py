"""Any optimizer of ``torch.optim``'s interface, without a batched rule."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradexp.mistakes import Mistake, nearest
from gradexp.numbers import Component


@dataclass(frozen=True)
class External(Component):
    """An optimizer class with its options, for the reference engine only.

    Args:
        factory: a subclass of ``torch.optim.Optimizer``.
        options: its keyword arguments, as pairs of name and value.
    """

    factory: type[torch.optim.Optimizer]
    options: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        known = list(inspect.signature(self.factory).parameters)[1:]
        for name, value in self.options:
            if name not in known:
                reason = f"{self.factory.__name__} has no such option; {nearest(name, known)}"
                raise Mistake(name, value, reason)
        try:  # once, on a point of its own
            point = torch.ones(2, requires_grad=True)
            optimizer = self.reference([point])
            optimizer.step(lambda: _slope(point))
        except Exception as error:
            name = self.factory.__name__
            raise Mistake("", "", f"{name} cannot make a step: {error}") from error

    @property
    def lr(self) -> float:
        """Its learning rate."""
        parameter = torch.zeros(2, requires_grad=True)
        return float(self.reference([parameter]).param_groups[0].get("lr", float("nan")))

    def reference(self, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
        """The optimizer over these parameters."""
        return self.factory(parameters, **dict(self.options))


def _slope(point: Tensor) -> float:
    """The value of a sphere at a point; leaves the gradient there."""
    point.grad = 2 * point.detach()
    return float(point.detach().square().sum())
