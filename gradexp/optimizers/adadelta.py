"""Adadelta: steps scaled by the size of previous steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gradexp.numbers import NonNegative, Points, Positive, UnitInterval, each
from gradexp.optimizers.terms import average_square, descent_gradient, take_step
from gradexp.optimizers.torch_rule import TorchRule


class AdadeltaState(NamedTuple):
    # change every step
    square: Points
    """the gradient's mean square"""
    step_square: Points
    """the mean square of the steps, before the learning rate"""


@dataclass(frozen=True)
class Adadelta(TorchRule):
    """Steps by the gradient times the RMS of past steps over the RMS of past gradients.

    The rule is that of ``torch.optim.Adadelta``. With gradient g at x, and moving averages v and u
    (initially 0)::

        g ← -g if maximize, then g ← g + λ x
        v ← ρ v + (1 - ρ) g²
        d = √((u + ε)/(v + ε)) g
        u ← ρ u + (1 - ρ) d²
        x ← x - α d

    Args:
        lr: learning rate α, positive.
        rho: ρ, in [0, 1).
        eps: ε, at least 0.
        weight_decay: λ, at least 0.
        maximize: whether to maximize instead of minimizing.

    Source: Zeiler, "ADADELTA: an adaptive learning rate method" (arXiv 2012).

    >>> rule, point, gradient = Adadelta(rho=0.5, eps=0.5), torch.ones(1), torch.ones(1)
    >>> state = rule.init(point)
    >>> for step in range(3):
    ...     point, state = rule.update(point, gradient, state, step)
    ...     print(round(point.item(), 4), round(state.step_square.item(), 4))
    0.2929 0.25
    -0.4817 0.425
    -1.3019 0.5489
    """

    lr: Positive = 1.0
    rho: UnitInterval = 0.9
    eps: NonNegative = 1e-6
    weight_decay: NonNegative = 0.0
    maximize: bool = False

    torch_class = torch.optim.Adadelta

    def init(self, point: Points) -> AdadeltaState:
        zero = each(torch.zeros_like, point)
        return AdadeltaState(zero, zero)

    def update(
        self, point: Points, gradient: Points, state: AdadeltaState, step: int | Tensor
    ) -> tuple[Points, AdadeltaState]:
        gradient = descent_gradient(point, gradient, self.weight_decay, maximize=self.maximize)
        square = average_square(state.square, gradient, self.rho)

        def direction(g: Tensor, v: Tensor, u: Tensor) -> Tensor:
            return ((u + self.eps) / (v + self.eps)).sqrt() * g

        move = each(direction, gradient, square, state.step_square)
        size = average_square(state.step_square, move, self.rho)
        return take_step(point, self.lr, move), AdadeltaState(square, size)
