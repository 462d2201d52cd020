"""Draws a surface as contours and relief, or a run on the relief of its surface."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.axes3d import Axes3D

from gradexp.plots import style
from gradexp.plots.contours import (
    Slice,
    draw_contours,
    draw_known_points,
    draw_legend_below,
    levels,
    slice_along,
    values,
    view,
)
from gradexp.plots.trajectory import clipped
from gradexp.surfaces import Surface, value_and_gradient

_ARROWS = 17
"""Number of arrows of the gradient field along each side."""

_NET = 80
"""Number of grid lines of a relief along each side."""


def draw_surface(surface: Surface, title: str) -> Figure:
    """Draws the contours of a surface with its known points and gradient field, beside its relief.

    A surface of one dimension is drawn as a curve, with its derivative. Of a surface of more than
    two dimensions, a slice is drawn through a minimizer, or else through its start.
    """
    if surface.dim == 1:
        return _draw_function(surface, title)
    with style.drawing(9.0, 4.4) as figure:
        left = figure.add_subplot(1, 2, 1)
        right = figure.add_subplot(1, 2, 2, projection="3d")
        figure.subplots_adjust(left=0.075, right=0.98, bottom=0.2, top=0.88, wspace=0.05)
        part = slice_along(surface, np.empty((0, surface.dim)))
        draw_contours(left, surface, part)
        _draw_descent(left, surface, part)
        draw_known_points(left, surface, part)
        cut = "" if surface.dim == 2 else ", a slice"
        left.set_title(f"contours and direction of descent{cut}")
        if left.get_legend_handles_labels()[0]:
            draw_legend_below(left)
        assert isinstance(right, Axes3D)
        _draw_relief(right, surface, part)
        figure.suptitle(title, fontsize=10)
        return figure


def draw_relief(surface: Surface, point: np.ndarray, title: str, caption: str = "") -> Figure:
    """Draws a run on the relief of its surface.

    Args:
        surface: the surface of the run, of at least two dimensions.
        point: ``(R, dim)``, the points of the run.
        title: the title of the figure.
        caption: the text below it.
    """
    with style.drawing(5.6, 4.6) as figure:
        axes = figure.add_subplot(projection="3d")
        assert isinstance(axes, Axes3D)
        figure.subplots_adjust(left=0.0, right=0.93, bottom=0.06, top=0.95)
        path = point[np.isfinite(point).all(axis=1)]
        part = slice_along(surface, path)
        bottom = _draw_relief(axes, surface, part, alpha=0.75)
        way = clipped(path, part)
        there = np.all((way >= part.view[:, 0]) & (way <= part.view[:, 1]), axis=1)
        heights = surface.value(torch.as_tensor(path.T)).numpy()
        shown = np.where(there, _scaled(heights, bottom), np.nan)
        axes.plot(*way.T, shown, color=style.RUN, linewidth=1.4, zorder=5)
        for at, marker, name in ((0, "o", "start"), (-1, "s", "end")):
            if len(way) and there[at]:
                ends = ([way[at, 0]], [way[at, 1]], [shown[at]])
                axes.plot(*ends, marker, color=style.RUN, markersize=5, label=name, zorder=6)
        axes.set_title(title if surface.dim == 2 else f"{title}, on a slice")
        axes.legend(loc="upper left")
        style.caption(figure, caption)
        return figure


def _draw_function(surface: Surface, title: str) -> Figure:
    with style.drawing(6.0, 4.4) as figure:
        top, bottom = figure.subplots(2, 1, sharex=True)
        figure.subplots_adjust(left=0.12, right=0.97, bottom=0.11, top=0.9, hspace=0.12)
        ((low, high),) = view(surface, np.empty((0, 1)), [0])
        x = torch.linspace(low, high, 800, dtype=torch.float64)
        value, gradient = value_and_gradient(surface, x[None])
        top.plot(x, value, color=style.INK)
        bottom.plot(x, gradient[0], color=style.SECOND)
        bottom.axhline(0, color=style.QUIET, linewidth=0.6)
        for place in surface.minimizers:
            at = torch.tensor([[float(place[0])]], dtype=torch.float64)
            top.plot(at[0], surface.value(at), "*", color=style.MINIMUM, markersize=10)
        top.set(ylabel="f(x)", xlim=(low, high))
        bottom.set(ylabel="f′(x)", xlabel="x")
        figure.suptitle(title, fontsize=10)
        return figure


def _draw_descent(axes: Axes, surface: Surface, part: Slice) -> None:
    """Draws arrows of equal length in the direction of the negative gradient."""
    i, j = part.coordinates
    steps = (np.arange(_ARROWS) + 0.5) / _ARROWS
    sides = [low + (high - low) * steps for low, high in part.view]
    x, y = np.meshgrid(*sides)
    points = part.through[:, None, None].repeat(1, _ARROWS, _ARROWS)
    points[i], points[j] = torch.as_tensor(x), torch.as_tensor(y)
    _, gradient = value_and_gradient(surface, points)
    u, v = -gradient[i].numpy(), -gradient[j].numpy()
    length = np.hypot(u, v)
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = u / length, v / length
    look: Any = {"color": style.SECOND, "alpha": 0.55, "width": 0.0022}
    axes.quiver(x, y, u, v, angles="xy", scale=28, pivot="mid", **look)


def _scaled(heights: np.ndarray, bottom: float) -> np.ndarray:
    """Returns log₁₀(1 + h) of heights h above the bottom, a scale on which valleys show."""
    shown: np.ndarray = np.log10(1 + np.maximum(heights - bottom, 0))
    return shown


def _draw_relief(axes: Axes3D, surface: Surface, part: Slice, alpha: float = 0.95) -> float:
    """Draws the relief of a slice above its contours, and returns the least value on it."""
    x, y, heights = values(surface, part)
    shown = _scaled(heights.numpy(), float(heights.min()))
    net = max(1, len(x) // _NET)
    rows = slice(None, None, net)
    grid = np.meshgrid(x.numpy()[rows], y.numpy()[rows])
    axes.plot_surface(
        *grid, shown[rows, rows], cmap=style.STEPS, alpha=alpha, linewidth=0, antialiased=True,
        rstride=1, cstride=1, rasterized=True,
    )  # fmt: skip
    floor = float(shown.min()) - 0.25 * float(np.ptp(shown) or 1.0)
    steps = levels(torch.as_tensor(shown))
    if len(steps) > 1:
        options = {"zdir": "z", "offset": floor, "cmap": style.STEPS, "linewidths": 0.5}
        axes.contour(*np.meshgrid(x, y), shown, steps, **options)
    i, j = part.coordinates
    axes.set(xlabel=style.coordinate(i), ylabel=style.coordinate(j), zlim=(floor, shown.max()))
    axes.set_zlabel("log₁₀(1 + f - least f)")
    axes.view_init(elev=32, azim=-125)
    axes.tick_params(labelsize=7)
    return float(heights.min())
