"""Noises: what is added to the gradient before the optimizer sees it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from gradexp.numbers import Component, NonNegative, Seed, normals
from gradexp.numbers.philox import Stream


class Noise(Component):
    """Changes gradients; whether a run has converged is judged on the surface without it."""

    @abstractmethod
    def disturb(self, gradient: Tensor, step: int | Tensor) -> Tensor:
        """The gradient with noise.

        Args:
            gradient: ``(dim, *batch)``.
            step: counted from 0.
        """


@dataclass(frozen=True)
class Noiseless(Noise):
    """The gradient as it is."""

    def disturb(self, gradient: Tensor, step: int | Tensor) -> Tensor:
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

    def disturb(self, gradient: Tensor, step: int | Tensor) -> Tensor:
        seed = torch.as_tensor(self.seed, device=gradient.device)
        draws = normals(seed, Stream.NOISE, len(gradient), step)
        return gradient + self.std * draws.to(gradient.dtype)
