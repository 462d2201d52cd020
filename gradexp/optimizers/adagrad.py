"""Adagrad: steps that shrink in each coordinate as its squared gradients accumulate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gradexp.numbers import NonNegative, Points, Positive, each, is_zero
from gradexp.optimizers.terms import descent_gradient, take_scaled_step
from gradexp.optimizers.torch_rule import TorchRule


class AdagradState(NamedTuple):
    # changes every step
    squares: Points


@dataclass(frozen=True)
class Adagrad(TorchRule):
    """Steps by the gradient divided by the root of its summed squares, as ``torch.optim.Adagrad``.

    With gradient g at x, s (initially s₀), and the step number t, from 1::

        g ← -g if maximize, then g ← g + λ x
        s ← s + g²
        x ← x - α/(1 + (t - 1) η) g/(√s + ε)

    Args:
        lr: learning rate α, positive.
        lr_decay: η, at least 0.
        weight_decay: λ, at least 0.
        initial_accumulator_value: s₀, at least 0.
        eps: ε, at least 0.
        maximize: whether to maximize instead of minimizing.

    Source: Duchi, Hazan, Singer, "Adaptive subgradient methods for online learning and stochastic
    optimization" (JMLR 2011).

    >>> rule, point, gradient = Adagrad(lr=0.5), torch.ones(1), torch.ones(1)
    >>> state = rule.init(point)
    >>> for step in range(3):
    ...     point, state = rule.update(point, gradient, state, step)
    ...     print(round(point.item(), 4), state.squares.item())
    0.5 1.0
    0.1464 2.0
    -0.1422 3.0
    """

    lr: Positive = 1e-2
    lr_decay: NonNegative = 0.0
    weight_decay: NonNegative = 0.0
    initial_accumulator_value: NonNegative = 0.0
    eps: NonNegative = 1e-10
    maximize: bool = False

    used_only_with_step = ("lr_decay",)
    torch_class = torch.optim.Adagrad

    def init(self, point: Points) -> AdagradState:
        return AdagradState(
            each(lambda x: torch.zeros_like(x) + self.initial_accumulator_value, point)
        )

    def update(
        self, point: Points, gradient: Points, state: AdagradState, step: int | Tensor
    ) -> tuple[Points, AdagradState]:
        gradient = descent_gradient(point, gradient, self.weight_decay, maximize=self.maximize)
        squares = each(lambda s, g: s + g * g, state.squares, gradient)
        rate = self.lr
        if not is_zero(self.lr_decay):
            rate = rate * (1 / (1 + step * self.lr_decay))
        return take_scaled_step(point, rate, gradient, squares, self.eps), AdagradState(squares)
