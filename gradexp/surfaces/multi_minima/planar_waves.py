"""Two-dimensional surfaces with many minima from sines and cosines."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gradexp.numbers import (
    Points,
    norm,
    safe_sqrt,
    total,
)
from gradexp.surfaces.surface import MultiMinima, StationaryPoint


@dataclass(frozen=True)
class Branin(MultiMinima):
    """f(x, y) = (y - 5.1x²/4π² + 5x/π - 6)² + 10 (1 - 1/8π) cos x + 10: three equal minima.

    Domain [-5, 10] × [0, 15]. Minimum 0.3978… at (-π, 12.275), (π, 2.275), (3π, 2.475); saddles
    at (0, 6) and (2π, 1.1). There are more of both outside the domain.
    Source: Branin, "Widely convergent method for finding multiple solutions of simultaneous
    nonlinear equations" (1972); Dixon and Szegő (1978).
    """

    complete = True
    dim = 2
    domain = ((-5.0, 10.0), (0.0, 15.0))
    start = (6.0, 12.0)
    minimum = 10 / (8 * math.pi)
    minimizers = ((-math.pi, 12.275), (math.pi, 2.275), (3 * math.pi, 2.475))
    stationary_points = (
        StationaryPoint((0.0, 6.0), "saddle"),
        StationaryPoint((2 * math.pi, 1.1), "saddle"),
    )

    def value(self, point: Points) -> Tensor:
        x, y = point
        valley = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
        return valley**2 + 10 * (1 - 1 / (8 * math.pi)) * x.cos() + 10


@dataclass(frozen=True)
class Bohachevsky(MultiMinima):
    """f(x, y) = x² + 2y² - 0.3 cos 3πx - 0.4 cos 4πy + 0.7: a bowl with ripples.

    Domain [-100, 100]². Minimum 0 at 0.
    Source: Bohachevsky, Johnson, Stein, "Generalized simulated annealing for function
    optimization" (1986).
    """

    dim = 2
    domain = ((-100.0, 100.0), (-100.0, 100.0))
    start = (60.0, -35.0)
    minimum = 0.0
    minimizers = ((0.0, 0.0),)

    def value(self, point: Points) -> Tensor:
        x, y = point
        ripple = 0.3 * (1 - (3 * math.pi * x).cos()) + 0.4 * (1 - (4 * math.pi * y).cos())
        return x**2 + 2 * y**2 + ripple


@dataclass(frozen=True)
class DropWave(MultiMinima):
    """f(x, y) = -(1 + cos 12r) / (½r² + 2), r = ‖(x, y)‖: rings around the minimum.

    Domain [-5.12, 5.12]². Minimum -1 at 0.
    Source: Surjanovic and Bingham, *Virtual Library of Simulation Experiments* (2013).
    """

    dim = 2
    domain = ((-5.12, 5.12), (-5.12, 5.12))
    start = (2.0, -1.0)
    minimum = -1.0
    minimizers = ((0.0, 0.0),)

    def value(self, point: Points) -> Tensor:
        x, y = point
        square = x**2 + y**2
        # At the center cos 12r is smooth, but √ has no derivative: use cos 12r ≈ 1 - 72r² there.
        center = square < 1e-10
        wave = (12 * torch.where(center, 1.0, square).sqrt()).cos()
        return -(1 + torch.where(center, 1 - 72 * square, wave)) / (0.5 * square + 2)


@dataclass(frozen=True)
class Eggholder(MultiMinima):
    """f(x, y) = -(y+47) sin √|x/2 + y + 47| - x sin √|x - y - 47|: steep and irregular.

    Unbounded below outside its domain; not differentiable where the argument of a square root is 0.

    Domain [-512, 512]², with minimum -959.64… on its edge, at (512, 404.23…). The gradient is not
    zero there, so that descent continues outside the domain.
    Source: Surjanovic and Bingham (2013).
    """

    dim = 2
    domain = ((-512.0, 512.0), (-512.0, 512.0))
    start = (100.0, -200.0)
    minimum = -959.640662720850802833
    minimizers = ((512.0, 404.231805113757810928),)

    def value(self, point: Points) -> Tensor:
        x, y = point
        first = -(y + 47) * safe_sqrt((x / 2 + y + 47).abs()).sin()
        return first - x * safe_sqrt((x - (y + 47)).abs()).sin()


def _four_corners(x: float, y: float) -> tuple[tuple[float, float], ...]:
    """Returns the point and its reflections in the axes."""
    return ((x, y), (x, -y), (-x, y), (-x, -y))


@dataclass(frozen=True)
class HolderTable(MultiMinima):
    """f(x, y) = -|sin x cos y exp |1 - r/π||, r = ‖(x, y)‖: four minima like the legs of a table.

    Unbounded below outside its domain; not differentiable where sin x cos y = 0.

    Domain [-10, 10]², with minimum -19.2085… at (±8.0550…, ±9.6645…).
    Source: Surjanovic and Bingham (2013).
    """

    dim = 2
    domain = ((-10.0, 10.0), (-10.0, 10.0))
    start = (1.0, 0.5)
    minimum = -19.20850256788673183175
    minimizers = _four_corners(8.055023475736563, 9.664590019241273)

    def value(self, point: Points) -> Tensor:
        x, y = point
        growth = (1 - norm((x, y)) / math.pi).abs().exp()
        return -(x.sin() * y.cos() * growth).abs()


@dataclass(frozen=True)
class CrossInTray(MultiMinima):
    """f(x, y) = -10⁻⁴ (|sin x sin y exp |100 - r/π|| + 1)^0.1, r = ‖(x, y)‖: flat, with ridges.

    Unbounded below far outside its domain; not differentiable where sin x sin y = 0.

    Domain [-10, 10]², with minimum -2.0626… at (±1.3494…, ±1.3494…).
    Source: Surjanovic and Bingham (2013).
    """

    dim = 2
    domain = ((-10.0, 10.0), (-10.0, 10.0))
    start = (2.5, 0.5)
    minimum = -2.062611870822736877795
    minimizers = _four_corners(1.3494066171539107918, 1.3494066171539107918)  # atan(π √2)

    def value(self, point: Points) -> Tensor:
        x, y = point
        growth = (100 - norm((x, y)) / math.pi).abs()
        # e^growth is taken out of the parentheses, where it would overflow in single precision
        return -1e-4 * (growth / 10).exp() * ((x.sin() * y.sin()).abs() + (-growth).exp()) ** 0.1


_SHUBERT_LOW = (-7.7083137354993474, -1.4251284283197610, 4.8580568788598255)
_SHUBERT_HIGH = (-7.0835064076515596, -0.80032110047197312, 5.4828642067076134)
"""minimizers and maximizers of one factor of Shubert's function in [-10, 10]"""


@dataclass(frozen=True)
class Shubert(MultiMinima):
    """f(x, y) = g(x) g(y), g(t) = Σᵢ₌₁⁵ i cos((i+1)t + i): eighteen equal minima in the domain.

    Domain [-10, 10]². Minimum -186.73… where one factor is smallest and the other largest. It has
    period 2π in both coordinates, so there are more minima outside the domain.
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

    def value(self, point: Points) -> Tensor:
        def factor(t: Tensor) -> Tensor:
            return total([i * ((i + 1) * t + i).cos() for i in range(1, 6)])

        x, y = point
        return factor(x) * factor(y)
