"""Adam and AdamW: steps from moving averages of the gradient and of its square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gradexp.numbers import NonNegative, Points, each
from gradexp.optimizers.moments import Moments
from gradexp.optimizers.terms import bias_correction, sqrt, take_scaled_step


class AdamState(NamedTuple):
    # change every step
    mean: Points
    square: Points
    # changes every step: with amsgrad the largest square so far, otherwise empty
    largest: Points


@dataclass(frozen=True)
class _Adam(Moments):
    """Base of Adam and AdamW, which differ only in their weight decay."""

    amsgrad: bool = False

    def init(self, point: Points) -> AdamState:
        zero = each(torch.zeros_like, point)
        return AdamState(zero, zero, zero if self.amsgrad else ())

    def update(
        self, point: Points, gradient: Points, state: AdamState, step: int | Tensor
    ) -> tuple[Points, AdamState]:
        point, _, mean, square = self._update_moments(point, gradient, state.mean, state.square)
        size, largest = square, state.largest
        if self.amsgrad:
            size = largest = each(torch.maximum, largest, square)
        # m̂/(√v̂ + ε) with the bias corrections moved into α and ε: one division per coordinate
        correction = sqrt(bias_correction(self.betas[1], step))
        rate = self.lr * (correction / bias_correction(self.betas[0], step))
        point = take_scaled_step(point, rate, mean, size, self.eps * correction)
        return point, AdamState(mean, square, largest)


@dataclass(frozen=True)
class Adam(_Adam):
    """Steps by the mean gradient divided by its root mean square, as ``torch.optim.Adam`` does.

    With gradient g at x, moving averages m and v (initially 0), and the step number t, from 1::

        g ← -g if maximize
        x ← x - α λ x if decoupled_weight_decay, else g ← g + λ x
        m ← β₁ m + (1 - β₁) g,  v ← β₂ v + (1 - β₂) g²
        w ← the largest v so far if amsgrad, else v
        x ← x - α m/(1 - β₁ᵗ) / (√(w/(1 - β₂ᵗ)) + ε)

    Args:
        lr: learning rate α, positive.
        betas: β₁ and β₂, in [0, 1).
        eps: ε, at least 0.
        weight_decay: λ, at least 0.
        amsgrad: whether to divide by the largest v so far instead of v.
        maximize: whether to maximize instead of minimizing.
        decoupled_weight_decay: whether weight decay shrinks the point instead of adding to the
            gradient, as in AdamW.

    Source: Kingma and Ba, "Adam: a method for stochastic optimization" (ICLR 2015); amsgrad: Reddi,
    Kale, Kumar, "On the convergence of Adam and beyond" (ICLR 2018).

    >>> rule, point, gradient = Adam(lr=0.5, betas=(0.5, 0.5)), torch.ones(1), torch.ones(1)
    >>> state = rule.init(point)
    >>> for step in range(3):
    ...     point, state = rule.update(point, gradient, state, step)
    ...     print(round(point.item(), 4), state.mean.item(), state.square.item())
    0.5 0.5 0.5
    0.0 0.75 0.75
    -0.5 0.875 0.875
    """

    decoupled_weight_decay: bool = False

    torch_class = torch.optim.Adam


@dataclass(frozen=True)
class AdamW(_Adam):
    """Adam with decoupled weight decay, as in ``torch.optim.AdamW``.

    It is `Adam` with x ← x - α λ x at the beginning of each step.

    Args:
        lr: learning rate α, positive.
        betas: β₁ and β₂, in [0, 1).
        eps: ε, at least 0.
        weight_decay: λ, at least 0.
        amsgrad: whether to divide by the largest v so far instead of v.
        maximize: whether to maximize instead of minimizing.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization" (ICLR 2019).

    >>> rule, point, gradient = AdamW(0.5, weight_decay=1.0), torch.ones(1), torch.zeros(1)
    >>> state = rule.init(point)
    >>> for step in range(3):
    ...     point, state = rule.update(point, gradient, state, step)
    ...     print(point.item())
    0.5
    0.25
    0.125
    """

    weight_decay: NonNegative = 1e-2

    torch_class = torch.optim.AdamW

    @classmethod
    def label(cls) -> str:
        return "adamw"
