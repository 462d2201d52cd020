"""NAdam: Adam with Nesterov momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradexp.numbers import NonNegative, Points, Positive, each, is_zero
from gradexp.optimizers.moments import Moments
from gradexp.optimizers.terms import bias_correction, sqrt, take_scaled_step
from gradexp.optimizers.torch_rule import NAdamFloat64


class NAdamState(NamedTuple):
    # change every step
    mean: Points
    square: Points
    product: Tensor
    """product of the momenta so far"""


@dataclass(frozen=True)
class NAdam(Moments):
    """Adam with a Nesterov momentum that grows from step to step, as in ``torch.optim.NAdam``.

    With gradient g at x, moving averages m and v (initially 0), and the step number t, from 1::

        g ← -g if maximize
        x ← x - α λ x if decoupled_weight_decay, else g ← g + λ x
        m ← β₁ m + (1 - β₁) g,  v ← β₂ v + (1 - β₂) g²
        μₜ = β₁ (1 - ½ 0.96^(ψ t)),  Πₜ = μ₁ ⋯ μₜ
        d = (1 - μₜ)/(1 - Πₜ) g + μₜ₊₁/(1 - Πₜ₊₁) m
        x ← x - α d / (√(v/(1 - β₂ᵗ)) + ε)

    Args:
        lr: learning rate α, positive.
        betas: β₁ and β₂, in [0, 1).
        eps: ε, at least 0.
        weight_decay: λ, at least 0.
        momentum_decay: ψ, at least 0.
        decoupled_weight_decay: whether weight decay shrinks the point instead of adding to the
            gradient.
        maximize: whether to maximize instead of minimizing.

    torch's own class keeps Π in the default dtype, which is float32 unless changed: on points in
    float64 the two agree to seven digits, and fully after
    ``torch.set_default_dtype(torch.float64)``. `reference` makes its steps with that default.

    Source: Dozat, "Incorporating Nesterov momentum into Adam" (ICLR workshop 2016).

    >>> rule, point, gradient = NAdam(lr=0.5), torch.ones(1), torch.ones(1)
    >>> state = rule.init(point)
    >>> for step in range(3):
    ...     point, state = rule.update(point, gradient, state, step)
    ...     print(round(point.item(), 4), round(state.product.item(), 4))
    0.4718 0.4501
    0.0799 0.2026
    -0.2862 0.0912
    """

    lr: Positive = 2e-3
    momentum_decay: NonNegative = 4e-3
    decoupled_weight_decay: bool = False

    used_only_with_step = ("betas", "momentum_decay")
    torch_class = NAdamFloat64

    def init(self, point: Points) -> NAdamState:
        zero = each(torch.zeros_like, point)
        return NAdamState(zero, zero, torch.ones_like(point[0]))

    def update(
        self, point: Points, gradient: Points, state: NAdamState, step: int | Tensor
    ) -> tuple[Points, NAdamState]:
        point, gradient, mean, square = self._update_moments(
            point, gradient, state.mean, state.square
        )
        momentum, next_momentum = self._momentum(step + 1), self._momentum(step + 2)
        product = state.product * momentum
        gradient_weight = (1 - momentum) / (1 - product)
        mean_weight = next_momentum / (1 - product * next_momentum)
        direction = each(lambda g, m: gradient_weight * g + mean_weight * m, gradient, mean)
        correction = sqrt(bias_correction(self.betas[1], step))  # v's bias correction, as in Adam
        point = take_scaled_step(
            point, self.lr * correction, direction, square, self.eps * correction
        )
        return point, NAdamState(mean, square, product)

    def _momentum(self, number: int | Tensor) -> Any:
        """Returns μₜ, with t = `number`."""
        if is_zero(self.momentum_decay):
            return self.betas[0] * 0.5
        return self.betas[0] * (1 - 0.5 * 0.96 ** (number * self.momentum_decay))
