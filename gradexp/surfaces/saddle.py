"""Saddle surfaces: descent slows down or stops at points that are not minima."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gradexp.errors import UserError
from gradexp.numbers import Count, Dimension, Points, Positive, each, indices, total
from gradexp.surfaces.surface import AnyDimension, Coordinates, Kind, Saddle, StationaryPoint


@dataclass(frozen=True)
class Hyperbolic(Saddle):
    """f(x, y) = x² - y²: the simplest saddle, unbounded below.

    Domain [-2, 2]². No minimum; a saddle with value 0 at 0.
    Source: the normal form of an index-one critical point; Milnor, *Morse Theory* (1963), §2.
    """

    complete = True
    dim = 2
    domain = ((-2.0, 2.0), (-2.0, 2.0))
    start = (1.5, 0.001)
    stationary_points = (StationaryPoint((0.0, 0.0), "saddle"),)

    def value(self, point: Points) -> Tensor:
        x, y = point
        return x**2 - y**2


@dataclass(frozen=True)
class Strict(Saddle):
    """f(x, y) = ½x² - ½y² + ¼y⁴: a strict saddle between two minima.

    Domain [-2, 2]². Minimum -¼ at (0, ±1); a saddle with value 0 and curvatures ±1 at 0.
    Source: Nesterov, *Introductory Lectures on Convex Optimization* (2004), example 1.2.2.
    """

    complete = True
    dim = 2
    domain = ((-2.0, 2.0), (-2.0, 2.0))
    start = (1.5, 0.001)
    minimum = -0.25
    minimizers = ((0.0, 1.0), (0.0, -1.0))
    stationary_points = (StationaryPoint((0.0, 0.0), "saddle"),)

    def value(self, point: Points) -> Tensor:
        x, y = point
        return 0.5 * x**2 - 0.5 * y**2 + 0.25 * y**4


@dataclass(frozen=True)
class Monkey(Saddle):
    """f(x, y) = x³ - 3xy²: three valleys meet at a point whose Hessian is zero.

    Domain [-2, 2]². No minimum; a degenerate saddle with value 0 at 0.
    Source: Hilbert and Cohn-Vossen, *Geometry and the Imagination* (1952).
    """

    complete = True
    dim = 2
    domain = ((-2.0, 2.0), (-2.0, 2.0))
    start = (1.5, 0.001)
    stationary_points = (StationaryPoint((0.0, 0.0), "saddle", descent=(-1.0, 0.0)),)

    def value(self, point: Points) -> Tensor:
        x, y = point
        return x**3 - 3 * x * y**2


@dataclass(frozen=True)
class HighIndex(AnyDimension, Saddle):
    """f(x) = ½ Σ λᵢ xᵢ² + ¼ ‖x‖⁴, λᵢ = -(k+1-i)/k for i ≤ k, else 1: a chain of saddles.

    The saddle at 0 (a maximum if k = n) has k descent directions. For each i ≤ k, the points
    ±√(-λᵢ) eᵢ are stationary with i - 1 descent directions; those with i = 1 are the two
    minimizers. Descent from a point near 0 may slow down at several saddles in turn.

    Domain [-2, 2]ⁿ. Minimum -¼ at ±e₁.
    Source: the quartic of Landau and Lifshitz, *Statistical Physics* (1980), with several
    order parameters.

    Args:
        dim: dimension n, at least 1.
        negative: k, the number of negative directions at 0, 1 to n.
    """

    side = (-2.0, 2.0)
    start_cycle = (0.001, 0.002)
    minimum = -0.25
    dim: Dimension = 4
    negative: Count = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.negative > self.dim:
            raise UserError("negative", self.negative, f"must be at most dim, which is {self.dim}")

    @property
    def minimizers(self) -> tuple[Coordinates, ...]:
        return self._on_axis(1)

    @property
    def stationary_points(self) -> tuple[StationaryPoint, ...]:
        center: Kind = "maximum" if self.negative == self.dim else "saddle"
        higher = [point for i in range(2, self.negative + 1) for point in self._on_axis(i)]
        return (
            StationaryPoint((0.0,) * self.dim, center),
            *(StationaryPoint(point, "saddle") for point in higher),
        )

    def _on_axis(self, i: int) -> tuple[tuple[float, ...], ...]:
        """Returns the two stationary points on axis i, counted from 1."""
        length = math.sqrt((self.negative + 1 - i) / self.negative)
        return tuple(
            tuple(sign * length if j == i else 0.0 for j in range(1, self.dim + 1))
            for sign in (1.0, -1.0)
        )

    def value(self, point: Points) -> Tensor:
        k = self.negative

        def bent(x: Tensor, i: Tensor) -> Tensor:
            return torch.where(i <= k, (i - k - 1) / k, 1.0) * x**2

        square = total(each(torch.square, point))
        return 0.5 * total(each(bent, point, indices(point))) + 0.25 * square**2


@dataclass(frozen=True)
class Product(Saddle):
    """f(x, y) = ½ (xy - 1)²: the smallest deep linear network, two layers of one weight.

    Domain [-3, 3]². Minimum 0 on the whole hyperbola xy = 1; listed are its two balanced points
    ±(1, 1), where it is flattest. A saddle with value ½ at 0.
    Source: Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in
    deep linear neural networks" (2014).
    """

    dim = 2
    domain = ((-3.0, 3.0), (-3.0, 3.0))
    start = (2.5, -0.5)
    minimum = 0.0
    minimizers = ((1.0, 1.0), (-1.0, -1.0))
    stationary_points = (StationaryPoint((0.0, 0.0), "saddle"),)

    def value(self, point: Points) -> Tensor:
        x, y = point
        return 0.5 * (x * y - 1) ** 2


@dataclass(frozen=True)
class SineValley(Saddle):
    """f(x, y) = sin x + y²: a valley along which minima and saddles alternate.

    Domain [-9, 9] × [-3, 3]. Minimum -1 at (-π/2 + 2πk, 0); saddles with value 1 at
    (π/2 + 2πk, 0); the ones in the domain are listed.
    Source: the pendulum's potential; Strogatz, *Nonlinear Dynamics and Chaos* (1994), §6.7.
    """

    complete = True
    dim = 2
    domain = ((-9.0, 9.0), (-3.0, 3.0))
    start = (1.5, 2.0)
    minimum = -1.0
    minimizers = tuple((math.pi * (2 * k - 0.5), 0.0) for k in (-1, 0, 1))
    stationary_points = tuple(
        StationaryPoint((math.pi * (2 * k + 0.5), 0.0), "saddle") for k in (-1, 0, 1)
    )

    def value(self, point: Points) -> Tensor:
        x, y = point
        return x.sin() + y**2


@dataclass(frozen=True)
class Plateau(AnyDimension, Saddle):
    """f(x) = 1 - exp(-‖x‖² / 2w²): a flat region around one well.

    At distance r the gradient norm is (r/w²) exp(-r²/2w²). It is largest at r = w, and so small a
    few w away that a run that starts there hardly moves.

    Domain [-6, 6]ⁿ. Minimum 0 at 0.
    Source: Dennis and Welsch, "Techniques for nonlinear least squares and robust regression"
    (1978).

    Args:
        dim: dimension n, at least 1.
        width: w, positive.
    """

    complete = True
    side = (-6.0, 6.0)
    start_cycle = (3.0, 2.0)
    minimum = 0.0
    minimizer_each = 0.0
    dim: Dimension = 2
    width: Positive = 1.0

    def value(self, point: Points) -> Tensor:
        return -torch.expm1(-total(each(torch.square, point)) / (2 * self.width**2))
