"""Schedules that decrease a hyperparameter smoothly or keep it constant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gradexp.numbers import NonNegative, Number, Positive
from gradexp.schedules.curves import Length, interpolate_cosine
from gradexp.schedules.schedule import Schedule, SingleSchedule


@dataclass(frozen=True)
class Constant(Schedule):
    """Keeps every hyperparameter at the optimizer's own value."""

    def values(self, base: Mapping[str, Number], step: Tensor) -> dict[str, Number]:
        return {}


@dataclass(frozen=True)
class Exponential(SingleSchedule):
    """h_k = h γᵏ, as in ``torch.optim.lr_scheduler.ExponentialLR``.

    Args:
        gamma: γ, positive.
        of: the hyperparameter h.
    """

    gamma: Positive = 0.999
    of: str = "lr"

    def value(self, base: Number, step: Tensor) -> Any:
        return base * self.gamma**step


@dataclass(frozen=True)
class Polynomial(SingleSchedule):
    """h_k = h (1 - k / T)ᵖ until step T, then 0, as in ``torch.optim.lr_scheduler.PolynomialLR``.

    Args:
        total_iters: T, at least 1.
        power: p, positive; 1 gives a straight line.
        of: the hyperparameter h.
    """

    total_iters: Length
    power: Positive = 1.0
    of: str = "lr"

    def value(self, base: Number, step: Tensor) -> Any:
        left = (self.total_iters - step) / self.total_iters
        return base * left.clamp(min=0.0) ** self.power


@dataclass(frozen=True)
class Cosine(SingleSchedule):
    """Cosine decay: h_k = η + (h - η) (1 + cos(π k / T)) / 2.

    This is the closed form of ``torch.optim.lr_scheduler.CosineAnnealingLR``: after step T it rises
    again, to h at step 2T.

    Args:
        T_max: T, at least 1.
        eta_min: η, at least 0.
        of: the hyperparameter h.

    Source: Loshchilov & Hutter, SGDR: stochastic gradient descent with warm restarts, ICLR 2017.
    """

    T_max: Length
    eta_min: NonNegative = 0.0
    of: str = "lr"

    def value(self, base: Number, step: Tensor) -> Any:
        return interpolate_cosine(base, self.eta_min, step / self.T_max)
