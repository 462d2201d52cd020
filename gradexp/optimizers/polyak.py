"""Gradient descent with Polyak's step size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gradexp.numbers import Points, Positive, each, total
from gradexp.optimizers.optimizer import Optimizer
from gradexp.optimizers.terms import take_step


class PolyakState(NamedTuple):
    """An empty state."""


@dataclass(frozen=True)
class Polyak(Optimizer):
    """Gradient descent with Polyak's step size, bounded by a learning rate (SPS_max).

    With gradient g at x, and the gap between the loss there and the surface's minimum::

        x ← x - min(gap/(c ‖g‖²), α) g, and x is unchanged where g = 0

    On a convex surface with c = 1, no step increases the distance to a minimizer. A negative gap,
    which only rounding or a wrong minimum can cause, is treated as 0.

    Args:
        lr: the largest step size α, positive.
        c: the divisor of the gap, positive.

    Source: Polyak, "Minimization of unsmooth functionals" (USSR Computational Mathematics and
    Mathematical Physics 1969); Loizou et al., "Stochastic Polyak step-size for SGD: an adaptive
    learning rate for fast convergence" (AISTATS 2021).

    >>> rule, point = Polyak(lr=10.0), torch.tensor([2.0, 0.0])  # on ½ ‖x‖²
    >>> for step in range(3):
    ...     gap = 0.5 * point.square().sum()
    ...     point, _ = rule.update(point, point, PolyakState(), step, gap=gap)
    ...     print(point.tolist())
    [1.0, 0.0]
    [0.5, 0.0]
    [0.25, 0.0]
    """

    needs_gap = True

    lr: Positive = 1.0
    c: Positive = 1.0

    def init(self, point: Points) -> PolyakState:
        return PolyakState()

    def update(
        self,
        point: Points,
        gradient: Points,
        state: PolyakState,
        step: int | Tensor,
        gap: Tensor | None = None,
    ) -> tuple[Points, PolyakState]:
        if gap is None:
            raise TypeError("Polyak's step needs the gap")
        square = total(each(torch.square, gradient))
        size = (gap.clamp(min=0.0) / (self.c * square)).clamp(max=self.lr)
        rate = torch.where(square > 0, size, 0.0)
        return take_step(point, rate, gradient), state
