"""Adamax: Adam with the largest recent gradient instead of the root mean square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gradexp.numbers import NonNegative, Points, Positive, UnitInterval, each
from gradexp.optimizers.terms import average, bias_correction, descent_gradient
from gradexp.optimizers.torch_rule import TorchRule


class AdamaxState(NamedTuple):
    # change every step
    mean: Points
    largest: Points


@dataclass(frozen=True)
class Adamax(TorchRule):
    """Steps by the mean gradient divided by its largest size, as ``torch.optim.Adamax`` does.

    With gradient g at x, m and u (initially 0), and the step number t, from 1::

        g ← -g if maximize, then g ← g + λ x
        m ← β₁ m + (1 - β₁) g,  u ← max(β₂ u, |g| + ε)
        x ← x - α m / ((1 - β₁ᵗ) u)

    Args:
        lr: learning rate α, positive.
        betas: β₁ and β₂, in [0, 1).
        eps: ε, at least 0.
        weight_decay: λ, at least 0.
        maximize: whether to maximize instead of minimizing.

    Source: Kingma and Ba, "Adam: a method for stochastic optimization" (ICLR 2015).

    >>> rule, point, gradient = Adamax(lr=0.5, eps=0.0), torch.ones(1), torch.ones(1)
    >>> state = rule.init(point)
    >>> for step in range(3):
    ...     point, state = rule.update(point, gradient / (step + 1), state, step)
    ...     print(round(point.item(), 4), round(state.largest.item(), 4))
    0.5 1.0
    0.1312 0.999
    -0.1634 0.998
    """

    lr: Positive = 2e-3
    betas: tuple[UnitInterval, UnitInterval] = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    maximize: bool = False

    used_only_with_step = ("betas",)
    torch_class = torch.optim.Adamax

    def init(self, point: Points) -> AdamaxState:
        zero = each(torch.zeros_like, point)
        return AdamaxState(zero, zero)

    def update(
        self, point: Points, gradient: Points, state: AdamaxState, step: int | Tensor
    ) -> tuple[Points, AdamaxState]:
        gradient = descent_gradient(point, gradient, self.weight_decay, maximize=self.maximize)
        mean = average(state.mean, gradient, self.betas[0])

        def larger(u: Tensor, g: Tensor) -> Tensor:
            return torch.maximum(self.betas[1] * u, g.abs() + self.eps)

        largest = each(larger, state.largest, gradient)
        rate = self.lr / bias_correction(self.betas[0], step)
        point = each(lambda x, m, u: x - rate * (m / u), point, mean, largest)
        return point, AdamaxState(mean, largest)
