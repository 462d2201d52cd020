"""Convex surfaces: every local minimum is global, so runs differ only in their speed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from gradexp.numbers import (
    Dimension,
    Interval,
    Number,
    Points,
    Positive,
    each,
    fold,
    indices,
    is_zero,
    like,
    reverse,
    total,
)
from gradexp.surfaces.surface import AnyDimension, Convex

ConditionNumber = Annotated[Number, Interval(low=1.0, closed="left")]


@dataclass(frozen=True)
class Sphere(AnyDimension, Convex):
    """f(x) = Σ xᵢ²: the simplest convex surface.

    Domain [-5.12, 5.12]ⁿ. Minimum 0 at 0. Source: De Jong (1975), F1.
    """

    side = (-5.12, 5.12)
    start_cycle = (4.0, -3.0)
    minimum = 0.0
    minimizer_each = 0.0
    dim: Dimension = 2

    def value(self, point: Points) -> Tensor:
        return total(each(torch.square, point))


@dataclass(frozen=True)
class Quadratic(AnyDimension, Convex):
    """f(x) = ½ Σ λᵢ zᵢ², z = R x, λᵢ = κ^((i-1)/(n-1)): a valley of condition number κ.

    The eigenvalues are spaced logarithmically from exactly 1 to exactly κ (in one dimension there
    is only λ₁ = 1). R rotates each pair of coordinates i and n+1-i by `angle`, so that the flattest
    direction is paired with the steepest.

    Domain [-5, 5]ⁿ. Minimum 0 at 0. Source: standard in the literature on gradient descent, for
    instance Polyak, *Introduction to Optimization* (1987).

    Args:
        dim: dimension n, at least 1.
        condition_number: κ, at least 1.
        angle: the rotation angle, in radians.
    """

    side = (-5.0, 5.0)
    start_cycle = (4.0, 3.0)
    minimum = 0.0
    minimizer_each = 0.0
    dim: Dimension = 2
    condition_number: ConditionNumber = 10.0
    angle: Number = 0.0

    def value(self, point: Points) -> Tensor:
        last = max(self.dim - 1, 1)

        def term(z: Tensor, i: Tensor) -> Tensor:
            return self.condition_number ** ((i - 1) / last) * z**2

        i = indices(point)
        return 0.5 * total(each(term, self._turned(point, i), i))

    def _turned(self, point: Points, i: Points) -> Points:
        """Returns R x."""
        if is_zero(self.angle):
            return point
        angle = like(self.angle, point)
        cos, sin = angle.cos(), angle.sin()

        def turned(x: Tensor, partner: Tensor, i: Tensor) -> Tensor:
            side = (2 * i - self.dim - 1).sign()  # -1 in the first half, 1 in the second
            return torch.where(side == 0, x, cos * x + side * sin * partner)

        turned_point: Points = each(turned, point, reverse(point), i)
        return turned_point


@dataclass(frozen=True)
class Booth(Convex):
    """f(x, y) = (x + 2y - 7)² + (2x + y - 5)²: a quadratic with κ = 9.

    Domain [-10, 10]². Minimum 0 at (1, 3).
    Source: Surjanovic and Bingham, *Virtual Library of Simulation Experiments* (2013).
    """

    dim = 2
    domain = ((-10.0, 10.0), (-10.0, 10.0))
    start = (-8.0, 6.0)
    minimum = 0.0
    minimizers = ((1.0, 3.0),)

    def value(self, point: Points) -> Tensor:
        x, y = point
        return (x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2


@dataclass(frozen=True)
class Matyas(Convex):
    """f(x, y) = 0.26 (x² + y²) - 0.48 x y: a long flat valley with κ = 25.

    Domain [-10, 10]². Minimum 0 at 0. Source: Surjanovic and Bingham (2013).
    """

    dim = 2
    domain = ((-10.0, 10.0), (-10.0, 10.0))
    start = (-8.0, 2.0)
    minimum = 0.0
    minimizers = ((0.0, 0.0),)

    def value(self, point: Points) -> Tensor:
        x, y = point
        return 0.26 * (x**2 + y**2) - 0.48 * x * y


@dataclass(frozen=True)
class Zakharov(AnyDimension, Convex):
    """f(x) = Σ xᵢ² + s² + s⁴, s = ½ Σ i xᵢ: quartic walls beside the plane s = 0.

    Domain [-5, 10]ⁿ. Minimum 0 at 0. Source: Surjanovic and Bingham (2013).
    """

    side = (-5.0, 10.0)
    start_cycle = (4.0, -1.0)
    minimum = 0.0
    minimizer_each = 0.0
    dim: Dimension = 2

    def value(self, point: Points) -> Tensor:
        s = 0.5 * total(each(lambda x, i: i * x, point, indices(point)))
        return total(each(torch.square, point)) + s**2 + s**4


@dataclass(frozen=True)
class SumOfPowers(AnyDimension, Convex):
    """f(x) = Σ |xᵢ|^(i+1): at the minimizer only the first coordinate has curvature.

    Domain [-1, 1]ⁿ. Minimum 0 at 0. Source: Surjanovic and Bingham (2013).
    """

    side = (-1.0, 1.0)
    start_cycle = (0.8, -0.6)
    minimum = 0.0
    minimizer_each = 0.0
    dim: Dimension = 2

    def value(self, point: Points) -> Tensor:
        def term(x: Tensor, i: Tensor) -> Tensor:
            # x² for i = 1: autograd would find no curvature in |x|² at 0
            return torch.where(i == 1, x**2, x.abs() ** (i + 1))

        return total(each(term, point, indices(point)))


@dataclass(frozen=True)
class LogSumExp(AnyDimension, Convex):
    """f(x) = ρ log Σ (exp(xᵢ/ρ) + exp(-xᵢ/ρ)): max |xᵢ|, smoothed over a width ρ.

    The norm of its gradient is at most 1 and its curvature at most 1/ρ. The curvature vanishes
    where one |xᵢ| is much larger than the others.

    Domain [-5, 5]ⁿ. Minimum ρ log 2n at 0.
    Source: Nesterov, "Smooth minimization of non-smooth functions" (2005).

    Args:
        dim: dimension n, at least 1.
        smoothing: ρ, positive.
    """

    side = (-5.0, 5.0)
    start_cycle = (4.0, -3.0)
    minimizer_each = 0.0
    dim: Dimension = 2
    smoothing: Positive = 1.0

    @property
    def minimum(self) -> Number:
        return self.smoothing * math.log(2 * self.dim)

    def value(self, point: Points) -> Tensor:
        pairs = each(lambda x: torch.logaddexp(x, -x), each(lambda x: x / self.smoothing, point))
        return self.smoothing * fold(torch.logaddexp, pairs)


@dataclass(frozen=True)
class LogCosh(AnyDimension, Convex):
    """f(x) = Σ log cosh xᵢ: quadratic near 0, linear far away.

    Domain [-5, 5]ⁿ. Minimum 0 at 0.
    Source: Green, "Bayesian reconstructions from emission tomography data" (1990).
    """

    side = (-5.0, 5.0)
    start_cycle = (4.0, -1.0)
    minimum = 0.0
    minimizer_each = 0.0
    dim: Dimension = 2

    def value(self, point: Points) -> Tensor:
        return total(each(lambda x: torch.logaddexp(x, -x) - math.log(2), point))
