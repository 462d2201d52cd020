"""The contract of an optimizer: pure functions on points, written once for any batch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from gradexp.numbers import Component, Number, Point


class Optimizer(Component):
    """An update rule with its hyperparameters; subclasses are frozen dataclasses.

    `init` and `update` use pointwise arithmetic only, through `gradexp.numbers.each`, so that
    they serve a tuple of coordinates and a tensor ``(dim, *batch)`` alike.
    """

    lr: Number

    linear: ClassVar[bool] = False
    """Whether `update` is linear in point, gradient and state, and the step is proportional to the
    learning rate: then its rate and its stability on a quadratic are known."""

    @abstractmethod
    def init(self, point: Point) -> Any:
        """The state before the first step, a NamedTuple."""

    @abstractmethod
    def update(
        self, point: Point, gradient: Point, state: Any, step: int | Tensor
    ) -> tuple[Any, Any]:
        """The next point and the next state.

        Args:
            point: where the run is.
            gradient: of the surface there, of the same form.
            state: what `init` or the last `update` gave.
            step: the number of updates before this one.
        """

    @abstractmethod
    def reference(self, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
        """The same rule with the same settings in ``torch.optim``, for one run."""
