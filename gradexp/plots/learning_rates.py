"""Steps by learning rate: how fast each optimizer is, and how much its learning rate matters."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from gradexp.plots import style


def draw_learning_rates(
    panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]],
    label: str,
    title: str,
    caption: str,
) -> Figure:
    """The steps of each optimizer by its learning rate, a panel a surface.

    Args:
        panels: by surface and by optimizer, at most six of each: learning rates and steps ``(N,)``,
            infinite where half of the runs did not arrive; some are finite.
        label: what the steps are.
        title: of the figure.
        caption: what stands behind it.
    """
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    with style.drawing(1.2 + 2.6 * columns, 1.3 + 2.3 * rows) as figure:
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        figure.subplots_adjust(left=0.09, right=0.98, top=0.86, wspace=0.08, hspace=0.25)
        rates, steps = (
            np.concatenate([line[part] for lines in panels.values() for line in lines.values()])
            for part in (0, 1)
        )
        powers = np.log10(np.maximum(steps[np.isfinite(steps)], 1.0))
        low = np.floor(powers.min())
        ends = 10**low, 10 ** max(np.ceil(powers.max() + 0.02), low + 1)
        looks = dict(zip(names, zip(style.CYCLE, style.DASHES, strict=True), strict=False))
        for axes, (surface, lines) in zip(grid.flat, panels.items(), strict=False):
            for name, (tried, taken) in lines.items():
                colour, dash = looks[name]
                shown = np.where(np.isfinite(taken), taken, np.nan)
                axes.plot(tried, shown, color=colour, linestyle=dash, marker=".", markersize=4)
            axes.set(xscale="log", yscale="log", title=surface)
            axes.set(xlim=(rates.min() / 1.5, rates.max() * 1.5), ylim=ends)
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
