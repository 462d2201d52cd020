"""Clips: limits on the size of the gradients that the optimizer sees."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradexp.numbers import Component, Points, Positive, each, like, norm


class Clip(Component):
    """Reduces large gradients after noise has been added.

    Gradients that are recorded, and the outcome, are those without clipping.
    """

    @abstractmethod
    def clip(self, gradient: Points) -> Any:
        """Returns the gradient that the optimizer sees.

        Args:
            gradient: a tensor ``(dim, *batch)``, or `dim` tensors of one batch shape.
        """


@dataclass(frozen=True)
class Unclipped(Clip):
    """No clipping: every gradient is unchanged."""

    def clip(self, gradient: Points) -> Points:
        return gradient


@dataclass(frozen=True)
class ByNorm(Clip):
    """g min(1, c / (‖g‖ + 10⁻⁶)), as in ``torch.nn.utils.clip_grad_norm_``.

    Args:
        max_norm: c, positive.

    Source: Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks"
    (ICML 2013).
    """

    max_norm: Positive = 1.0

    def clip(self, gradient: Points) -> Any:
        scale = (self.max_norm / (norm(gradient) + 1e-6)).clamp(max=1.0)
        return each(lambda g: scale * g, gradient)


@dataclass(frozen=True)
class ByValue(Clip):
    """Clamps each coordinate of the gradient to [-c, c], as ``torch.nn.utils.clip_grad_value_``.

    Args:
        clip_value: c, positive.
    """

    clip_value: Positive = 1.0

    def clip(self, gradient: Points) -> Any:
        limit = like(self.clip_value, gradient)

        def clamp(g: Tensor) -> Tensor:
            return torch.maximum(torch.minimum(g, limit), -limit)

        return each(clamp, gradient)
