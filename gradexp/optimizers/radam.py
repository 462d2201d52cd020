"""RAdam: Adam that waits until it knows the gradient's variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradexp.numbers import Points, each
from gradexp.optimizers.moments import Moments
from gradexp.optimizers.terms import root, weight


class RAdamState(NamedTuple):
    # change every step
    mean: Points
    square: Points
    weights: Tensor
    """Σ β₂ᵏ over the steps so far, k = 0 for the last"""
    ages: Tensor
    """Σ (k + 1) β₂ᵏ, likewise"""


@dataclass(frozen=True)
class RAdam(Moments):
    """Adam with a step that is rectified by how well v is known, as ``torch.optim.RAdam``.

    With gradient g at x, averages m and v (0 at first), and t the number of the step, from 1::

        g ← -g if maximize
        x ← x - α λ x if decoupled_weight_decay, else g ← g + λ x
        m ← β₁ m + (1 - β₁) g,  v ← β₂ v + (1 - β₂) g²,  m̂ = m/(1 - β₁ᵗ)
        ρ∞ = 2/(1 - β₂) - 1,  ρ = ρ∞ - 2 t β₂ᵗ/(1 - β₂ᵗ)
        r = √((ρ - 4)(ρ - 2) ρ∞ / ((ρ∞ - 4)(ρ∞ - 2) ρ))
        x ← x - α r m̂ √(1 - β₂ᵗ)/(√v + ε) where ρ > 5, else x - α m̂

    Where a schedule changes β₂, ρ is that of the weights that the squares in v have; torch has that
    of t steps with the β₂ of now.

    Args:
        lr: learning rate α, positive.
        betas: β₁ and β₂, in [0, 1).
        eps: ε, at least 0.
        weight_decay: λ, at least 0.
        decoupled_weight_decay: shrink the point instead of adding to the gradient.
        maximize: go uphill.

    Source: Liu et al., "On the variance of the adaptive learning rate and beyond" (ICLR 2020).

    >>> rule, point, gradient = RAdam(lr=0.5), torch.ones(1), torch.ones(1)
    >>> state = rule.init(point)
    >>> for step in range(7):
    ...     point, state = rule.update(point, gradient, state, step)
    ...     print(round(point.item(), 4))
    0.5
    0.0
    -0.5
    -1.0
    -1.5
    -1.5129
    -1.5293
    """

    decoupled_weight_decay: bool = False

    twin = torch.optim.RAdam

    def init(self, point: Points) -> RAdamState:
        zero, none = each(torch.zeros_like, point), torch.zeros_like(point[0])
        return RAdamState(zero, zero, none, none)

    def update(
        self, point: Points, gradient: Points, state: RAdamState, step: int | Tensor
    ) -> tuple[Points, RAdamState]:
        point, _, mean, square = self._take_in(point, gradient, state.mean, state.square)
        # ρ as the paper defines it, twice the mean age of what v holds, less 1: of positive terms.
        # The formula above takes the difference of two numbers near 2/(1 - β₂), and is wrong by
        # 0.02 in float32 where the step has to know whether it is above 5.
        weights = 1 + self.betas[1] * state.weights
        ages = weights + self.betas[1] * state.ages
        length, longest = 2 * (ages / weights) - 1, 2 / (1 - self.betas[1]) - 1
        known = length > 5
        certainty = (length - 4) * (length - 2) / length
        most = (longest - 4) * (longest - 2) / longest
        spread = root(weight(self.betas[1], step))
        rate = self.lr / weight(self.betas[0], step)
        rate = rate * torch.where(known, (certainty / most).sqrt() * spread, 1.0)

        def moved(x: Tensor, m: Tensor, v: Tensor) -> Any:
            return x - rate * (m / torch.where(known, v.sqrt() + self.eps, 1.0))

        point = each(moved, point, mean, square)
        return point, RAdamState(mean, square, weights, ages)
