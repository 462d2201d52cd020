"""Lion: steps by the sign of averaged gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gradexp.numbers import NonNegative, Points, Positive, UnitInterval, each
from gradexp.optimizers.optimizer import Optimizer
from gradexp.optimizers.terms import average, descent_gradient, shrink_point, take_step


class LionState(NamedTuple):
    # changes every step
    mean: Points


@dataclass(frozen=True)
class Lion(Optimizer):
    """Steps of equal length in every coordinate, by the sign of averaged gradients.

    With gradient g at x, and moving average m (initially 0)::

        g ← -g if maximize
        x ← x - α (sign(β₁ m + (1 - β₁) g) + λ x)
        m ← β₂ m + (1 - β₂) g

    Args:
        lr: learning rate α, positive.
        betas: β₁ and β₂, in [0, 1).
        weight_decay: λ, at least 0; decoupled.
        maximize: whether to maximize instead of minimizing.

    Source: Chen et al., "Symbolic discovery of optimization algorithms" (NeurIPS 2023).

    >>> rule, point = Lion(lr=0.25, betas=(0.5, 0.75)), torch.ones(1)
    >>> state = rule.init(point)
    >>> for step in range(4):
    ...     point, state = rule.update(point, point, state, step)
    ...     print(point.item(), state.mean.item())
    0.75 0.25
    0.5 0.375
    0.25 0.40625
    0.0 0.3671875
    """

    lr: Positive = 1e-4
    betas: tuple[UnitInterval, UnitInterval] = (0.9, 0.99)
    weight_decay: NonNegative = 0.0
    maximize: bool = False

    def init(self, point: Points) -> LionState:
        return LionState(each(torch.zeros_like, point))

    def update(
        self, point: Points, gradient: Points, state: LionState, step: int | Tensor
    ) -> tuple[Points, LionState]:
        gradient = descent_gradient(point, gradient, 0.0, maximize=self.maximize)
        point = shrink_point(point, self.lr, self.weight_decay)
        direction = average(state.mean, gradient, self.betas[0])
        point = take_step(point, self.lr, each(torch.sign, direction))
        return point, LionState(average(state.mean, gradient, self.betas[1]))
