"""Draws performance profiles."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from gradexp.plots import style


def draw_profile(ratios: Mapping[str, np.ndarray], unit: str, title: str, caption: str) -> Figure:
    """Draws the share of problems that each solver solves within a multiple of the best's steps.

    Args:
        ratios: the performance ratios ``(problems,)`` by the name of each solver, at most six.
            They are at least 1, and infinite where a problem was not solved.
        unit: the unit of what the ratios compare, such as ``steps``.
        title: the title of the figure.
        caption: the text below it.
    """
    with style.drawing(5.2, 3.8) as figure:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.12, right=0.97, bottom=0.32, top=0.91)
        finite = np.concatenate([some[np.isfinite(some)] for some in ratios.values()])
        end = 1.15 * max(2.0, float(finite.max(initial=2.0)))
        looks = zip(style.CYCLE, style.DASHES, strict=True)
        for (name, some), (colour, dash) in zip(ratios.items(), looks, strict=False):
            solved = np.sort(some[np.isfinite(some)])
            shares = np.arange(1, len(solved) + 1) / len(some)
            x = np.concatenate([[0.5], solved, [end]])  # the rise at 1 begins left of the axis
            y = np.concatenate([[0.0], shares, [shares[-1] if len(solved) else 0.0]])
            axes.step(x, y, where="post", color=colour, linestyle=dash, label=name)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}"))
        axes.set(xlim=(1.0, end), ylim=(0.0, 1.02), title=title)
        axes.set(xlabel=f"{unit} ÷ {unit} of the fastest", ylabel="share of problems solved")
        axes.grid(True, linewidth=0.3, color="#cccccc")
        figure.legend(loc="lower center", bbox_to_anchor=(0.5, 0.05), ncols=2, fontsize=7.5)
        style.caption(figure, caption)
        return figure
