"""Draws a heat map over two swept numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from gradexp.plots import style

_FEW = 6
"""Up to this many numbers on an axis each have a tick."""


def draw_heat_map(
    x: np.ndarray,
    y: np.ndarray,
    values: np.ndarray,
    outcomes: np.ndarray,
    *,
    names: tuple[str, str],
    label: str,
    title: str,
    caption: str,
    edge: tuple[np.ndarray, np.ndarray] | None = None,
) -> Figure:
    """Draws a value over two swept numbers, and the most frequent outcome where there is no value.

    Args:
        x: ``(X,)``, ascending.
        y: ``(Y,)``, ascending.
        values: ``(Y, X)``, not finite where there is no value.
        outcomes: ``(Y, X)``, outcomes as words; empty strings where nothing was run.
        names: the labels of the two axes.
        label: the label of the values.
        title: the title of the figure.
        caption: the text below it.
        edge: the x and y values of a line at the predicted edge of stability, if any.
    """
    with style.drawing(5.6, 4.2) as figure:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.11, right=0.93, bottom=0.24, top=0.91)
        sides = [_borders(side) for side in (x, y)]
        shown = np.ma.masked_invalid(values)
        many = shown.count() and shown.min() > 0 and shown.max() > 5 * shown.min()
        norm = LogNorm() if many else Normalize()
        words = [word for word in style.OUTCOMES if (outcomes == word).any()]
        if words:
            codes = np.full(values.shape, np.nan)
            for code, word in enumerate(words):
                codes[outcomes == word] = code
            codes[~shown.mask if shown.mask.shape else np.ones_like(codes, bool)] = np.nan
            colours = ListedColormap([style.OUTCOMES[word][0] for word in words])
            axes.pcolormesh(
                *sides, np.ma.masked_invalid(codes), cmap=colours, alpha=0.35,
                norm=Normalize(-0.5, len(words) - 0.5),
            )  # fmt: skip
            there = [word for code, word in enumerate(words) if (codes == code).any()]
            patches = [
                Patch(facecolor=style.OUTCOMES[word][0], alpha=0.35, label=f"{word}, most runs")
                for word in there
            ]
        else:
            patches = []
        image = axes.pcolormesh(*sides, shown, cmap=f"{style.STEPS}_r", norm=norm)
        bar = figure.colorbar(image, ax=axes, label=label, pad=0.02)
        if many:
            bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            bar.ax.yaxis.set_minor_locator(NullLocator())
        handles: list[Any] = list(patches)
        if edge is not None and bool(((edge[0] > x[0]) & (edge[0] < sides[0][-1])).any()):
            handles += axes.plot(
                *edge,
                color="black",
                linewidth=1.4,
                linestyle="--",
                label="edge of stability, theory",
            )
        for scale, axis, side in (
            (axes.set_xscale, axes.xaxis, x),
            (axes.set_yscale, axes.yaxis, y),
        ):
            if _is_log(side):
                scale("log")
                style.name_powers(axis)
        for ticks, side in ((axes.set_xticks, x), (axes.set_yticks, y)):
            if len(side) <= _FEW:
                ticks(side, [f"{value:.4g}" for value in side])
                ticks([], minor=True)
        axes.set(xlim=sides[0][[0, -1]], ylim=sides[1][[0, -1]])
        axes.set(xlabel=names[0], ylabel=names[1], title=title)
        if handles:
            figure.legend(
                handles=handles,
                loc="lower center",
                bbox_to_anchor=(0.5, 0.04),
                ncols=3,
                fontsize=7.5,
            )
        style.caption(figure, caption)
        return figure


def _is_log(side: np.ndarray) -> bool:
    """Returns whether the logarithms of numbers are more evenly spaced than the numbers."""
    if len(side) < 3 or side[0] <= 0:
        return False
    steps, ratios = np.diff(side), np.diff(np.log(side))
    return bool(np.std(ratios) / np.mean(ratios) < np.std(steps) / np.mean(steps))


def _borders(side: np.ndarray) -> np.ndarray:
    """Returns the ``(N + 1,)`` borders of cells, halfway between numbers or their logarithms."""
    if len(side) == 1:
        return np.array([side[0] - 0.5, side[0] + 0.5])
    log = _is_log(side)
    line = np.log(side) if log else side
    between = (line[1:] + line[:-1]) / 2
    ends = 2 * line[0] - between[0], 2 * line[-1] - between[-1]
    borders = np.array([ends[0], *between, ends[1]])
    return np.exp(borders) if log else borders
