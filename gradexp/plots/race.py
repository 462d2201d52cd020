"""Draws or animates several runs from one start: their trajectories and losses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from gradexp.plots import style
from gradexp.plots.contours import (
    Slice,
    draw_contours,
    draw_known_points,
    draw_marks,
    slice_along,
)
from gradexp.plots.trajectory import clipped
from gradexp.surfaces import Surface

_FRAMES, _PER_SECOND, _DOTS = 60, 12, 90
"""Of an animation: maximum number of moving frames, frames per second, dots per inch."""

_HOLD = 12
"""Number of frames for which the last picture is held."""


class Runner(NamedTuple):
    """The trace of one of the runs."""

    step: np.ndarray
    """``(R,)``"""
    loss: np.ndarray
    """``(R,)``"""
    point: np.ndarray
    """``(R, dim)``"""


def draw_race(
    surface: Surface, runners: Mapping[str, Runner], title: str, caption: str, along: str
) -> Figure:
    """Draws the trajectories of several runs from one start, beside their losses.

    Args:
        surface: the surface of all runs, of at least two dimensions.
        runners: the runs by name; at most six.
        title: the title of the figure.
        caption: the text below it.
        along: the label of the horizontal axis of the losses.
    """
    with style.drawing(9.0, 4.4) as figure:
        _Stage(figure, surface, runners, title, caption, along)
        return figure


def animate_race(
    surface: Surface,
    runners: Mapping[str, Runner],
    title: str,
    caption: str,
    along: str,
    path: Path,
) -> None:
    """Writes `draw_race` as an animated GIF, with frames at logarithmically spaced steps."""
    last = max(int(runner.step[-1]) for runner in runners.values())
    moments = np.unique(np.geomspace(1, max(last, 1), _FRAMES).round().astype(int))
    frames = [0, *moments, *[last] * _HOLD]
    with style.drawing(9.0, 4.4) as figure:
        figure.set_dpi(_DOTS)
        stage = _Stage(figure, surface, runners, title, caption, along)
        pictures = [Image.fromarray(picture) for picture in stage.pictures(frames)]
    film, *rest = [picture.convert("P", palette=Image.Palette.ADAPTIVE) for picture in pictures]
    film.save(path, save_all=True, append_images=rest, duration=1000 // _PER_SECOND, loop=0)


class _Stage:
    """A figure of runs that can be drawn up to any step."""

    def __init__(
        self,
        figure: Figure,
        surface: Surface,
        runners: Mapping[str, Runner],
        title: str,
        caption: str,
        along: str,
    ) -> None:
        self._figure = figure
        left, right = figure.subplots(1, 2, width_ratios=(1.2, 1.0))
        figure.subplots_adjust(left=0.075, right=0.985, top=0.88, wspace=0.2)
        finite = {
            name: runner.point[np.isfinite(runner.point).all(axis=1)]
            for name, runner in runners.items()
        }
        part = self._slice(surface, list(finite.values()))
        draw_contours(left, surface, part)
        self._lines: list[tuple[Any, np.ndarray, np.ndarray]] = []
        minimum = surface.minimum
        looks = zip(style.CYCLE, style.DASHES, strict=True)
        for (name, runner), (colour, dash) in zip(runners.items(), looks, strict=False):
            way = clipped(finite[name], part)
            gap = runner.loss if minimum is None else runner.loss - float(minimum)
            shown = np.where(np.isfinite(gap), gap, np.nan)
            line_style = style.dash(dash, shown)
            (line,) = left.plot(*way.T, color=colour, linestyle=line_style, label=name, zorder=3)
            (end,) = left.plot(*way[-1:].T, "o", color=colour, markersize=4, zorder=5)
            (curve,) = right.plot(runner.step, shown, color=colour, linestyle=line_style)
            self._lines.append((line, runner.step[: len(way)], way))
            self._lines.append((end, runner.step[: len(way)], way))
            self._lines.append((curve, runner.step, np.column_stack([runner.step, shown])))
        start = next(iter(finite.values()))[:1]
        draw_marks(left, part, start, "o", style.INK, "start", 5)
        draw_known_points(left, surface, part)
        _set_heights(right, minimum is not None)
        right.set_xlabel(along)
        style.legend_below(figure, left, columns=4)
        figure.suptitle(title, fontsize=10)
        style.caption(figure, caption)

    @staticmethod
    def _slice(surface: Surface, paths: list[np.ndarray]) -> Slice:
        """Returns a slice that contains all parts of the paths inside the domain."""
        low, high = np.array(surface.domain).T
        inside = [path[((path >= low) & (path <= high)).all(axis=1)] for path in paths]
        longest = max(inside, key=len)
        together = np.concatenate([*inside, longest[-1:]])
        return slice_along(surface, together)

    def pictures(self, moments: Sequence[int]) -> Iterator[np.ndarray]:
        """Yields a picture ``(height, width, 3)`` of the runs up to each of some steps.

        What does not move is drawn only once, since the contours take most of 0.3 s.
        """
        canvas: Any = self._figure.canvas
        for line, _, _ in self._lines:
            line.set_animated(True)
        canvas.draw()
        still = canvas.copy_from_bbox(self._figure.bbox)
        for moment in moments:
            canvas.restore_region(still)
            for line, step, way in self._lines:
                known = way[: int(np.searchsorted(step, moment, side="right"))]
                line.set_data(*(known[-1:] if line.get_marker() == "o" else known).T)
                line.axes.draw_artist(line)
            yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _set_heights(axes: Axes, known: bool) -> None:
    """Labels and scales the axes of the losses."""
    lines = [line.get_ydata() for line in axes.get_lines()]
    heights = np.concatenate([np.asarray(line, float) for line in lines])
    first = np.array([np.asarray(line, float)[0] for line in lines])
    style.scale_losses(axes, heights, first)
    axes.set(ylabel="loss - minimum" if known else "loss", title="loss")
    axes.grid(True, linewidth=0.3, color="#cccccc")
