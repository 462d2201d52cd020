"""Noises: what is added to the gradient before the optimizer sees it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradexp.numbers import Component, NonNegative, Seed, each, normals
from gradexp.numbers.philox import Stream


class Noise(Component):
    """Changes gradients; whether a run has converged is judged on the surface without it."""

    @abstractmethod
    def disturb(self, gradient: Any, step: int | Tensor) -> Any:
        """The gradient with noise.

        Args:
            gradient: a tensor ``(dim, *batch)``, or `dim` tensors of one batch shape.
            step: counted from 0.
        """


@dataclass(frozen=True)
class Noiseless(Noise):
    """The gradient as it is."""

    def disturb(self, gradient: Any, step: int | Tensor) -> Any:
        return gradient


@dataclass(frozen=True)
class Gaussian(Noise):
    """g + s z, z standard normal and independent in each coordinate and step.

    Runs with the same seed see the same z whatever their other settings.

    Args:
        std: standard deviation s, at least 0.
        seed: the run's seed.
    """

    std: NonNegative = 0.1
    seed: Seed = 0

    def disturb(self, gradient: Any, step: int | Tensor) -> Any:
        seed = torch.as_tensor(self.seed, device=gradient[0].device)
        draws = normals(seed, Stream.NOISE, len(gradient), step).to(gradient[0].dtype)
        form = draws if isinstance(gradient, Tensor) else tuple(draws)
        return each(lambda g, z: g + self.std * z, gradient, form)
