"""The way of one run: over the surface, and in loss and gradient norm."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import SymmetricalLogLocator
from torch import Tensor

from gradexp.plots import style
from gradexp.surfaces import Surface

_GRID = 160
"""Points along each side of a slice; fewer where their coordinates are more than `_ROOM`."""

_COARSEST, _ROOM = 16, 2**27
_TOGETHER = 2**23
"""Coordinates that are evaluated at a time."""
_LEVELS = 22
_MARGIN = 0.08
_DOT = 0.05
_HUGE = 1e150  # beyond, the ticks of a logarithmic axis overflow


def draw_trajectory(
    surface: Surface,
    step: np.ndarray,
    loss: np.ndarray,
    gradient_norm: np.ndarray,
    point: np.ndarray,
    title: str,
) -> Figure:
    """One run over the contours of its surface, beside its loss and gradient norm.

    Above two dimensions the contours are a slice through the run's last point, along the two
    coordinates that moved most.

    Args:
        surface: of that run.
        step: ``(R,)``.
        loss: ``(R,)``.
        gradient_norm: ``(R,)``.
        point: ``(R, dim)``.
        title: of the whole figure.
    """
    with matplotlib.rc_context(style.STYLE):
        figure = Figure(figsize=(9.0, 4.2))
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1.0))
        # A layout engine would draw everything twice.
        figure.subplots_adjust(left=0.085, right=0.985, bottom=0.22, top=0.86, wspace=0.19)
        finite = np.isfinite(point).all(axis=1)
        path = point[finite]
        if surface.dim == 1:
            _draw_graph(left, surface, path[:, 0])
        else:
            _draw_slice(left, surface, path)
        _draw_curves(right, surface, step, loss, gradient_norm)
        figure.suptitle(title, fontsize=10)
        return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(style.STYLE):
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _view(surface: Surface, path: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """What part of each axis to show: rows ``(low, high)``.

    The domain, widened to hold the path, but to no more than thrice its width; or, where the path
    would be a dot in it, the neighbourhood of the path.
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


def _draw_graph(axes: Axes, surface: Surface, path: np.ndarray) -> None:
    ((low, high),) = _view(surface, path[:, None], [0])
    x = torch.linspace(low, high, 600, dtype=torch.float64)
    axes.plot(x, surface.value((x,)), color=style.INK, linewidth=1)
    at = torch.as_tensor(path).clamp(low, high)
    axes.plot(at, surface.value((at,)), ".-", color=style.RUN, markersize=3, label="run")
    axes.set(xlabel="x", ylabel="f(x)", xlim=(low, high), title="trajectory")
    axes.legend()


def _draw_slice(axes: Axes, surface: Surface, path: np.ndarray) -> None:
    moved = np.ptp(path, axis=0) if len(path) else np.zeros(surface.dim)
    i, j = sorted(np.argsort(-moved, kind="stable")[:2])
    view = _view(surface, path, [i, j])
    (x_low, x_high), (y_low, y_high) = view
    side = max(_COARSEST, min(_GRID, math.isqrt(_ROOM // surface.dim)))
    x = torch.linspace(x_low, x_high, side, dtype=torch.float64)
    y = torch.linspace(y_low, y_high, side, dtype=torch.float64)
    through = torch.as_tensor(path[-1] if len(path) else surface.start, dtype=torch.float64)
    values = _values(surface, through, (i, j), x, y)
    # Levels at quantiles, closer together towards the low ones: each surface shows its valleys.
    shares = torch.linspace(0, 1, _LEVELS, dtype=torch.float64) ** 2
    levels = np.unique(values.flatten().nan_to_num().quantile(shares))
    if len(levels) > 1:
        order = matplotlib.colors.BoundaryNorm(levels, 256)
        axes.contourf(x, y, values, levels, cmap=style.SURFACE, norm=order, alpha=0.55)
        axes.contour(x, y, values, levels, colors="white", linewidths=0.4)
    span, middle = view[:, 1] - view[:, 0], view.mean(axis=1)
    way = np.clip(path[:, [i, j]], middle - 3 * span, middle + 3 * span)
    axes.plot(*way.T, color=style.RUN, linewidth=1, alpha=0.8, zorder=3)
    axes.plot(*way.T, ".", color=style.RUN, markersize=2.5, zorder=3)
    marks: list[tuple[Any, str, str, str, float]] = []
    if len(way):
        marks += [(way[:1], "o", style.INK, "start", 6), (way[-1:], "s", style.RUN, "end", 6)]
    if surface.dim == 2:
        kinds = (("minimum", "v", style.MINIMUM), ("saddle", "X", style.SADDLE))
        marks.append((surface.minimizers, "*", style.MINIMUM, "minimizer", 10))
        for kind, marker, colour in kinds:
            points = [s.point for s in surface.stationary_points if s.kind == kind]
            name = "local minimum" if kind == "minimum" else kind
            marks.append((points, marker, colour, name, 6))
    for points, marker, colour, name, size in marks:
        inside = [p for p in np.array(points) if bool((abs(p - middle) <= span / 2).all())]
        if inside:
            edge: Any = {"markeredgecolor": "white", "markeredgewidth": 0.6}
            at = np.array(inside).T
            axes.plot(*at, marker, color=colour, markersize=size, label=name, zorder=4, **edge)
    axes.set(xlim=(x_low, x_high), ylim=(y_low, y_high))
    axes.set(xlabel=f"$x_{{{i + 1}}}$", ylabel=f"$x_{{{j + 1}}}$")
    slice_note = "" if surface.dim == 2 else ", sliced through the end"
    axes.set_title(f"trajectory{slice_note}")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=5, columnspacing=1.2)


def _values(
    surface: Surface, through: Tensor, axes: tuple[int, int], x: Tensor, y: Tensor
) -> Tensor:
    """The values ``(Y, X)`` on the slice through a point along two axes, a few rows at a time."""

    def rows(some: Tensor) -> Tensor:
        grid = through[:, None, None].repeat(1, len(some), len(x))
        grid[axes[0]], grid[axes[1]] = torch.meshgrid(x, some, indexing="xy")
        return surface.value(grid)

    together = max(1, _TOGETHER // (surface.dim * len(x)))
    return torch.cat([rows(some) for some in torch.split(y, together)])


def _draw_curves(
    axes: Axes, surface: Surface, step: np.ndarray, loss: np.ndarray, gradient_norm: np.ndarray
) -> None:
    minimum = surface.minimum
    gap = loss if minimum is None else loss - float(minimum)
    name = "loss" if minimum is None else "loss - minimum"
    curves = ((gap, name, style.RUN), (gradient_norm, "gradient norm", style.SECOND))
    for values, label, colour in curves:
        shown = np.where(np.abs(values) < _HUGE, values, np.nan)
        axes.plot(step, shown, color=colour, label=label)
    if minimum is None and bool((gap <= 0).any()):
        axes.set_yscale("symlog")
        axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1e3))
    elif bool((gap > 0).any() | (gradient_norm > 0).any()):
        axes.set_yscale("log", nonpositive="mask")
    axes.set(xlabel="step", title="convergence")
    axes.grid(True, linewidth=0.3, color="#cccccc")
    axes.legend()
