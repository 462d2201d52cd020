"""Draws the outcomes of runs at their starts."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gradexp.plots import style
from gradexp.plots.contours import draw_contours, draw_known_points, slice_along
from gradexp.surfaces import Surface


def draw_starts(
    surface: Surface,
    start: np.ndarray,
    end: np.ndarray,
    outcome: list[str],
    title: str,
    caption: str,
) -> Figure:
    """Draws starts over the contours, marked by outcome, with lines to where runs came to rest.

    Args:
        surface: the surface of all runs, of two dimensions.
        start: ``(N, 2)``, the first point of each run.
        end: ``(N, 2)``, the last point of each run; a point that is not finite has no line.
        outcome: the outcome of each run, as a word.
        title: the title of the figure.
        caption: the text below it.
    """
    with style.drawing(5.4, 4.8) as figure:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.11, right=0.97, bottom=0.22, top=0.92)
        part = slice_along(surface, start)
        draw_contours(axes, surface, part)
        settled = np.array([word in ("converged", "saddle", "plateau") for word in outcome])
        for begun, ended in zip(start[settled], end[settled], strict=True):
            axes.plot(*np.stack([begun, ended]).T, color=style.INK, linewidth=0.4, alpha=0.35)
        words = np.array(outcome)
        for word, (colour, marker) in style.OUTCOMES.items():
            some = start[words == word]
            if not len(some):
                continue
            look: Any = {"markeredgecolor": "white", "markeredgewidth": 0.4}
            size = 7 if marker == "." else 4.5
            label = f"{word} ({len(some)})"
            axes.plot(*some.T, marker, color=colour, markersize=size, label=label, zorder=3, **look)
        draw_known_points(axes, surface, part)
        axes.set_title(title)
        figure.legend(loc="lower center", bbox_to_anchor=(0.5, 0.04), ncols=4, fontsize=7.5)
        style.caption(figure, caption)
        return figure
