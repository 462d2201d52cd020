"""Piecewise constant schedules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from gradexp.errors import UserError
from gradexp.numbers import NonNegative, Number, Positive, like
from gradexp.schedules.curves import Length
from gradexp.schedules.schedule import SingleSchedule


@dataclass(frozen=True)
class Step(SingleSchedule):
    """h_k = h γ^⌊k / n⌋, as in ``torch.optim.lr_scheduler.StepLR``.

    Args:
        step_size: n, the number of steps between jumps, at least 1.
        gamma: γ, positive.
        of: the hyperparameter h.
    """

    step_size: Length = 250.0
    gamma: Positive = 0.1
    of: str = "lr"

    def value(self, base: Number, step: Tensor) -> Any:
        return base * self.gamma ** (step / self.step_size).floor()


@dataclass(frozen=True)
class MultiStep(SingleSchedule):
    """h_k = h γⁿ, where n is the number of milestones that are at most k.

    The same schedule as ``torch.optim.lr_scheduler.MultiStepLR``.

    Args:
        milestones: the steps at which h is multiplied by γ, at least 0, in ascending order; a
            repeated milestone counts repeatedly.
        gamma: γ, positive.
        of: the hyperparameter h.
    """

    milestones: tuple[NonNegative, ...] = (500.0, 750.0)
    gamma: Positive = 0.1
    of: str = "lr"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_ascending(self.milestones)

    def value(self, base: Number, step: Tensor) -> Any:
        level, levels = base, [base]
        for _ in self.milestones:
            level = level * self.gamma
            levels.append(level)
        return _staircase(step, self.milestones, levels)


@dataclass(frozen=True)
class Piecewise(SingleSchedule):
    """h_k = h f₀ before the first milestone, and h f_i from milestone i on, i = 1, 2, …

    With one milestone and a last factor of 1 it is ``torch.optim.lr_scheduler.ConstantLR``.

    Args:
        milestones: the steps at which the factor changes, at least 0, in ascending order.
        factors: f₀, f₁, …, at least 0, one more than there are milestones.
        of: the hyperparameter h.
    """

    milestones: tuple[NonNegative, ...] = (100.0,)
    factors: tuple[NonNegative, ...] = (0.1, 1.0)
    of: str = "lr"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_ascending(self.milestones)
        wanted = len(self.milestones) + 1
        if len(self.factors) != wanted:
            reason = f"must be a list of {wanted}: one more than there are milestones"
            raise UserError("factors", self.factors, reason)

    def value(self, base: Number, step: Tensor) -> Any:
        return _staircase(step, self.milestones, [base * factor for factor in self.factors])


def _staircase(step: Tensor, milestones: Iterable[Number], levels: Sequence[Number]) -> Tensor:
    """Returns the first level before the first milestone, and the next one from each milestone on.

    The levels do not depend on the step, so a compiled run computes them only once.
    """
    value = like(levels[0], (step,))
    for milestone, level in zip(milestones, levels[1:], strict=True):
        value = torch.where(step >= milestone, level, value)
    return value


def _check_ascending(milestones: Sequence[Number]) -> None:
    """Checks that the milestones of every run ascend.

    Raises:
        UserError: a milestone is less than the one before it.
    """
    for i, (one, other) in enumerate(pairwise(milestones)):
        if bool(torch.as_tensor(other < one).any()):
            raise UserError(
                f"milestones[{i + 1}]", other, "must be at least the milestone before it"
            )
