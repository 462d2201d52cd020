"""Surfaces with many minima, made by sines and cosines."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from gradexp.numbers import (
    AtLeast,
    Dimension,
    NonNegative,
    Point,
    each,
    indices,
    norm,
    product,
    safe_sqrt,
    total,
)
from gradexp.surfaces.surface import AnyDimension, Coordinates, MultiMinima, StationaryPoint


@dataclass(frozen=True)
class Rastrigin(AnyDimension, MultiMinima):
    """f(x) = A n + Σ xᵢ² - A cos 2πxᵢ: a bowl with a grid of minima about one unit apart.

    Domain [-5.12, 5.12]ⁿ. Minimum 0 at 0.
    Source: Rastrigin, *Systems of Extremal Control* (1974); Mühlenbein et al. (1991).

    Args:
        dim: dimension n, at least 1.
        amplitude: A of the waves, at least 0.
    """

    side = (-5.12, 5.12)
    start_cycle = (3.3, -2.4)
    minimum = 0.0
    minimizer_each = 0.0
    dim: Dimension = 2
    amplitude: NonNegative = 10.0

    def value(self, point: Point) -> Tensor:
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

    def value(self, point: Point) -> Tensor:
        distance = norm(point) / math.sqrt(self.dim)
        waves = total(each(lambda x: (2 * math.pi * x).cos(), point)) / self.dim
        return -20 * torch.expm1(-0.2 * distance) - (waves.exp() - math.e)


@dataclass(frozen=True)
class Griewank(AnyDimension, MultiMinima):
    """f(x) = 1 + Σ xᵢ²/4000 - Π cos(xᵢ/√i): a wide bowl under a fine ripple.

    Domain [-600, 600]ⁿ. Minimum 0 at 0.
    Source: Griewank, "Generalized descent for global optimization" (1981).
    """

    side = (-600.0, 600.0)
    start_cycle = (250.0, -180.0)
    minimum = 0.0
    minimizer_each = 0.0
    dim: Dimension = 2

    def value(self, point: Point) -> Tensor:
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
    dim: Annotated[int, AtLeast(2)] = 2

    def value(self, point: Point) -> Tensor:
        w = each(lambda x: 1 + (x - 1) / 4, point)
        first: Tensor = (math.pi * w[0]).sin() ** 2
        last: Tensor = (w[-1] - 1) ** 2 * (1 + (2 * math.pi * w[-1]).sin() ** 2)
        inner = each(lambda w: (w - 1) ** 2 * (1 + 10 * (math.pi * w + 1).sin() ** 2), w[:-1])
        return first + total(inner) + last


@dataclass(frozen=True)
class Schwefel(AnyDimension, MultiMinima):
    """f(x) = Σ c - xᵢ sin √|xᵢ|, c = 418.98…: the best minimum lies far from the next best.

    Unbounded below outside its domain; not differentiable where a coordinate is 0.

    Domain [-500, 500]ⁿ, with minimum 0 at (420.9687…, …).
    Source: Schwefel, *Numerical Optimization of Computer Models* (1981).
    """

    side = (-500.0, 500.0)
    start_cycle = (250.0, -150.0)
    minimum = 0.0
    minimizer_each = 420.968746359982
    dim: Dimension = 2

    def value(self, point: Point) -> Tensor:
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
"""Least point and value of each term of Michalewicz' function for m = 10."""


@dataclass(frozen=True)
class Michalewicz(AnyDimension, MultiMinima):
    """f(x) = -Σ sin(xᵢ) sin²ᵐ(i xᵢ²/π): narrow valleys, n! of them, between flat regions.

    Domain [0, π]ⁿ. The minimum is taken one coordinate at a time; it is listed for m = 10 and
    n ≤ 10: -1.8013… for n = 2, -4.6876… for n = 5, -9.6601… for n = 10.
    Source: Michalewicz, *Genetic Algorithms + Data Structures = Evolution Programs* (1992).

    Args:
        dim: dimension n, at least 1.
        steepness: m, a whole number, at least 1; the larger, the narrower the valleys.
    """

    side = (0.0, math.pi)
    start_cycle = (2.0, 1.8)
    dim: Dimension = 2
    steepness: Annotated[int, AtLeast(1)] = 10

    @property
    def minimum(self) -> float | None:
        return sum(value for _, value in self._terms()) if self._terms() else None

    @property
    def minimizers(self) -> tuple[Coordinates, ...]:
        return (tuple(x for x, _ in self._terms()),) if self._terms() else ()

    def _terms(self) -> tuple[tuple[float, float], ...]:
        known = self.steepness == 10 and self.dim <= len(_MICHALEWICZ)
        return _MICHALEWICZ[: self.dim] if known else ()

    def value(self, point: Point) -> Tensor:
        def term(x: Tensor, i: Tensor) -> Tensor:
            return -x.sin() * (i * x**2 / math.pi).sin() ** (2 * self.steepness)

        return total(each(term, point, indices(point)))


@dataclass(frozen=True)
class Branin(MultiMinima):
    """f(x, y) = (y - 5.1x²/4π² + 5x/π - 6)² + 10 (1 - 1/8π) cos x + 10: three equal minima.

    Domain [-5, 10] × [0, 15]. Minimum 0.3978… at (-π, 12.275), (π, 2.275), (3π, 2.475); saddles
    at (0, 6) and (2π, 1.1).
    Source: Branin, "Widely convergent method for finding multiple solutions of simultaneous
    nonlinear equations" (1972); Dixon and Szegő (1978).
    """

    dim = 2
    domain = ((-5.0, 10.0), (0.0, 15.0))
    start = (6.0, 12.0)
    minimum = 10 / (8 * math.pi)
    minimizers = ((-math.pi, 12.275), (math.pi, 2.275), (3 * math.pi, 2.475))
    stationary_points = (
        StationaryPoint((0.0, 6.0), "saddle"),
        StationaryPoint((2 * math.pi, 1.1), "saddle"),
    )

    def value(self, point: Point) -> Tensor:
        x, y = point
        valley = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
        return valley**2 + 10 * (1 - 1 / (8 * math.pi)) * x.cos() + 10


@dataclass(frozen=True)
class Bohachevsky(MultiMinima):
    """f(x, y) = x² + 2y² - 0.3 cos 3πx - 0.4 cos 4πy + 0.7: a bowl, rippled at its bottom.

    Domain [-100, 100]². Minimum 0 at 0.
    Source: Bohachevsky, Johnson, Stein, "Generalized simulated annealing for function
    optimization" (1986).
    """

    dim = 2
    domain = ((-100.0, 100.0), (-100.0, 100.0))
    start = (60.0, -35.0)
    minimum = 0.0
    minimizers = ((0.0, 0.0),)

    def value(self, point: Point) -> Tensor:
        x, y = point
        ripple = 0.3 * (1 - (3 * math.pi * x).cos()) + 0.4 * (1 - (4 * math.pi * y).cos())
        return x**2 + 2 * y**2 + ripple


@dataclass(frozen=True)
class DropWave(MultiMinima):
    """f(x, y) = -(1 + cos 12r) / (½r² + 2), r = ‖(x, y)‖: rings of minima around the best.

    Domain [-5.12, 5.12]². Minimum -1 at 0.
    Source: Surjanovic and Bingham, *Virtual Library of Simulation Experiments* (2013).
    """

    dim = 2
    domain = ((-5.12, 5.12), (-5.12, 5.12))
    start = (2.0, -1.0)
    minimum = -1.0
    minimizers = ((0.0, 0.0),)

    def value(self, point: Point) -> Tensor:
        x, y = point
        square = x**2 + y**2
        return -(1 + (12 * safe_sqrt(square)).cos()) / (0.5 * square + 2)


@dataclass(frozen=True)
class Eggholder(MultiMinima):
    """f(x, y) = -(y+47) sin √|x/2 + y + 47| - x sin √|x - y - 47|: steep and irregular.

    Unbounded below outside its domain; not differentiable where a root's argument is 0.

    Domain [-512, 512]², with minimum -959.64… on its edge, at (512, 404.23…), where the gradient
    is not zero: descent goes on beyond.
    Source: Surjanovic and Bingham (2013).
    """

    dim = 2
    domain = ((-512.0, 512.0), (-512.0, 512.0))
    start = (100.0, -200.0)
    minimum = -959.640662720850802833
    minimizers = ((512.0, 404.231805113757810928),)

    def value(self, point: Point) -> Tensor:
        x, y = point
        first = -(y + 47) * safe_sqrt((x / 2 + y + 47).abs()).sin()
        return first - x * safe_sqrt((x - (y + 47)).abs()).sin()


def _four_corners(x: float, y: float) -> tuple[tuple[float, float], ...]:
    """The point and its mirror images in both axes."""
    return ((x, y), (x, -y), (-x, y), (-x, -y))


@dataclass(frozen=True)
class HolderTable(MultiMinima):
    """f(x, y) = -|sin x cos y exp |1 - r/π||, r = ‖(x, y)‖: four legs at the corners of a table.

    Unbounded below outside its domain; not differentiable where sin x cos y = 0.

    Domain [-10, 10]², with minimum -19.2085… at (±8.0550…, ±9.6645…).
    Source: Surjanovic and Bingham (2013).
    """

    dim = 2
    domain = ((-10.0, 10.0), (-10.0, 10.0))
    start = (1.0, 0.5)
    minimum = -19.20850256788673183175
    minimizers = _four_corners(8.055023475736563, 9.664590019241273)

    def value(self, point: Point) -> Tensor:
        x, y = point
        growth = (1 - norm((x, y)) / math.pi).abs().exp()
        return -(x.sin() * y.cos() * growth).abs()


@dataclass(frozen=True)
class CrossInTray(MultiMinima):
    """f(x, y) = -10⁻⁴ (|sin x sin y exp |100 - r/π|| + 1)^0.1, r = ‖(x, y)‖: flat, with a cross.

    Not differentiable where sin x sin y = 0.

    Domain [-10, 10]². Minimum -2.0626… at (±1.3494…, ±1.3494…).
    Source: Surjanovic and Bingham (2013).
    """

    dim = 2
    domain = ((-10.0, 10.0), (-10.0, 10.0))
    start = (2.5, 0.5)
    minimum = -2.062611870822736877795
    minimizers = _four_corners(1.349406617153825, 1.349406617153825)

    def value(self, point: Point) -> Tensor:
        x, y = point
        growth = (100 - norm((x, y)) / math.pi).abs()
        # e^growth taken out of the brackets: in single precision it would overflow
        return -1e-4 * (growth / 10).exp() * ((x.sin() * y.sin()).abs() + (-growth).exp()) ** 0.1


_SHUBERT_LOW = (-7.7083137354993474, -1.4251284283197610, 4.8580568788598255)
_SHUBERT_HIGH = (-7.0835064076515596, -0.80032110047197312, 5.4828642067076134)
"""Where one factor of Shubert's function is least and greatest within [-10, 10]."""


@dataclass(frozen=True)
class Shubert(MultiMinima):
    """f(x, y) = g(x) g(y), g(t) = Σᵢ₌₁⁵ i cos((i+1)t + i): eighteen equal minima in the domain.

    Domain [-10, 10]². Minimum -186.73… where one factor is least and the other greatest;
    periodic with 2π, so there are more outside.
    Source: Shubert, "A sequential method seeking the global maximum of a function" (1972).
    """

    dim = 2
    domain = ((-10.0, 10.0), (-10.0, 10.0))
    start = (0.5, 0.5)
    minimum = -186.73090883102382586
    minimizers = (
        *itertools.product(_SHUBERT_LOW, _SHUBERT_HIGH),
        *itertools.product(_SHUBERT_HIGH, _SHUBERT_LOW),
    )

    def value(self, point: Point) -> Tensor:
        def factor(t: Tensor) -> Tensor:
            return total([i * ((i + 1) * t + i).cos() for i in range(1, 6)])

        x, y = point
        return factor(x) * factor(y)
