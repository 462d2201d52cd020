"""Surfaces of any dimension with many minima from sines and cosines."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from gradexp.numbers import (
    Dimension,
    NonNegative,
    Points,
    Whole,
    each,
    indices,
    norm,
    product,
    safe_sqrt,
    total,
)
from gradexp.surfaces.surface import AnyDimension, Coordinates, MultiMinima


@dataclass(frozen=True)
class Rastrigin(AnyDimension, MultiMinima):
    """f(x) = A n + Σ xᵢ² - A cos 2πxᵢ: a bowl with a grid of minima about one unit apart.

    Domain [-5.12, 5.12]ⁿ. Minimum 0 at 0.
    Source: Rastrigin, *Systems of Extremal Control* (1974); Mühlenbein et al. (1991).

    Args:
        dim: dimension n, at least 1.
        amplitude: A, the amplitude of the waves, at least 0.
    """

    side = (-5.12, 5.12)
    start_cycle = (3.3, -2.4)
    minimum = 0.0
    minimizer_each = 0.0
    dim: Dimension = 2
    amplitude: NonNegative = 10.0

    def value(self, point: Points) -> Tensor:
        def term(x: Tensor) -> Tensor:
            return x**2 + self.amplitude * (1 - (2 * math.pi * x).cos())

        return total(each(term, point))


@dataclass(frozen=True)
class Ackley(AnyDimension, MultiMinima):
    """f(x) = -20 exp(-0.2 √(Σ xᵢ²/n)) - exp(Σ cos(2πxᵢ)/n) + 20 + e: waves around a funnel.

    Not differentiable at its minimizer, the funnel's tip.

    Domain [-32.768, 32.768]ⁿ. Minimum 0 at 0.
    Source: Ackley, *A Connectionist Machine for Genetic Hillclimbing* (1987).
    """

    side = (-32.768, 32.768)
    start_cycle = (12.3, -8.6)
    minimum = 0.0
    minimizer_each = 0.0
    dim: Dimension = 2

    def value(self, point: Points) -> Tensor:
        distance = norm(point) / math.sqrt(self.dim)
        waves = total(each(lambda x: (2 * math.pi * x).cos(), point)) / self.dim
        return -20 * torch.expm1(-0.2 * distance) - (waves.exp() - math.e)


@dataclass(frozen=True)
class Griewank(AnyDimension, MultiMinima):
    """f(x) = 1 + Σ xᵢ²/4000 - Π cos(xᵢ/√i): a wide bowl with fine ripples.

    Domain [-600, 600]ⁿ. Minimum 0 at 0.
    Source: Griewank, "Generalized descent for global optimization" (1981).
    """

    side = (-600.0, 600.0)
    start_cycle = (250.0, -180.0)
    minimum = 0.0
    minimizer_each = 0.0
    dim: Dimension = 2

    def value(self, point: Points) -> Tensor:
        bowl = total(each(torch.square, point)) / 4000
        ripple = product(each(lambda x, i: (x / i.sqrt()).cos(), point, indices(point)))
        return 1 + bowl - ripple


@dataclass(frozen=True)
class Levy(AnyDimension, MultiMinima):
    """f(x) = sin²πw₁ + Σᵢ₌₁ⁿ⁻¹ (wᵢ-1)² (1 + 10 sin²(πwᵢ+1)) + (wₙ-1)² (1 + sin² 2πwₙ).

    With wᵢ = 1 + (xᵢ-1)/4: waves across a wide bowl.

    Domain [-10, 10]ⁿ, n ≥ 2. Minimum 0 at (1, …, 1).
    Source: Levy and Montalvo, "The tunneling algorithm" (1985); Laguna and Martí (2005).
    """

    side = (-10.0, 10.0)
    start_cycle = (-7.0, 6.0)
    minimum = 0.0
    minimizer_each = 1.0
    dim: Annotated[int, Whole(2, 10**6)] = 2

    def value(self, point: Points) -> Tensor:
        w = each(lambda x: 1 + (x - 1) / 4, point)
        first: Tensor = (math.pi * w[0]).sin() ** 2
        last: Tensor = (w[-1] - 1) ** 2 * (1 + (2 * math.pi * w[-1]).sin() ** 2)
        inner = each(lambda w: (w - 1) ** 2 * (1 + 10 * (math.pi * w + 1).sin() ** 2), w[:-1])
        return first + total(inner) + last


@dataclass(frozen=True)
class Schwefel(AnyDimension, MultiMinima):
    """f(x) = Σ c - xᵢ sin √|xᵢ|, c = 418.98…: the best minimum is far from the second best.

    Unbounded below outside its domain; not differentiable where a coordinate is 0.

    Domain [-500, 500]ⁿ, with minimum 0 at (420.9687…, …).
    Source: Schwefel, *Numerical Optimization of Computer Models* (1981).
    """

    side = (-500.0, 500.0)
    start_cycle = (250.0, -150.0)
    minimum = 0.0
    minimizer_each = 420.968746359982
    dim: Dimension = 2

    def value(self, point: Points) -> Tensor:
        def term(x: Tensor) -> Tensor:
            return 418.98288727243371 - x * safe_sqrt(x.abs()).sin()

        return total(each(term, point))


_MICHALEWICZ = (
    (2.2029055201726093, -0.80130341009855253),
    (1.5707963267948966, -1.0),
    (1.2849915705529244, -0.95909126989600595),
    (1.9230584698663628, -0.93846241847208341),
    (1.7204697725658413, -0.98880108062150436),
    (1.5707963267948966, -1.0),
    (1.454413971362379, -0.9932271353558816),
    (1.7560865209450264, -0.9828720362722106),
    (1.6557174168210291, -0.99639436492510296),
    (1.5707963267948966, -1.0),
)
"""minimizer and minimum of each term of Michalewicz' function for m = 10"""


@dataclass(frozen=True)
class Michalewicz(AnyDimension, MultiMinima):
    """f(x) = -Σ sin(xᵢ) sin²ᵐ(i xᵢ²/π): narrow valleys, n! of them, between flat regions.

    Domain [0, π]ⁿ. Its minimum over the domain, found for each coordinate separately, is listed for
    m = 10 and n ≤ 10: -1.8013… for n = 2, -4.6876… for n = 5, -9.6601… for n = 10. There are lower
    values outside.
    Source: Michalewicz, *Genetic Algorithms + Data Structures = Evolution Programs* (1992).

    Args:
        dim: dimension n, at least 1.
        steepness: m, an integer, at least 1; larger values make the valleys narrower.
    """

    side = (0.0, math.pi)
    start_cycle = (2.0, 1.8)
    dim: Dimension = 2
    steepness: Annotated[int, Whole(1)] = 10

    @property
    def minimum(self) -> float | None:
        return sum(value for _, value in self._terms()) if self._terms() else None

    @property
    def minimizers(self) -> tuple[Coordinates, ...]:
        return (tuple(x for x, _ in self._terms()),) if self._terms() else ()

    def _terms(self) -> tuple[tuple[float, float], ...]:
        known = self.steepness == 10 and self.dim <= len(_MICHALEWICZ)
        return _MICHALEWICZ[: self.dim] if known else ()

    def value(self, point: Points) -> Tensor:
        def term(x: Tensor, i: Tensor) -> Tensor:
            return -x.sin() * (i * x**2 / math.pi).sin() ** (2 * self.steepness)

        return total(each(term, point, indices(point)))
