"""What kind of stationary point is near: a minimum, a saddle, nothing but flat land, or none.

Newton's method goes from where a run rests to the stationary point itself, until its steps vanish:
near a degenerate one, as that of x³, every step goes a part of the way only. There,

1. an eigenvalue of the Hessian that is clearly negative makes it a saddle (or a maximum);
2. along directions that are all but flat the loss itself is looked at, on either side, as near as
   a difference can be seen, each time at the bottom of what is curved across: where it falls, it is
   a saddle (x³ + y² at 0, or the monkey saddle);
3. where it falls nowhere and rises somewhere, it is a minimum, if only one of a whole valley of
   them;
4. otherwise nothing can be told from flat land;
5. but where it changes as much as the slope there alone makes it, the point is not stationary
   (x² + 10⁻¹⁰ y).

Differences of the loss count that are larger than its rounding (`rounding`).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from gradexp.surfaces import Surface, hessian, value_and_gradient
from gradexp.surfaces.derivatives import CURVED, DEGENERATE
from gradexp.surfaces.scale import diameter

Kind: TypeAlias = Literal["minimum", "saddle", "flat", "none"]

REACH = 0.1
"""Newton's method goes no farther than this times the diameter of the domain."""

DISTANCES = (1e-4, 1e-3, 1e-2)
"""Where the loss is looked at, as parts of that diameter."""

_MOST_STEPS = 600
_VANISHED = 1e-12
_MIXED = 16
"""Directions that combine several flat ones."""


class Stationary(NamedTuple):
    """The stationary point that is near."""

    kind: Kind
    point: Tensor
    """``(dim,)``, where Newton's method has come to"""
    eigenvalues: Tensor
    """``(dim,)``, ascending, of the Hessian there"""


def rounding(surface: Surface, point: Tensor) -> float:
    """How far values of a surface are off by rounding: how much they differ between points that
    are all but the same.

    Args:
        surface: its numbers of one run.
        point: ``(dim,)``, stationary.
    """
    signs = torch.randint(0, 2, (len(point), 16), generator=torch.Generator().manual_seed(0))
    shifts = (2.0 * signs - 1) * 1e-14 * (diameter(surface) + point.abs())[:, None]
    values = surface.value(point[:, None] + shifts)
    here = surface.value(point)
    largest = max(float(here.abs()), float(values.abs().max()))
    return float((values - here).abs().max()) + torch.finfo(torch.float64).eps * largest


def stationary_near(surface: Surface, start: Tensor) -> Stationary:
    """The stationary point near a point with a small gradient, and its kind.

    Args:
        surface: its numbers of one run.
        start: ``(dim,)``, float64, of no more than `LARGEST` dimensions.
    """
    point, values, vectors, found = _by_newton(surface, start)
    if not found:
        return Stationary("none", point, values)
    return Stationary(_kind(surface, point, values, vectors), point, values)


def rises_around(surface: Surface, point: Tensor) -> bool:
    """Whether the loss falls on no side of a point, and rises on some: looked at along the axes and
    between them, as near as a difference can be seen. For a point without a Hessian.

    Args:
        surface: its numbers of one run.
        point: ``(dim,)``, float64.
    """
    sides = _directions(torch.eye(len(point), dtype=point.dtype))
    lengths = torch.tensor(DISTANCES, dtype=point.dtype) * diameter(surface)
    places = point[:, None] + (sides[:, :, None] * lengths).flatten(1)
    change = (surface.value(places) - surface.value(point)).reshape(-1, len(lengths))
    change = _nearest_change(change, 8 * rounding(surface, point))[0]
    return bool((change >= 0).all()) and bool((change > 0).any())


def _by_newton(surface: Surface, start: Tensor) -> tuple[Tensor, Tensor, Tensor, bool]:
    """The point that Newton's method comes to from a start, with the eigenvalues and eigenvectors
    of the Hessian there, and whether it comes to one."""
    point, far = start, diameter(surface)
    values, vectors = _curvature(surface, point)
    for _ in range(_MOST_STEPS):
        if not bool(values.isfinite().all()):
            return point, values, vectors, False
        _, gradient = value_and_gradient(surface, point)
        curved = values.abs() > CURVED * values.abs().max()
        slopes = vectors.T @ gradient
        step = vectors[:, curved] @ (slopes[curved] / values[curved])
        point = point - step
        if not float((point - start).norm()) <= REACH * far:
            return start, *_curvature(surface, start), False
        values, vectors = _curvature(surface, point)
        if float(step.norm()) <= _VANISHED * (far + float(point.norm())):
            return point, values, vectors, bool(values.isfinite().all())
    return point, values, vectors, False


def _curvature(surface: Surface, point: Tensor) -> tuple[Tensor, Tensor]:
    """The eigenvalues of the Hessian, ascending, and its eigenvectors as columns."""
    matrix = hessian(surface, point)
    if not bool(matrix.isfinite().all()):
        return torch.full_like(point, math.nan), torch.eye(len(point), dtype=point.dtype)
    values, vectors = torch.linalg.eigh(matrix)
    return values, vectors


def _kind(surface: Surface, point: Tensor, values: Tensor, vectors: Tensor) -> Kind:
    """The kind of a stationary point, 1 to 4 of the above."""
    largest = values.abs().max()
    if bool(values[0] < -DEGENERATE * largest):
        return "saddle"
    flat = values.abs() <= DEGENERATE * largest
    if not bool(flat.any()):
        return "minimum"
    error = 8 * rounding(surface, point)
    change, by_slope = _changes(surface, point, values, vectors, flat)
    change, first = _nearest_change(change, error)
    by_slope = by_slope.gather(1, first[:, None])[:, 0]
    if bool(((change < 0) & (by_slope <= change / 2)).any()):
        return "none"
    if bool((change < 0).any()):
        return "saddle"
    if bool((values < -CURVED * largest).any()):
        return "flat"  # downhill, by less than the loss can show
    return "minimum" if bool((change > 0).any()) or not bool(flat.all()) else "flat"


def _changes(
    surface: Surface, point: Tensor, values: Tensor, vectors: Tensor, flat: Tensor
) -> tuple[Tensor, Tensor]:
    """How much the loss changes along the flat directions, on either side and at each of
    `DISTANCES`, ascending; and how much of that the slope at the point makes: ``(N, 3)`` each.

    Each time a few steps go to the bottom of what is curved across: the valley may be curved.
    """
    across, along = vectors[:, ~flat], vectors[:, flat]
    sides = _directions(along)
    lengths = torch.tensor(DISTANCES, dtype=point.dtype) * diameter(surface)
    away = (sides[:, :, None] * lengths).flatten(1)
    places = point[:, None] + away
    bound = 2 * away.norm(dim=0)
    here = surface.value(point)
    least = surface.value(places)
    for _ in range(4 if across.shape[1] else 0):
        _, gradient = value_and_gradient(surface, places)
        places = places - across @ ((across.T @ gradient) / values[~flat][:, None])
        near = (places - point[:, None]).norm(dim=0) <= bound
        least = torch.where(near, torch.minimum(least, surface.value(places)), least)
    _, slope = value_and_gradient(surface, point)
    by_slope = (sides.T @ slope)[:, None] * lengths
    return (least - here).nan_to_num(nan=math.inf).reshape(by_slope.shape), by_slope


def _directions(along: Tensor) -> Tensor:
    """Directions ``(dim, N)`` along orthogonal ones ``(dim, n)`` and between them, each with its
    opposite."""
    directions = along
    if along.shape[1] > 1:
        mixed = torch.randn(
            along.shape[1], _MIXED, generator=torch.Generator().manual_seed(0), dtype=along.dtype
        )
        directions = torch.cat([along, along @ (mixed / mixed.norm(dim=0))], dim=1)
    return torch.cat([directions, -directions], dim=1)


def _nearest_change(change: Tensor, error: float) -> tuple[Tensor, Tensor]:
    """The change at the least distance at which it is larger than an error, 0 where it nowhere is;
    and which distance that is: ``(N,)`` each.

    Args:
        change: ``(N, distances)``.
        error: of each.
    """
    seen = change.abs() > error
    first = seen.to(torch.int8).argmax(dim=1)
    nearest = change.gather(1, first[:, None])[:, 0]
    return torch.where(seen.any(dim=1), nearest, 0.0), first
