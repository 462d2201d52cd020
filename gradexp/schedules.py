"""Schedules: how the learning rate changes from step to step."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from gradexp.numbers import Component, Interval, Number


class Schedule(Component):
    """The learning rate as a function of the step."""

    @abstractmethod
    def learning_rate(self, lr: Number, step: int | Tensor) -> Number:
        """The learning rate of the update that leads from `step` to the next.

        Args:
            lr: the optimizer's learning rate.
            step: counted from 0.
        """


@dataclass(frozen=True)
class Constant(Schedule):
    """The optimizer's learning rate at every step."""

    def learning_rate(self, lr: Number, step: int | Tensor) -> Number:
        return lr


@dataclass(frozen=True)
class Exponential(Schedule):
    """α_k = α γᵏ, as ``torch.optim.lr_scheduler.ExponentialLR``.

    Args:
        gamma: γ, in (0, 1].
    """

    gamma: Annotated[Number, Interval(0.0, 1.0, closed="right")] = 0.999

    def learning_rate(self, lr: Number, step: int | Tensor) -> Number:
        return lr * self.gamma**step
