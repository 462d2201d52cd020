"""Noises: random terms added to the gradient before the optimizer sees it."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gradexp.numbers import (
    Component,
    NonNegative,
    Number,
    Points,
    Positive,
    Seed,
    each,
    is_zero,
    norm,
    normals_of_step,
    students_of_step,
)
from gradexp.numbers.philox import Stream


class Noise(Component):
    """Noise in the gradients that the optimizer receives.

    Losses and gradients that are recorded, and the outcome, are those of the surface without noise.
    Random numbers are computed from the run's seed and the step number: runs with the same seed get
    the same ones whatever their other settings, and those of any step can be computed without the
    steps before it.
    """

    def size_at_zero_gradient(self) -> Number:
        """Returns the size of the noise where the gradient is 0.

        A run can come to rest only if it is 0. By default it is infinite, so that a run never
        rests under a noise class that does not override this method.
        """
        return math.inf

    def is_none(self) -> bool:
        """Returns whether the noise of one run is always 0."""
        return False

    def negligible_copy(self) -> Noise | None:
        """Returns the same noise scaled down until it has no effect, or None if unsupported."""
        return None

    @abstractmethod
    def add_to(self, gradient: Any, step: int | Tensor) -> Any:
        """Returns the gradient with noise.

        Args:
            gradient: a tensor ``(dim, *batch)``, or `dim` tensors of one batch shape.
            step: the step number, counted from 0.
        """


@dataclass(frozen=True)
class Noiseless(Noise):
    """No noise: the exact gradient."""

    def size_at_zero_gradient(self) -> Number:
        return 0.0

    def is_none(self) -> bool:
        return True

    def add_to(self, gradient: Any, step: int | Tensor) -> Any:
        return gradient


@dataclass(frozen=True)
class Gaussian(Noise):
    """g + (s + r ‖g‖) z, with z standard normal and independent in each coordinate and step.

    Args:
        std: standard deviation s, at least 0.
        relative: r, at least 0: the part of the standard deviation that is proportional to the
            gradient norm.
        seed: the run's seed.
    """

    std: NonNegative = 0.1
    relative: NonNegative = 0.0
    seed: Seed = 0

    def size_at_zero_gradient(self) -> Number:
        return self.std

    def negligible_copy(self) -> Gaussian:
        return replace(self, std=_NEGLIGIBLE, relative=_negligible(self.relative))

    def is_none(self) -> bool:
        return is_zero(self.std) and is_zero(self.relative)

    def add_to(self, gradient: Any, step: int | Tensor) -> Any:
        draws = normals_of_step(*_random_arguments(self.seed, gradient, step))
        return _add(gradient, _noise_size(gradient, self.std, self.relative), draws)


@dataclass(frozen=True)
class StudentT(Noise):
    """g + (s + r ‖g‖) t, with t from Student's t distribution with ν degrees of freedom.

    t is independent in each coordinate and step. Its density falls as |t|^-(ν + 1): the variance is
    infinite or undefined for ν ≤ 2, and there is no mean for ν ≤ 1.

    Args:
        scale: s, at least 0.
        relative: r, at least 0: the part of the scale that is proportional to the gradient norm.
        degrees_of_freedom: ν, positive.
        seed: the run's seed.

    Source: Bailey, "Polar generation of random variates with the t-distribution" (Mathematics of
    Computation 1994); Simsekli, Sagun, Gürbüzbalaban, "A tail-index analysis of stochastic gradient
    noise in deep neural networks" (ICML 2019), on why heavy tails matter.
    """

    scale: NonNegative = 0.1
    relative: NonNegative = 0.0
    degrees_of_freedom: Positive = 2.0
    seed: Seed = 0

    def size_at_zero_gradient(self) -> Number:
        return self.scale

    def negligible_copy(self) -> StudentT:
        return replace(self, scale=_NEGLIGIBLE, relative=_negligible(self.relative))

    def is_none(self) -> bool:
        return is_zero(self.scale) and is_zero(self.relative)

    def add_to(self, gradient: Any, step: int | Tensor) -> Any:
        arguments = _random_arguments(self.seed, gradient, step)
        draws = students_of_step(self.degrees_of_freedom, *arguments)
        return _add(gradient, _noise_size(gradient, self.scale, self.relative), draws)


_NEGLIGIBLE = 1e-300
"""size of a noise without effect; not 0, which would give the batch a different structure"""


def _negligible(number: Number) -> Number:
    return number if is_zero(number) else _NEGLIGIBLE


def _random_arguments(seed: Seed, gradient: Points, step: int | Tensor) -> tuple[Any, ...]:
    """Returns the arguments of `normals_of_step` for the noise of a gradient."""
    device, dtype = gradient[0].device, gradient[0].dtype
    seeds = torch.as_tensor(seed, device=device)
    return seeds, Stream.NOISE, len(gradient), step, dtype


def _noise_size(gradient: Points, size: Number, relative: Number) -> Number | Tensor:
    """Returns the size of the noise at a gradient: s + r ‖g‖."""
    return size if is_zero(relative) else size + relative * norm(gradient)


def _add(gradient: Any, size: Number | Tensor, draws: Tensor) -> Any:
    form = draws if isinstance(gradient, Tensor) else tuple(draws)
    return each(lambda g, z: g + size * z, gradient, form)
