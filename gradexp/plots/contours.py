"""Draws the contours of a surface, or of a slice of it, with its known stationary points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from gradexp.plots import style
from gradexp.surfaces import Surface

_GRID = 160
"""Grid points along each side of a slice; fewer if their coordinates would exceed `_ROOM`."""

_COARSEST, _ROOM = 16, 2**27
"""Minimum number of grid points along a side, and maximum number of coordinates of a grid."""

_TOGETHER = 2**23
"""Maximum number of coordinates that are evaluated at a time."""

_LEVELS = 22
"""Number of contour levels."""

_MARGIN = 0.08
"""Margin around a path that leaves the domain, as a fraction of the domain's width."""

_DOT = 0.05
"""A path that extends over a smaller fraction of the domain is enlarged."""


class Slice(NamedTuple):
    """A rectangle in the domain of a surface, along which two coordinates vary."""

    coordinates: tuple[int, int]
    """indices of the two coordinates, from 0"""
    view: np.ndarray
    """``(2, 2)``, the rows ``(low, high)`` of the two coordinates"""
    through: Tensor
    """``(dim,)``, a point in the plane of the slice"""

    def inside(self, points: np.ndarray) -> np.ndarray:
        """Returns the points of ``(N, dim)`` that project into the rectangle, as ``(M, 2)``."""
        flat = points.reshape(-1, len(self.through))[:, list(self.coordinates)]
        return flat[((flat >= self.view[:, 0]) & (flat <= self.view[:, 1])).all(axis=1)]


def slice_along(surface: Surface, path: np.ndarray) -> Slice:
    """Returns the slice through a path's last point, along the two coordinates that vary most.

    Args:
        surface: the surface to slice, of at least two dimensions.
        path: ``(N, dim)``, finite. If it is empty, the slice goes through a minimizer, or else the
            surface's start.
    """
    moved = np.ptp(path, axis=0) if len(path) else np.zeros(surface.dim)
    i, j = sorted(np.argsort(-moved, kind="stable")[:2].tolist())
    last = path[-1] if len(path) else _middle(surface)
    through = torch.as_tensor(np.array(last, dtype=np.float64))
    return Slice((i, j), view(surface, path, [i, j]), through)


def _middle(surface: Surface) -> Any:
    """Returns the point through which a surface is sliced if there is no path."""
    return surface.minimizers[0] if surface.minimizers else surface.start


def view(surface: Surface, path: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Returns the part of each axis to show, as rows ``(low, high)``.

    That is the domain, extended to contain the path, but by no more than its width on either side.
    If the path would be no larger than a dot in it, it is the neighborhood of the path.
    """
    domain = np.array([surface.domain[axis] for axis in axes])
    if not len(path):
        return domain
    low, high = domain.T
    bottom, top = path[:, axes].min(axis=0), path[:, axes].max(axis=0)
    width, margin = high - low, _MARGIN * (high - low)
    reach = float(((top - bottom) / width).max())
    if 0 < reach < _DOT:
        middle = (bottom + top) / 2
        return np.stack([middle - 1.5 * reach * width, middle + 1.5 * reach * width], axis=1)
    view_low = np.where(bottom < low, np.maximum(bottom - margin, low - width), low)
    view_high = np.where(top > high, np.minimum(top + margin, high + width), high)
    return np.stack([view_low, view_high], axis=1)


def values(surface: Surface, part: Slice) -> tuple[Tensor, Tensor, Tensor]:
    """Returns a grid over a slice, x ``(X,)`` and y ``(Y,)``, and the values there ``(Y, X)``."""
    side = max(_COARSEST, min(_GRID, math.isqrt(_ROOM // surface.dim)))
    x, y = (torch.linspace(low, high, side, dtype=torch.float64) for low, high in part.view)

    def rows(some: Tensor) -> Tensor:
        grid = part.through[:, None, None].repeat(1, len(some), len(x))
        i, j = part.coordinates
        grid[i], grid[j] = torch.meshgrid(x, some, indexing="xy")
        return surface.value(grid)

    together = max(1, _TOGETHER // (surface.dim * len(x)))
    return x, y, torch.cat([rows(some) for some in torch.split(y, together)])


def levels(heights: Tensor) -> np.ndarray:
    """Returns contour levels at quantiles, closer together at low values so that valleys show."""
    shares = torch.linspace(0, 1, _LEVELS, dtype=torch.float64) ** 2
    return np.unique(heights.flatten().nan_to_num().quantile(shares))


def draw_contours(axes: Axes, surface: Surface, part: Slice) -> None:
    """Draws the contours of a slice, and labels the axes."""
    x, y, heights = values(surface, part)
    steps = levels(heights)
    if len(steps) > 1:
        order = matplotlib.colors.BoundaryNorm(steps, 256)
        axes.contourf(x, y, heights, steps, cmap=style.SURFACE, norm=order, alpha=0.55)
        axes.contour(x, y, heights, steps, colors="white", linewidths=0.4)
    i, j = part.coordinates
    axes.set(xlim=tuple(part.view[0]), ylim=tuple(part.view[1]))
    axes.set(xlabel=style.coordinate(i), ylabel=style.coordinate(j))


def draw_known_points(axes: Axes, surface: Surface, part: Slice) -> None:
    """Draws the declared minimizers and stationary points of a surface of two dimensions."""
    if surface.dim != 2:
        return
    draw_marks(axes, part, surface.minimizers, "*", style.MINIMUM, "minimizer", 10)
    kinds = (
        ("minimum", "local minimum", "v", style.MINIMUM),
        ("saddle", "saddle", "X", style.SADDLE),
        ("maximum", "maximum", "P", style.QUIET),
    )
    for kind, name, marker, colour in kinds:
        points = [s.point for s in surface.stationary_points if s.kind == kind]
        draw_marks(axes, part, points, marker, colour, name, 6)


def draw_marks(
    axes: Axes, part: Slice, points: Any, marker: str, colour: str, name: str, size: float
) -> None:
    """Marks the points that lie in the rectangle of a slice."""
    found = np.array([[float(x) for x in point] for point in points])
    if len(found) and len(inside := part.inside(found)):
        edge: Any = {"markeredgecolor": "white", "markeredgewidth": 0.6}
        axes.plot(*inside.T, marker, color=colour, markersize=size, label=name, zorder=4, **edge)


def draw_legend_below(axes: Axes, columns: int = 5) -> None:
    """Draws the legend below the axes, where it covers nothing."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=columns, columnspacing=1.2)
