"""Surfaces made of Gaussian wells and bumps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gradexp.numbers import Number, Points, Positive
from gradexp.surfaces.surface import Coordinates, MultiMinima, StationaryPoint


@dataclass(frozen=True)
class Easom(MultiMinima):
    """f(x, y) = -cos x cos y exp(-(x-π)² - (y-π)²): one narrow well in a flat plain.

    Domain [-100, 100]². Minimum -1 at (π, π).
    Source: Easom, *A survey of global optimization techniques* (1990).
    """

    dim = 2
    domain = ((-100.0, 100.0), (-100.0, 100.0))
    start = (4.5, 2.0)
    minimum = -1.0
    minimizers = ((math.pi, math.pi),)

    def value(self, point: Points) -> Tensor:
        x, y = point
        return -x.cos() * y.cos() * (-((x - math.pi) ** 2) - (y - math.pi) ** 2).exp()


@dataclass(frozen=True)
class MullerBrown(MultiMinima):
    """f(x, y) = Σ Aᵢ exp(aᵢ(x-xᵢ)² + bᵢ(x-xᵢ)(y-yᵢ) + cᵢ(y-yᵢ)²): a model of a chemical reaction.

    Domain [-1.5, 1.2] × [-0.5, 2]. Three minima (-146.69… at (-0.558…, 1.441…), -108.16… and
    -80.76…) and the two saddles between them.
    Source: Müller and Brown, "Location of saddle points and minimum energy paths by a constrained
    simplex optimization procedure" (1979).
    """

    complete = True
    dim = 2
    domain = ((-1.5, 1.2), (-0.5, 2.0))
    start = (-0.2, 1.8)
    minimum = -146.699517209954
    minimizers = ((-0.5582236346330243, 1.4417258418046686),)
    stationary_points = (
        StationaryPoint((0.6234994049308765, 0.02803775852868567), "minimum"),
        StationaryPoint((-0.05001082299820601, 0.46669410487197205), "minimum"),
        StationaryPoint((0.21248658200066198, 0.2929883251073678), "saddle"),
        StationaryPoint((-0.8220015587327322, 0.6243128028148714), "saddle"),
    )

    def value(self, point: Points) -> Tensor:
        x, y = point

        def term(height: float, a: float, b: float, c: float, x0: float, y0: float) -> Tensor:
            u, v = x - x0, y - y0
            return height * (a * u**2 + b * u * v + c * v**2).exp()

        return (
            term(-200, -1, 0, -10, 1, 0)
            + term(-100, -1, 0, -10, 0, 0.5)
            + term(-170, -6.5, 11, -6.5, -0.5, 1.5)
            + term(15, 0.7, 0.6, 0.7, -1, 1)
        )


@dataclass(frozen=True)
class TwoBowls(MultiMinima):
    """f(x, y) = -d₁ exp(-‖p+c‖²/2w₁²) - d₂ exp(-‖p-c‖²/2w₂²), c = (2, 0): narrow and wide.

    By default the left well is deeper and narrower than the right one. Which of the two a run finds
    depends on its start and on whether its steps are too large for the narrow well.

    Domain [-5, 5]². The minima lie on the x-axis near (-2, 0) and (2, 0), each shifted slightly
    towards the other, with a saddle between them. None of these is listed if the wells are so wide
    that they merge, or nearly so.
    Source: sharp and flat minima as in Hochreiter and Schmidhuber, "Flat minima" (1997).

    Args:
        left_depth: d₁, positive.
        left_width: w₁, positive.
        right_depth: d₂, positive.
        right_width: w₂, positive.
    """

    dim = 2
    domain = ((-5.0, 5.0), (-5.0, 5.0))
    start = (-0.5, 1.5)
    left_depth: Positive = 1.0
    left_width: Positive = 0.4
    right_depth: Positive = 0.6
    right_width: Positive = 1.2

    @property
    def minimum(self) -> Number | None:
        known = self._bottoms
        return _plain(torch.minimum(*map(self._on_axis, known))) if known else None

    @property
    def minimizers(self) -> tuple[Coordinates, ...]:
        known = self._bottoms
        return ((_plain(self._deeper(*known)), 0.0),) if known else ()

    @property
    def complete(self) -> bool:
        known = self._bottoms
        return known is not None and not bool(known[0].isnan().any())

    @property
    def stationary_points(self) -> tuple[StationaryPoint, ...]:
        known = self._bottoms
        if not known:
            return ()
        left, right = known
        other = torch.where(self._deeper(left, right) == left, right, left)
        between = self._between(left, right)
        return (
            StationaryPoint((_plain(other), 0.0), "minimum"),
            StationaryPoint((_plain(between), 0.0), "saddle"),
        )

    def value(self, point: Points) -> Tensor:
        x, y = point
        left = ((x + 2) ** 2 + y**2) / (2 * self.left_width**2)
        right = ((x - 2) ** 2 + y**2) / (2 * self.right_width**2)
        return -self.left_depth * (-left).exp() - self.right_depth * (-right).exp()

    def _on_axis(self, x: Tensor) -> Tensor:
        return self.value((x, torch.zeros_like(x)))

    def _deeper(self, left: Tensor, right: Tensor) -> Tensor:
        """Returns the one of two positions on the x-axis with the lower value."""
        return torch.where(self._on_axis(left) <= self._on_axis(right), left, right)

    def _shifted(self, x: Tensor) -> Tensor:
        """Returns the mean of the wells' centers, weighted by the pull of each at x on the x-axis.

        It lies downhill of x.
        """
        (d1, w1), (d2, w2) = (
            (self.left_depth, self.left_width),
            (self.right_depth, self.right_width),
        )
        left = d1 / w1**2 * (-((x + 2) ** 2) / (2 * w1**2)).exp()
        right = d2 / w2**2 * (-((x - 2) ** 2) / (2 * w2**2)).exp()
        return 2 * (right - left) / (right + left)

    def _between(self, left: Tensor, right: Tensor) -> Tensor:
        """Returns the maximum on the x-axis between two minima, by bisection."""
        for _ in range(60):
            middle = (left + right) / 2
            to_left = self._shifted(middle) < middle
            left = torch.where(to_left, middle, left)
            right = torch.where(to_left, right, middle)
        return (left + right) / 2

    @cached_property
    def _bottoms(self) -> tuple[Tensor, Tensor] | None:
        """The positions of the two minima on the x-axis.

        They are NaN for runs whose wells are so wide or so shallow that there are not two minima,
        and None if that is so for all runs. Mean shift (Fukunaga and Hostetler, 1975) finds them:
        each is the mean of the wells' centers, weighted by the pull of each well there.
        """
        shapes = (self.left_depth, self.left_width, self.right_depth, self.right_width)
        shape = torch.stack(torch.broadcast_tensors(*map(_real, shapes)))[0]  # type: ignore[no-untyped-call]
        ends = []
        for end in (-2.0, 2.0):
            x = torch.full_like(shape, end)
            for _ in range(100):
                x = self._shifted(x)
            ends.append(x)
        left, right = ends
        found = [(x - self._shifted(x)).abs() <= 1e-14 for x in ends]
        apart = found[0] & found[1] & (left < -1) & (right > 1)
        if not bool(apart.any()):
            return None
        return torch.where(apart, left, math.nan), torch.where(apart, right, math.nan)


def _plain(number: Tensor) -> Number:
    """Converts a tensor of one number to a float; that of a batch stays a tensor."""
    return float(number) if number.dim() == 0 else number


def _real(number: Number) -> Tensor:
    return torch.as_tensor(number, dtype=torch.float64)
