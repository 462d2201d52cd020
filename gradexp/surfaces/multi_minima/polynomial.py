"""Polynomials with several minima or a curved valley."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from gradexp.numbers import Dimension, Points, Positive, Whole, each, total
from gradexp.surfaces.derivatives import hessian, value_and_gradient
from gradexp.surfaces.surface import AnyDimension, MultiMinima, StationaryPoint


@dataclass(frozen=True)
class Rosenbrock(AnyDimension, MultiMinima):
    """f(x) = Σ b (xᵢ₊₁ - xᵢ²)² + (1 - xᵢ)²: a flat, curved valley with steep walls.

    Domain [-2.048, 2.048]ⁿ. Minimum 0 at (1, …, 1). For n ≥ 4 there is a second minimum near
    (-1, 1, …, 1), which depends on b; it is listed for b = 100 and n ≤ 30.
    Source: Rosenbrock, "An automatic method for finding the greatest or least value of a
    function" (1960); the start (-1.2, 1) is his. The second minimum: Kok and Sandrock, "Locating
    and characterizing the stationary points of the extended Rosenbrock function" (2009).

    Args:
        dim: dimension n, at least 2.
        b: steepness of the walls, positive; for n = 2 and large b the condition number at the
            minimizer is about 25 b.
    """

    side = (-2.048, 2.048)
    start_cycle = (-1.2, 1.0)
    minimum = 0.0
    minimizer_each = 1.0
    dim: Annotated[int, Whole(2, 10**6)] = 2
    b: Positive = 100.0

    @property
    def complete(self) -> bool:
        return self.dim == 2

    @property
    def stationary_points(self) -> tuple[StationaryPoint, ...]:
        if not 4 <= self.dim <= 30 or bool((torch.as_tensor(self.b) != 100.0).any()):
            return ()
        return (StationaryPoint(_second_minimum(self.dim), "minimum"),)

    def value(self, point: Points) -> Tensor:
        def term(x: Tensor, y: Tensor) -> Tensor:
            return self.b * (y - x**2) ** 2 + (1 - x) ** 2

        return total(each(term, point[:-1], point[1:]))


@cache
def _second_minimum(dim: int) -> tuple[float, ...]:
    """Returns the minimizer of Rosenbrock's function near (-1, 1, …, 1) for b = 100.

    A trust-region method finds it, and Newton steps refine it to the last bits.
    """
    from scipy.optimize import minimize  # slow (0.1 s), and rarely needed

    surface = Rosenbrock(dim=dim)

    def point(x: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(x))

    start = np.ones(dim)
    start[0] = -1
    near = minimize(
        lambda x: float(surface.value(point(x))),
        start,
        jac=lambda x: value_and_gradient(surface, point(x))[1].numpy(),
        hess=lambda x: hessian(surface, point(x)).numpy(),
        method="trust-exact",
    )
    place = point(near.x)
    for _ in range(3):
        _, gradient = value_and_gradient(surface, place)
        place = place - torch.linalg.solve(hessian(surface, place), gradient)
    return tuple(place.tolist())


@dataclass(frozen=True)
class Himmelblau(MultiMinima):
    """f(x, y) = (x² + y - 11)² + (x + y² - 7)²: four minima of equal depth.

    Domain [-5, 5]². Minimum 0 at four points; four saddles and one maximum.
    Source: Himmelblau, *Applied Nonlinear Programming* (1972).
    """

    complete = True
    dim = 2
    domain = ((-5.0, 5.0), (-5.0, 5.0))
    start = (0.0, 0.0)
    minimum = 0.0
    minimizers = (
        (3.0, 2.0),
        (3.5844283403304917, -1.8481265269644034),
        (-2.805118086952745, 3.131312518250573),
        (-3.779310253377747, -3.2831859912861696),
    )
    stationary_points = (
        StationaryPoint((3.385154183607021, 0.07385187983774928), "saddle"),
        StationaryPoint((0.08667750455539634, 2.884254701174776), "saddle"),
        StationaryPoint((-3.0730257507643897, -0.08135304428796751), "saddle"),
        StationaryPoint((-0.12796134673068005, -1.9537149802445766), "saddle"),
        StationaryPoint((-0.2708445906673476, -0.9230385564799816), "maximum"),
    )

    def value(self, point: Points) -> Tensor:
        x, y = point
        return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


@dataclass(frozen=True)
class StyblinskiTang(AnyDimension, MultiMinima):
    """f(x) = ½ Σ xᵢ⁴ - 16 xᵢ² + 5 xᵢ: two minima along each axis, one of them deeper.

    Domain [-5, 5]ⁿ. Minimum -39.166… n at (-2.9035…, …). Of the 3ⁿ stationary points, those with
    equal coordinates are listed, and the saddle between the global minimum and its neighbor along
    the first axis.
    Source: Styblinski and Tang, "Experiments in nonconvex optimization" (1990).
    """

    side = (-5.0, 5.0)
    start_cycle = (0.5, 4.0)
    minimizer_each = -2.903534027771177
    dim: Dimension = 2

    @property
    def minimum(self) -> float:
        return -39.166165703771415 * self.dim

    @property
    def stationary_points(self) -> tuple[StationaryPoint, ...]:
        crest, best = 0.1567312567803401, -2.903534027771177
        saddle = StationaryPoint((crest, *(best,) * (self.dim - 1)), "saddle")
        return (
            StationaryPoint((2.746802770990837,) * self.dim, "minimum"),
            StationaryPoint((crest,) * self.dim, "maximum"),
            *([saddle] if self.dim > 1 else []),
        )

    def value(self, point: Points) -> Tensor:
        return 0.5 * total(each(lambda x: x**4 - 16 * x**2 + 5 * x, point))


@dataclass(frozen=True)
class Beale(MultiMinima):
    """f(x, y) = Σ (cᵢ - x (1 - yⁱ))², i = 1, 2, 3, c = (1.5, 2.25, 2.625): a flat, curved valley.

    Domain [-4.5, 4.5]². Minimum 0 at (3, ½); saddles at (0, 1) and (0.1005…, -2.6445…).
    Source: Beale, "On an iterative method for finding a local minimum of a function of more than
    one variable" (1958); start of Moré, Garbow and Hillstrom (1981), no. 5.
    """

    complete = True
    dim = 2
    domain = ((-4.5, 4.5), (-4.5, 4.5))
    start = (1.0, 1.0)
    minimum = 0.0
    minimizers = ((3.0, 0.5),)
    stationary_points = (
        StationaryPoint((0.0, 1.0), "saddle"),
        StationaryPoint((0.10053793732415828, -2.644513585023126), "saddle"),
    )

    def value(self, point: Points) -> Tensor:
        x, y = point
        first = 1.5 - x * (1 - y)
        second = 2.25 - x * (1 - y**2)
        third = 2.625 - x * (1 - y**3)
        return first**2 + second**2 + third**2


@dataclass(frozen=True)
class GoldsteinPrice(MultiMinima):
    """f(x, y) = (1 + (x+y+1)² p(x, y)) (30 + (2x-3y)² q(x, y)): values from 3 to 10⁶.

    p = 19 - 14x + 3x² - 14y + 6xy + 3y², q = 18 - 32x + 12x² + 48y - 36xy + 27y².

    Domain [-2, 2]². Minimum 3 at (0, -1); three more minima, four saddles and one maximum.
    Source: Goldstein and Price, "On descent from local minima" (1971).
    """

    complete = True
    dim = 2
    domain = ((-2.0, 2.0), (-2.0, 2.0))
    start = (-1.0, 0.5)
    minimum = 3.0
    minimizers = ((0.0, -1.0),)
    stationary_points = (
        StationaryPoint((-0.6, -0.4), "minimum"),
        StationaryPoint((1.8, 0.2), "minimum"),
        StationaryPoint((1.2, 0.8), "minimum"),
        StationaryPoint((-0.4, -0.6), "saddle"),
        StationaryPoint((1.2, -0.2), "saddle"),
        StationaryPoint((1.4, 0.6), "saddle"),
        StationaryPoint((0.6, 0.4), "saddle"),
        StationaryPoint((0.8, 0.2), "maximum"),
    )

    def value(self, point: Points) -> Tensor:
        x, y = point
        p = 19 - 14 * x + 3 * x**2 - 14 * y + 6 * x * y + 3 * y**2
        q = 18 - 32 * x + 12 * x**2 + 48 * y - 36 * x * y + 27 * y**2
        return (1 + (x + y + 1) ** 2 * p) * (30 + (2 * x - 3 * y) ** 2 * q)


def _mirrored(x: float, y: float) -> tuple[tuple[float, float], ...]:
    """Returns the point and its reflection in the origin."""
    return ((x, y), (-x, -y))


@dataclass(frozen=True)
class SixHumpCamel(MultiMinima):
    """f(x, y) = (4 - 2.1x² + x⁴/3) x² + xy + (4y² - 4) y²: six minima, two of them global.

    Domain [-3, 3] × [-2, 2]. Minimum -1.0316… at ±(0.0898…, -0.7126…); four more minima, seven
    saddles and two maxima.
    Source: Dixon and Szegő, *Towards Global Optimisation 2* (1978).
    """

    complete = True
    dim = 2
    domain = ((-3.0, 3.0), (-2.0, 2.0))
    start = (-2.0, 1.5)
    minimum = -1.0316284534898774
    minimizers = _mirrored(0.08984201310031806, -0.7126564030207396)
    stationary_points = (
        *(
            StationaryPoint(p, "minimum")
            for p in _mirrored(1.7036067149699807, -0.7960835686726252)
        ),
        *(StationaryPoint(p, "minimum") for p in _mirrored(1.6071047529201974, 0.5686514548841314)),
        StationaryPoint((0.0, 0.0), "saddle"),
        *(StationaryPoint(p, "saddle") for p in _mirrored(1.1092053368047865, -0.7682680925095398)),
        *(StationaryPoint(p, "saddle") for p in _mirrored(1.6380679841897785, 0.22867406904439405)),
        *(StationaryPoint(p, "saddle") for p in _mirrored(1.2960702671671092, 0.6050843880386585)),
        *(StationaryPoint(p, "maximum") for p in _mirrored(1.2302298765166524, 0.162334584458995)),
    )

    def value(self, point: Points) -> Tensor:
        x, y = point
        return (4 - 2.1 * x**2 + x**4 / 3) * x**2 + x * y + (4 * y**2 - 4) * y**2


@dataclass(frozen=True)
class ThreeHumpCamel(MultiMinima):
    """f(x, y) = 2x² - 1.05x⁴ + x⁶/6 + xy + y²: three minima, the middle one global.

    Domain [-5, 5]². Minimum 0 at 0; two more minima at ±(1.7475…, -0.8737…) and two saddles.
    Source: Dixon and Szegő, *Towards Global Optimisation 2* (1978).
    """

    complete = True
    dim = 2
    domain = ((-5.0, 5.0), (-5.0, 5.0))
    start = (-2.0, 2.0)
    minimum = 0.0
    minimizers = ((0.0, 0.0),)
    stationary_points = (
        *(
            StationaryPoint(p, "minimum")
            for p in _mirrored(1.7475523458302888, -0.8737761729151444)
        ),
        *(StationaryPoint(p, "saddle") for p in _mirrored(1.0705422918236598, -0.5352711459118299)),
    )

    def value(self, point: Points) -> Tensor:
        x, y = point
        return 2 * x**2 - 1.05 * x**4 + x**6 / 6 + x * y + y**2


@dataclass(frozen=True)
class FreudensteinRoth(MultiMinima):
    """f(x, y) = (x - 13 + ((5-y)y - 2)y)² + (x - 29 + ((y+1)y - 14)y)²: two minima.

    Domain [-10, 15] × [-10, 10]. Minimum 0 at (5, 4). Descent from the conventional start leads to
    a local minimum of 48.98… at (11.41…, -0.8968…).
    Source: Freudenstein and Roth, "Numerical solution of systems of nonlinear equations" (1963);
    start of Moré, Garbow and Hillstrom (1981), no. 2.
    """

    complete = True
    dim = 2
    domain = ((-10.0, 15.0), (-10.0, 10.0))
    start = (0.5, -2.0)
    minimum = 0.0
    minimizers = ((5.0, 4.0),)
    stationary_points = (StationaryPoint((11.412778986902094, -0.8968052532744765), "minimum"),)

    def value(self, point: Points) -> Tensor:
        x, y = point
        first = x - 13 + ((5 - y) * y - 2) * y
        second = x - 29 + ((y + 1) * y - 14) * y
        return first**2 + second**2
