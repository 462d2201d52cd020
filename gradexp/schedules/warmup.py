"""Schedules that start small: a linear ramp, alone or followed by a decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradexp.errors import UserError
from gradexp.numbers import NonNegative, Number
from gradexp.schedules.curves import Length, fraction_done, half_wave, interpolate_linear
from gradexp.schedules.schedule import SingleSchedule


@dataclass(frozen=True)
class Linear(SingleSchedule):
    """h_k = h (s + (e - s) min(k / T, 1)): a warm-up if s < e, a decay if s > e.

    The same schedule as ``torch.optim.lr_scheduler.LinearLR``.

    Args:
        start_factor: s, at least 0.
        end_factor: e, at least 0.
        total_iters: T, at least 0; if it is 0, the factor is always e (in torch, s).
        of: the hyperparameter h.

    Source: Goyal et al., Accurate, large minibatch SGD: training ImageNet in 1 hour, 2017,
    arXiv:1706.02677, §2.2 (the warm-up).
    """

    start_factor: NonNegative = 0.1
    end_factor: NonNegative = 1.0
    total_iters: NonNegative = 100.0
    of: str = "lr"

    def value(self, base: Number, step: Tensor) -> Any:
        return base * interpolate_linear(
            self.start_factor, self.end_factor, fraction_done(step, self.total_iters)
        )


@dataclass(frozen=True)
class WarmupCosine(SingleSchedule):
    """A linear warm-up from s h to h in w steps, then a cosine decay to η at step T.

    h_k = h (s + (1 - s) k / w)                                  for k < w,
    h_k = η + (h - η) (1 + cos(π min((k - w) / (T - w), 1))) / 2  otherwise.

    Until step T it is ``torch.optim.lr_scheduler.SequentialLR`` with ``LinearLR`` and
    ``CosineAnnealingLR``; at all steps it is ``optax.warmup_cosine_decay_schedule``.

    Args:
        total_steps: T, at least 1.
        warmup_steps: w, in [0, T).
        start_factor: s, at least 0.
        eta_min: η, at least 0.
        of: the hyperparameter h.

    Source: Goyal et al. 2017, see `Linear`; Loshchilov & Hutter 2017, see `Cosine`.
    """

    total_steps: Length
    warmup_steps: NonNegative = 10.0
    start_factor: NonNegative = 0.1
    eta_min: NonNegative = 0.0
    of: str = "lr"

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(torch.as_tensor(self.warmup_steps >= self.total_steps).any()):
            raise UserError("warmup_steps", self.warmup_steps, "must be less than total_steps")

    def value(self, base: Number, step: Tensor) -> Any:
        # Both parts are one interpolation from `lowest` to `base`, so that where all runs share the
        # schedule's numbers, its fraction is computed once per step, not once per run and step.
        rises = step < self.warmup_steps
        decay = fraction_done(step - self.warmup_steps, self.total_steps - self.warmup_steps)
        warmup = interpolate_linear(self.start_factor, 1.0, step / self.warmup_steps)
        lowest = torch.where(rises, torch.zeros_like(step), self.eta_min)
        return interpolate_linear(lowest, base, torch.where(rises, warmup, half_wave(decay)))


@dataclass(frozen=True)
class InverseSquareRoot(SingleSchedule):
    """A linear warm-up, then an inverse square root decay.

    h_k = h min((k + 1) / w, √(w / (k + 1)))

    The peak, h, is reached in update number w, counted from 1. With h = 1 / √(w d) it is the
    schedule of the source for a model of width d.

    Args:
        warmup_steps: w, at least 1; 1 means no warm-up.
        of: the hyperparameter h.

    Source: Vaswani et al., Attention is all you need, NeurIPS 2017, §5.3.
    """

    warmup_steps: Length = 10.0
    of: str = "lr"

    def value(self, base: Number, step: Tensor) -> Any:
        update = step + 1
        falling = (self.warmup_steps / update).sqrt()
        return base * torch.minimum(update / self.warmup_steps, falling)
