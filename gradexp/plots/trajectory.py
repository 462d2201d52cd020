"""Draws one run: its trajectory over the surface, its loss and its gradient norm."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradexp.plots import style
from gradexp.plots.contours import (
    Slice,
    draw_contours,
    draw_known_points,
    draw_legend_below,
    draw_marks,
    slice_along,
    view,
)
from gradexp.surfaces import Surface

_HUGE = 1e150  # beyond, the ticks of a logarithmic axis overflow


def draw_trajectory(surface: Surface, trace: Mapping[str, np.ndarray], title: str) -> Figure:
    """Draws a run over the contours of its surface, beside its loss and gradient norm.

    In one dimension, the graph of the function takes the place of the contours. In more than two,
    they are those of a slice through the run's last point, along the two coordinates that varied
    most.

    Args:
        surface: the surface of the run.
        trace: ``step``, ``loss`` and ``gradient_norm`` ``(R,)``, and ``point`` ``(R, dim)``.
        title: the title of the figure.
    """
    with style.drawing(9.0, 4.2) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1.0))
        # A layout engine would draw everything twice.
        figure.subplots_adjust(left=0.085, right=0.985, bottom=0.22, top=0.86, wspace=0.19)
        finite = np.isfinite(trace["point"]).all(axis=1)
        path = trace["point"][finite]
        if surface.dim == 1:
            _draw_graph(left, surface, path[:, 0])
        else:
            _draw_slice(left, surface, path)
        _draw_curves(right, surface, trace["step"], trace["loss"], trace["gradient_norm"])
        figure.suptitle(title, fontsize=10)
        return figure


def _draw_graph(axes: Axes, surface: Surface, path: np.ndarray) -> None:
    ((low, high),) = view(surface, path[:, None], [0])
    x = torch.linspace(low, high, 600, dtype=torch.float64)
    axes.plot(x, surface.value((x,)), color=style.INK, linewidth=1)
    at = torch.as_tensor(path).clamp(low, high)
    axes.plot(at, surface.value((at,)), ".-", color=style.RUN, markersize=3, label="run")
    axes.set(xlabel="x", ylabel="f(x)", xlim=(low, high), title="trajectory")
    axes.legend()


def _draw_slice(axes: Axes, surface: Surface, path: np.ndarray) -> None:
    part = slice_along(surface, path)
    draw_contours(axes, surface, part)
    way = clipped(path, part)
    axes.plot(*way.T, color=style.RUN, linewidth=1, alpha=0.8, zorder=3)
    axes.plot(*way.T, ".", color=style.RUN, markersize=2.5, zorder=3)
    draw_marks(axes, part, path[:1], "o", style.INK, "start", 6)
    draw_marks(axes, part, path[-1:], "s", style.RUN, "end", 6)
    draw_known_points(axes, surface, part)
    slice_note = "" if surface.dim == 2 else ", sliced through the end"
    axes.set_title(f"trajectory{slice_note}")
    draw_legend_below(axes)


def clipped(path: np.ndarray, part: Slice) -> np.ndarray:
    """Projects a path onto a slice, ``(R, 2)``, and clips what leads far out of the view.

    Coordinates are clipped at three widths of the view from its middle, which is out of sight.
    """
    span, middle = part.view[:, 1] - part.view[:, 0], part.view.mean(axis=1)
    flat = path[:, list(part.coordinates)]
    way: np.ndarray = np.clip(flat, middle - 3 * span, middle + 3 * span)
    return way


def _draw_curves(
    axes: Axes, surface: Surface, step: np.ndarray, loss: np.ndarray, gradient_norm: np.ndarray
) -> None:
    minimum = surface.minimum
    gap = loss if minimum is None else loss - float(minimum)
    name = "loss" if minimum is None else "loss - minimum"
    curves = ((gap, name, style.RUN), (gradient_norm, "gradient norm", style.SECOND))
    drawn = []
    for values, label, colour in curves:
        shown = np.where(np.abs(values) < _HUGE, values, np.nan)
        if minimum is not None:
            shown = np.where(shown > 0, shown, np.nan)  # a logarithmic axis cannot show a gap of 0
        drawn.append(shown)
        axes.plot(step, shown, color=colour, label=label)
    style.scale_losses(axes, np.concatenate(drawn), np.array([one[0] for one in drawn]))
    axes.set(xlabel="step", title="convergence")
    axes.grid(True, linewidth=0.3, color="#cccccc")
    axes.legend()
