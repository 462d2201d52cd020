"""Noises: what is added to the gradient before the optimizer sees it."""

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
    """Changes gradients; what is recorded and judged is the surface without it.

    Random numbers are made from the run's seed and the number of the step: runs with the same seed
    see the same ones whatever their other settings, and those of any step can be had without the
    steps before it.
    """

    def constant_part(self) -> Number:
        """The size of what is added where the gradient is 0: a run rests there only if it is 0.

        Infinite, unless a noise says otherwise: of a noise that does not no run rests.
        """
        return math.inf

    def is_none(self) -> bool:
        """Whether nothing is ever added, with the numbers of one run."""
        return False

    def silenced(self) -> Noise | None:
        """The same noise, so small that it moves nothing; None where that is not known."""
        return None

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

    def constant_part(self) -> Number:
        return 0.0

    def is_none(self) -> bool:
        return True

    def disturb(self, gradient: Any, step: int | Tensor) -> Any:
        return gradient


@dataclass(frozen=True)
class Gaussian(Noise):
    """g + (s + r ‖g‖) z, z standard normal and independent in each coordinate and step.

    Args:
        std: standard deviation s, at least 0.
        relative: r, at least 0: a part of the standard deviation that goes with the gradient's
            norm.
        seed: the run's seed.
    """

    std: NonNegative = 0.1
    relative: NonNegative = 0.0
    seed: Seed = 0

    def constant_part(self) -> Number:
        return self.std

    def silenced(self) -> Gaussian:
        return replace(self, std=_SILENT, relative=_silent(self.relative))

    def is_none(self) -> bool:
        return is_zero(self.std) and is_zero(self.relative)

    def disturb(self, gradient: Any, step: int | Tensor) -> Any:
        draws = normals_of_step(*_place(self.seed, gradient, step))
        return _added(gradient, _size(gradient, self.std, self.relative), draws)


@dataclass(frozen=True)
class StudentT(Noise):
    """g + (s + r ‖g‖) t, t of Student's distribution with ν degrees of freedom, independent in
    each coordinate and step.

    Its density falls as t to the power -(ν + 1): there is no finite variance for ν up to 2, and no
    mean for ν up to 1.

    Args:
        scale: s, at least 0.
        relative: r, at least 0: a part of the scale that goes with the gradient's norm.
        degrees_of_freedom: ν, positive.
        seed: the run's seed.

    Source: Bailey, "Polar generation of random variates with the t-distribution" (Mathematics of
    Computation 1994); Simsekli, Sagun, Gürbüzbalaban, "A tail-index analysis of stochastic gradient
    noise in deep neural networks" (ICML 2019), for why tails matter.
    """

    scale: NonNegative = 0.1
    relative: NonNegative = 0.0
    degrees_of_freedom: Positive = 2.0
    seed: Seed = 0

    def constant_part(self) -> Number:
        return self.scale

    def silenced(self) -> StudentT:
        return replace(self, scale=_SILENT, relative=_silent(self.relative))

    def is_none(self) -> bool:
        return is_zero(self.scale) and is_zero(self.relative)

    def disturb(self, gradient: Any, step: int | Tensor) -> Any:
        draws = students_of_step(self.degrees_of_freedom, *_place(self.seed, gradient, step))
        return _added(gradient, _size(gradient, self.scale, self.relative), draws)


_SILENT = 1e-300
"""Noise that moves nothing; not 0, which would be another structure of a batch."""


def _silent(number: Number) -> Number:
    return number if is_zero(number) else _SILENT


def _place(seed: Seed, gradient: Points, step: int | Tensor) -> tuple[Any, ...]:
    """What random numbers for a gradient are made from: the arguments of `normals_of_step`."""
    device, dtype = gradient[0].device, gradient[0].dtype
    seeds = torch.as_tensor(seed, device=device)
    return seeds, Stream.NOISE, len(gradient), step, dtype


def _size(gradient: Points, size: Number, relative: Number) -> Number | Tensor:
    """How large the noise is at a gradient."""
    return size if is_zero(relative) else size + relative * norm(gradient)


def _added(gradient: Any, size: Number | Tensor, draws: Tensor) -> Any:
    form = draws if isinstance(gradient, Tensor) else tuple(draws)
    return each(lambda g, z: g + size * z, gradient, form)
