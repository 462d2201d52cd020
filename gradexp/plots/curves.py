"""Draws losses against steps: the median of each setting, with a band between the quartiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from gradexp.analysis.quartiles import quartiles
from gradexp.plots import style


class Band(NamedTuple):
    """The quartiles over runs at each step."""

    step: np.ndarray
    """``(R,)``"""
    low: np.ndarray
    """``(R,)``, the first quartile"""
    middle: np.ndarray
    """``(R,)``, the median"""
    high: np.ndarray
    """``(R,)``, the third quartile"""
    runs: int


def band(curves: list[tuple[np.ndarray, np.ndarray]]) -> Band:
    """Returns the quartiles of curves ``(step, value)`` at every step that any of them has.

    After its end, a curve keeps its last value: a run at rest stays there, and NaN, where a run has
    diverged, counts as infinity. Between two recorded steps, a curve has the value at the earlier
    one.
    """
    step = np.unique(np.concatenate([steps for steps, _ in curves]))
    rows = []
    for steps, values in curves:
        last = np.searchsorted(steps, step, side="right") - 1
        rows.append(np.where(np.isnan(values), np.inf, values)[np.maximum(last, 0)])
    low, middle, high = quartiles(np.stack(rows))
    return Band(step, low, middle, high, len(curves))


def draw_curves(
    bands: Mapping[str, Band],
    ylabel: str,
    title: str,
    caption: str,
    *,
    log_steps: bool = False,
    along: str = "step",
) -> Figure:
    """Draws the bands of several settings.

    Args:
        bands: the bands by the name of each setting; at most six.
        ylabel: the label of the vertical axis.
        title: the title of the figure.
        caption: the text below it.
        log_steps: whether the horizontal axis is logarithmic.
        along: the label of the horizontal axis.
    """
    with style.drawing(5.2, 4.0) as figure:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.13, right=0.97, top=0.91)
        looks = zip(style.CYCLE, style.DASHES, strict=True)
        drawn, first = [], []
        for (name, some), (colour, dash) in zip(bands.items(), looks, strict=False):
            shown = [np.where(np.isfinite(part), part, np.nan) for part in some[1:4]]
            label = f"{name} ({some.runs} run{'s' if some.runs > 1 else ''})"
            axes.plot(
                some.step, shown[1], color=colour, linestyle=style.dash(dash, shown[1]), label=label
            )
            if some.runs > 1:
                bottom, top = shown[0], np.where(np.isnan(shown[2]), 1e250, shown[2])
                axes.fill_between(some.step, bottom, top, color=colour, alpha=0.18, linewidth=0)
            drawn.append(np.concatenate(shown))
            first.append([part[0] for part in shown])
        style.scale_losses(axes, np.concatenate(drawn), np.concatenate(first))
        if log_steps:
            axes.set_xscale("symlog", linthresh=1)
            style.name_powers(axes.xaxis)
        axes.set(xlabel=along, ylabel=ylabel, title=title)
        axes.grid(True, linewidth=0.3, color="#cccccc")
        style.legend_below(figure, axes, columns=2)
        style.caption(figure, caption)
        return figure
