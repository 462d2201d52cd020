"""ASGD: gradient descent with a decaying step size and an average of its points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gradexp.numbers import NonNegative, Points, Positive, each, like
from gradexp.optimizers.terms import descent_gradient, shrink_point, take_step
from gradexp.optimizers.torch_rule import ASGDFloat64, TorchRule


class ASGDState(NamedTuple):
    # change every step
    average: Points
    rate: Tensor
    """step size of the next step"""


@dataclass(frozen=True)
class ASGD(TorchRule):
    """Averaged stochastic gradient descent, as in ``torch.optim.ASGD``.

    With gradient g at x, step size η (initially α), average a, and the step number t, from 1::

        g ← -g if maximize, then g ← g + λ x
        x ← (1 - Λ η) x - η g
        a ← a + (x - a)/max(1, t - 1 - t₀)
        η ← α/(1 + Λ α t)^p

    As in torch, the run's point is x; the average is only kept in the state, as `average`.

    Args:
        lr: learning rate α, positive.
        lambd: Λ, at least 0.
        alpha: p, at least 0.
        t0: t₀, at least 0; until then the average is the point itself.
        weight_decay: λ, at least 0.
        maximize: whether to maximize instead of minimizing.

    torch's own class keeps η in the default dtype, which is float32 unless changed: on points in
    float64 the two agree to seven digits, and fully after
    ``torch.set_default_dtype(torch.float64)``. `reference` makes its steps with that default.

    Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging" (SIAM
    Journal on Control and Optimization 1992); step size: Bottou, "Large-scale machine learning with
    stochastic gradient descent" (COMPSTAT 2010).

    >>> rule, point = ASGD(lr=0.5, lambd=0.5, t0=0.0), torch.ones(1)
    >>> state = rule.init(point)
    >>> for step in range(3):
    ...     point, state = rule.update(point, torch.ones(1), state, step)
    ...     print(round(point.item(), 4), round(state.average.item(), 4))
    0.25 0.25
    -0.2258 -0.2258
    -0.5531 -0.3894
    """

    lr: Positive = 1e-2
    lambd: NonNegative = 1e-4
    alpha: NonNegative = 0.75
    t0: NonNegative = 1e6
    weight_decay: NonNegative = 0.0
    maximize: bool = False

    used_only_with_step = ("t0",)
    torch_class = ASGDFloat64

    def init(self, point: Points) -> ASGDState:
        return ASGDState(each(torch.zeros_like, point), torch.zeros_like(point[0]))

    def update(
        self, point: Points, gradient: Points, state: ASGDState, step: int | Tensor
    ) -> tuple[Points, ASGDState]:
        gradient = descent_gradient(point, gradient, self.weight_decay, maximize=self.maximize)
        rate = torch.where(like(step, gradient) == 0, self.lr, state.rate)
        point = take_step(shrink_point(point, rate, self.lambd), rate, gradient)
        age = like(step - self.t0, gradient)
        weight = torch.where(age > 1, 1 / age, 1.0)
        average = each(lambda a, x: a + weight * (x - a), state.average, point)
        rate = self.lr / (1 + self.lambd * self.lr * (step + 1)) ** self.alpha
        return point, ASGDState(average, torch.zeros_like(state.rate) + rate)
