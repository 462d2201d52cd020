"""Stochastic gradient descent, with momentum and its variants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradexp.mistakes import Mistake
from gradexp.numbers import NonNegative, Number, Point, Positive, UnitInterval, each, is_zero, like
from gradexp.optimizers.terms import descent
from gradexp.optimizers.torch_rule import TorchRule


class SGDState(NamedTuple):
    # changes every step
    velocity: Point


@dataclass(frozen=True)
class SGD(TorchRule):
    """Gradient descent with momentum, in the convention of ``torch.optim.SGD``.

    With gradient g at x, velocity v (0 at first), and d = 0 in the first step and where μ = 0::

        g ← -g if maximize, then g ← g + λ x
        v ← μ v + (1 - d) g
        x ← x - α (g + μ v) if nesterov, else x - α v

    Where a schedule makes μ 0 for a while this holds on; torch leaves its v as it was then.

    Args:
        lr: learning rate α, positive.
        momentum: μ, in [0, 1).
        dampening: d, finite.
        nesterov: look ahead along the velocity; needs momentum, and no dampening.
        weight_decay: λ, at least 0.
        maximize: go uphill.

    Source: Polyak (1964); Sutskever et al., "On the importance of initialization and momentum in
    deep learning" (2013).

    >>> rule, point, gradient = SGD(lr=0.5, momentum=0.5), torch.tensor([4.0]), torch.tensor([2.0])
    >>> state = rule.init(point)
    >>> for step in range(3):
    ...     point, state = rule.update(point, gradient, state, step)
    ...     print(point.item(), state.velocity.item())
    3.0 2.0
    1.5 3.0
    -0.25 3.5
    """

    linear = True
    twin = torch.optim.SGD

    lr: Positive
    momentum: UnitInterval = 0.0
    dampening: Number = 0.0
    nesterov: bool = False
    weight_decay: NonNegative = 0.0
    maximize: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        momentum = torch.as_tensor(self.momentum, dtype=torch.float64)
        dampening = torch.as_tensor(self.dampening, dtype=torch.float64)
        if self.nesterov and bool((momentum == 0).any() | (dampening != 0).any()):
            raise Mistake("nesterov", "true", "needs a momentum above 0 and a dampening of 0")

    def init(self, point: Point) -> SGDState:
        return SGDState(velocity=each(torch.zeros_like, point))

    def update(
        self, point: Point, gradient: Point, state: SGDState, step: int | Tensor
    ) -> tuple[Point, SGDState]:
        gradient = descent(gradient, point, self.weight_decay, self.maximize)
        if is_zero(self.momentum):
            velocity = move = gradient
        else:
            velocity = self._velocity(gradient, state.velocity, step)
            move = velocity
            if self.nesterov:
                move = each(lambda g, v: g + self.momentum * v, gradient, velocity)
        point = each(lambda x, d: x - self.lr * d, point, move)
        return point, SGDState(velocity)

    def _velocity(self, gradient: Point, velocity: Point, step: int | Tensor) -> Any:
        if is_zero(self.dampening):
            return each(lambda v, g: self.momentum * v + g, velocity, gradient)
        momentum, dampening = like(self.momentum, gradient), like(self.dampening, gradient)
        undamped = (momentum == 0) | (step == 0)
        gain = torch.where(undamped, 1.0, 1.0 - dampening)
        return each(lambda v, g: self.momentum * v + gain * g, velocity, gradient)
