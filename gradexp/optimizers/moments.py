"""Moving averages of the gradient and of its square, which Adam and its variants share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from gradexp.numbers import NonNegative, Points, Positive, UnitInterval
from gradexp.optimizers.terms import apply_weight_decay, average, average_square
from gradexp.optimizers.torch_rule import TorchRule


class MomentUpdate(NamedTuple):
    """The point, the gradient and the moving averages after a new gradient."""

    point: Points
    """after weight decay, where that is decoupled"""
    gradient: Points
    """the gradient to descend along"""
    mean: Points
    square: Points


@dataclass(frozen=True)
class Moments(TorchRule):
    """Base of rules with moving averages m and v, initially 0, of the gradient g at x::

    g ← -g if maximize
    x ← x - α λ x if weight decay is decoupled, else g ← g + λ x
    m ← β₁ m + (1 - β₁) g,  v ← β₂ v + (1 - β₂) g²
    """

    lr: Positive = 1e-3
    betas: tuple[UnitInterval, UnitInterval] = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    maximize: bool = False

    used_only_with_step: ClassVar[tuple[str, ...]] = ("betas",)

    def _update_moments(
        self, point: Points, gradient: Points, mean: Points, square: Points
    ) -> MomentUpdate:
        point, gradient = apply_weight_decay(
            point,
            gradient,
            lr=self.lr,
            weight_decay=self.weight_decay,
            decoupled=getattr(self, "decoupled_weight_decay", True),  # always on in AdamW
            maximize=self.maximize,
        )
        mean = average(mean, gradient, self.betas[0])
        return MomentUpdate(point, gradient, mean, average_square(square, gradient, self.betas[1]))
