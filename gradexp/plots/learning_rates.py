"""Draws the performance of optimizers against their learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gradexp.plots import style


def draw_learning_rates(
    panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]],
    label: str,
    title: str,
    caption: str,
    *,
    one_scale: bool,
) -> Figure:
    """Draws steps, or another metric, of each optimizer against its learning rate.

    Args:
        panels: learning rates ``(N,)`` and values ``(N,)``, by surface and then by optimizer; one
            to six of each. Values that are not finite are not drawn, but some must be finite.
        label: the label of the values.
        title: the title of the figure.
        caption: the text below it.
        one_scale: whether values on different surfaces may be compared, so that the panels share
            their vertical axis.
    """
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    width = 1.2 + 2.6 * columns
    with style.drawing(width, 1.3 + 2.3 * rows) as figure:
        grid = figure.subplots(rows, columns, sharex=True, sharey=one_scale, squeeze=False)
        figure.subplots_adjust(left=0.8 / width, right=0.98, top=0.86, hspace=0.25)
        figure.subplots_adjust(wspace=0.08 if one_scale else 0.22)
        lines = [line for some in panels.values() for line in some.values()]
        rates = np.concatenate([tried for tried, _ in lines])
        shared = _scale(lines) if one_scale else {}
        looks = dict(zip(names, zip(style.CYCLE, style.DASHES, strict=True), strict=False))
        for axes, (surface, some) in zip(grid.flat, panels.items(), strict=False):
            for name, (tried, found) in some.items():
                colour, dash = looks[name]
                shown = np.where(np.isfinite(found), found, np.nan)
                axes.plot(tried, shown, color=colour, linestyle=dash, marker=".", markersize=4)
            axes.set(xscale="log", xlim=(rates.min() / 1.5, rates.max() * 1.5), title=surface)
            axes.set(**(shared or _scale(list(some.values()))))
            for axis in (axes.xaxis, axes.yaxis):
                if axis.get_scale() == "log":
                    style.name_powers(axis)
            axes.grid(True, linewidth=0.3, color="#cccccc")
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes in grid[-1]:
            axes.set_xlabel("learning rate")
        for axes in grid[:, 0]:
            axes.set_ylabel(label)
        figure.suptitle(title, fontsize=10)
        for name, (colour, dash) in looks.items():
            grid[0, 0].plot([], [], color=colour, linestyle=dash, label=name)
        style.legend_below(figure, grid[0, 0], columns=len(names))
        style.caption(figure, caption)
        return figure


def _scale(lines: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """Returns the scale and limits of the vertical axis for some lines.

    The axis is logarithmic, between integer powers of ten, if the median of the finite values is
    positive; values that are not positive are then drawn below its lower end.
    """
    values = np.concatenate([found[np.isfinite(found)] for _, found in lines])
    if not len(values) or np.median(values) <= 0:
        return {"yscale": "linear"}
    powers = np.log10(values[values > 0])
    low = max(np.floor(powers.min()), -300.0)
    return {"yscale": "log", "ylim": (10**low, 10 ** max(np.ceil(powers.max() + 0.02), low + 1))}
