"""RMSprop: steps by the gradient divided by its root mean square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gradexp.numbers import NonNegative, Points, Positive, UnitInterval, each
from gradexp.optimizers.terms import (
    apply_momentum,
    average,
    average_square,
    descent_gradient,
    take_step,
)
from gradexp.optimizers.torch_rule import RMSpropWithLateMomentum, TorchRule


class RMSpropState(NamedTuple):
    # change every step; the velocity only with momentum
    square: Points
    velocity: Points
    # changes every step: where centered the gradient's mean, otherwise empty
    mean: Points


@dataclass(frozen=True)
class RMSprop(TorchRule):
    """Steps by the gradient divided by its root mean square, as ``torch.optim.RMSprop`` does.

    With gradient g at x, moving averages v and m, and velocity b (all initially 0)::

        g ← -g if maximize, then g ← g + λ x
        v ← ρ v + (1 - ρ) g²,  m ← ρ m + (1 - ρ) g
        w = v - m² if centered, else v
        b ← μ b + g/(√w + ε),  x ← x - α b
        x ← x - α g/(√w + ε), and b is unchanged, where μ = 0

    Args:
        lr: learning rate α, positive.
        alpha: ρ, in [0, 1).
        eps: ε, at least 0.
        weight_decay: λ, at least 0.
        momentum: μ, in [0, 1).
        centered: whether to divide by the standard deviation instead.
        maximize: whether to maximize instead of minimizing.

    Where rounding makes v - m² negative, it is taken to be 0; in torch the root is NaN.

    Source: Tieleman and Hinton, "Lecture 6.5: RMSprop" (COURSERA 2012); centered: Graves,
    "Generating sequences with recurrent neural networks" (arXiv 2013).

    >>> rule, point, gradient = RMSprop(lr=0.5, alpha=0.5), torch.ones(1), torch.ones(1)
    >>> state = rule.init(point)
    >>> for step in range(3):
    ...     point, state = rule.update(point, gradient, state, step)
    ...     print(round(point.item(), 4), state.square.item())
    0.2929 0.5
    -0.2845 0.75
    -0.819 0.875
    """

    lr: Positive = 1e-2
    alpha: UnitInterval = 0.99
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    momentum: UnitInterval = 0.0
    centered: bool = False
    maximize: bool = False

    torch_class = RMSpropWithLateMomentum

    def init(self, point: Points) -> RMSpropState:
        zero = each(torch.zeros_like, point)
        return RMSpropState(zero, zero, zero if self.centered else ())

    def update(
        self, point: Points, gradient: Points, state: RMSpropState, step: int | Tensor
    ) -> tuple[Points, RMSpropState]:
        gradient = descent_gradient(point, gradient, self.weight_decay, maximize=self.maximize)
        square = spread = average_square(state.square, gradient, self.alpha)
        mean = state.mean
        if self.centered:
            mean = average(mean, gradient, self.alpha)
            spread = each(lambda v, m: (v - m * m).clamp(min=0.0), square, mean)
        direction = each(lambda g, w: g / (w.sqrt() + self.eps), gradient, spread)
        velocity, move = apply_momentum(
            state.velocity, direction, self.momentum, may_change=self.may_change("momentum")
        )
        return take_step(point, self.lr, move), RMSpropState(square, velocity, mean)
