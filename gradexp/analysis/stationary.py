"""Finds the stationary point near a point, and its kind: minimum, saddle, flat, or none.

Newton's method goes from the point where a run rests to the stationary point, until its steps
vanish. Near a degenerate stationary point, such as that of x³, each step covers only a part of the
remaining distance. The kind is decided as follows:

1. If an eigenvalue of the Hessian is clearly negative, it is a saddle (or a maximum).
2. Along almost flat directions, the loss itself is evaluated on both sides, at the shortest of
   several distances at which a difference is visible. Across these directions, the curved ones are
   minimized over. If the loss falls, it is a saddle (x³ + y² at 0, or the monkey saddle).
3. If the loss falls nowhere, and rises in some direction or is curved in some, it is a minimum,
   which may belong to a valley of minima.
4. Otherwise it is flat: no difference is visible. It is also flat if an eigenvalue is reliably
   negative, but the loss does not fall visibly.
5. If a fall found in 2 is at least half due to the remaining gradient at the point, the point is
   not stationary (x² + 10⁻¹⁰ y), and the kind is none.

A difference of losses is visible if it is larger than their rounding errors (`rounding`).
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
"""The greatest distance that Newton's method may go, as a fraction of the domain's diameter."""

DISTANCES = (1e-4, 1e-3, 1e-2)
"""The distances at which the loss is evaluated, as fractions of the domain's diameter."""

_MOST_STEPS = 600
_VANISHED = 1e-12
_MIXED = 16
"""How many random combinations of the given directions are examined in addition to these."""


class Stationary(NamedTuple):
    """The stationary point near a point."""

    kind: Kind
    point: Tensor
    """``(dim,)``: the point to which Newton's method converged"""
    eigenvalues: Tensor
    """``(dim,)``: the eigenvalues of the Hessian there, ascending"""


def rounding(surface: Surface, point: Tensor) -> float:
    """Returns an estimate of the rounding error of a surface's values near a point.

    It is how much the values differ between points that are almost the same.

    Args:
        surface: the surface, with the numbers of one run.
        point: ``(dim,)``, stationary.
    """
    signs = torch.randint(0, 2, (len(point), 16), generator=torch.Generator().manual_seed(0))
    shifts = (2.0 * signs - 1) * 1e-14 * (diameter(surface) + point.abs())[:, None]
    values = surface.value(point[:, None] + shifts)
    here = surface.value(point)
    largest = max(float(here.abs()), float(values.abs().max()))
    return float((values - here).abs().max()) + torch.finfo(torch.float64).eps * largest


def stationary_near(surface: Surface, start: Tensor) -> Stationary:
    """Returns the stationary point near a point with a small gradient, and its kind.

    Args:
        surface: the surface, with the numbers of one run.
        start: ``(dim,)``, float64, with at most `LARGEST` dimensions.
    """
    point, values, vectors, found = _by_newton(surface, start)
    if not found:
        return Stationary("none", point, values)
    return Stationary(_kind(surface, point, values, vectors), point, values)


def rises_around(surface: Surface, point: Tensor) -> bool:
    """Whether the loss falls in no direction from a point and rises in some.

    The loss is evaluated along the axes and along random directions between them, at the shortest
    of `DISTANCES` at which a difference is visible. This serves points without a Hessian.

    Args:
        surface: the surface, with the numbers of one run.
        point: ``(dim,)``, float64.
    """
    sides = _directions(torch.eye(len(point), dtype=point.dtype))
    lengths = torch.tensor(DISTANCES, dtype=point.dtype) * diameter(surface)
    places = point[:, None] + (sides[:, :, None] * lengths).flatten(1)
    change = (surface.value(places) - surface.value(point)).reshape(-1, len(lengths))
    change = _nearest_change(change, 8 * rounding(surface, point))[0]
    return bool((change >= 0).all()) and bool((change > 0).any())


def _by_newton(surface: Surface, start: Tensor) -> tuple[Tensor, Tensor, Tensor, bool]:
    """Runs Newton's method from a start.

    Returns:
        The last point, ``(dim,)``, the eigenvalues and eigenvectors of the Hessian there, and
        whether the method converged. If it went too far, the point is the start.
    """
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
    """Returns the ascending eigenvalues of the Hessian, and its eigenvectors as columns.

    The eigenvalues are NaN if the Hessian is not finite.
    """
    matrix = hessian(surface, point)
    if not bool(matrix.isfinite().all()):
        return torch.full_like(point, math.nan), torch.eye(len(point), dtype=point.dtype)
    values, vectors = torch.linalg.eigh(matrix)
    return values, vectors


def _kind(surface: Surface, point: Tensor, values: Tensor, vectors: Tensor) -> Kind:
    """Returns the kind of a point to which Newton's method converged, by the rules of this module.

    Args:
        surface: the surface, with the numbers of one run.
        point: ``(dim,)``.
        values: the ascending eigenvalues of the Hessian.
        vectors: its eigenvectors, as columns.
    """
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
        return "flat"  # the curvature is negative, but too small for a visible fall of the loss
    return "minimum" if bool((change > 0).any()) or not bool(flat.all()) else "flat"


def _changes(
    surface: Surface, point: Tensor, values: Tensor, vectors: Tensor, flat: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns how much the loss changes along the flat directions.

    At each place, a few Newton steps minimize the loss over the directions that are not flat,
    because the valley may bend.

    Args:
        surface: the surface, with the numbers of one run.
        point: ``(dim,)``.
        values: the ascending eigenvalues of the Hessian.
        vectors: its eigenvectors, as columns.
        flat: ``(dim,)``, bool: which eigenvectors are flat directions.

    Returns:
        The changes in N directions, which include opposite ones, at each of `DISTANCES`; and the
        part of each change that is due to the gradient at the point: ``(N, 3)`` each.
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
    """Returns orthogonal directions, random combinations of them, and the opposites of all.

    Args:
        along: ``(dim, n)``, the orthogonal directions as columns.

    Returns:
        ``(dim, N)``.
    """
    directions = along
    if along.shape[1] > 1:
        mixed = torch.randn(
            along.shape[1], _MIXED, generator=torch.Generator().manual_seed(0), dtype=along.dtype
        )
        directions = torch.cat([along, along @ (mixed / mixed.norm(dim=0))], dim=1)
    return torch.cat([directions, -directions], dim=1)


def _nearest_change(change: Tensor, error: float) -> tuple[Tensor, Tensor]:
    """Returns the change at the shortest distance at which it is visible, in each direction.

    Args:
        change: ``(N, K)``, the changes at K ascending distances.
        error: the size above which a change is visible.

    Returns:
        The changes, 0 where none is visible, and the indices of the distances: ``(N,)`` each.
    """
    seen = change.abs() > error
    first = seen.to(torch.int8).argmax(dim=1)
    nearest = change.gather(1, first[:, None])[:, 0]
    return torch.where(seen.any(dim=1), nearest, 0.0), first
