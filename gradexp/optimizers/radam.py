"""RAdam: Adam that corrects for the uncertain variance of its first steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradexp.numbers import Points, each
from gradexp.optimizers.moments import Moments
from gradexp.optimizers.terms import bias_correction, sqrt


class RAdamState(NamedTuple):
    # change every step
    mean: Points
    square: Points
    weights: Tensor
    """Σ β₂ᵏ over the steps so far, with k = 0 for the latest"""
    ages: Tensor
    """Σ (k + 1) β₂ᵏ over the same steps"""


@dataclass(frozen=True)
class RAdam(Moments):
    """Adam with a step size that is rectified by the variance of v, as in ``torch.optim.RAdam``.

    With gradient g at x, moving averages m and v (initially 0), and the step number t, from 1::

        g ← -g if maximize
        x ← x - α λ x if decoupled_weight_decay, else g ← g + λ x
        m ← β₁ m + (1 - β₁) g,  v ← β₂ v + (1 - β₂) g²,  m̂ = m/(1 - β₁ᵗ)
        ρ∞ = 2/(1 - β₂) - 1,  ρ = ρ∞ - 2 t β₂ᵗ/(1 - β₂ᵗ)
        r = √((ρ - 4)(ρ - 2) ρ∞ / ((ρ∞ - 4)(ρ∞ - 2) ρ))
        x ← x - α r m̂ √(1 - β₂ᵗ)/(√v + ε) where ρ > 5, else x - α m̂

    Where a schedule changes β₂, ρ is computed from the actual weights of the squares in v; torch
    computes it as if all t steps had been made with the current β₂.

    Args:
        lr: learning rate α, positive.
        betas: β₁ and β₂, in [0, 1).
        eps: ε, at least 0.
        weight_decay: λ, at least 0.
        decoupled_weight_decay: whether weight decay shrinks the point instead of adding to the
            gradient.
        maximize: whether to maximize instead of minimizing.

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

    torch_class = torch.optim.RAdam

    def init(self, point: Points) -> RAdamState:
        zero, none = each(torch.zeros_like, point), torch.zeros_like(point[0])
        return RAdamState(zero, zero, none, none)

    def update(
        self, point: Points, gradient: Points, state: RAdamState, step: int | Tensor
    ) -> tuple[Points, RAdamState]:
        point, _, mean, square = self._update_moments(point, gradient, state.mean, state.square)
        # ρ as the paper defines it: twice the mean age of the squares in v, minus 1, from sums of
        # positive terms. The closed form above subtracts two numbers near 2/(1 - β₂), and in
        # float32 is wrong by 0.02 near the threshold of 5.
        weights = 1 + self.betas[1] * state.weights
        ages = weights + self.betas[1] * state.ages
        rho, rho_limit = 2 * (ages / weights) - 1, 2 / (1 - self.betas[1]) - 1
        rectified = rho > 5
        numerator = (rho - 4) * (rho - 2) / rho
        denominator = (rho_limit - 4) * (rho_limit - 2) / rho_limit
        correction = sqrt(bias_correction(self.betas[1], step))
        rate = self.lr / bias_correction(self.betas[0], step)
        rate = rate * torch.where(rectified, (numerator / denominator).sqrt() * correction, 1.0)

        def step_coordinate(x: Tensor, m: Tensor, v: Tensor) -> Any:
            return x - rate * (m / torch.where(rectified, v.sqrt() + self.eps, 1.0))

        point = each(step_coordinate, point, mean, square)
        return point, RAdamState(mean, square, weights, ages)
