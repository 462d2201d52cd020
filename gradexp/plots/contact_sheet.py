"""Draws a contact sheet: small pictures of many runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from gradexp.plots import style
from gradexp.plots.contours import levels, slice_along, values
from gradexp.surfaces import Surface

_SIDE = 1.6
"""Side of a picture, in inches."""

_GAP, _TITLE = 0.04, 0.15
"""Gap between pictures and height of a title, as fractions of a picture's side."""

_LETTERS = 34
"""Maximum length of the text that describes a setting, in characters."""

_DOTS = 200
"""Pixels along a picture's side, to which trajectories are thinned."""


class Picture(NamedTuple):
    """One run on a contact sheet."""

    name: str
    setting: str
    """the values of the keys in which runs differ"""
    outcome: str
    point: np.ndarray
    """``(R, dim)``"""


def draw_contact_sheet(
    surface: Surface, pictures: Sequence[Picture], title: str, caption: str
) -> Figure:
    """Draws the trajectories of runs over one slice of their surface, colored by outcome.

    Args:
        surface: the surface of all runs, of at least two dimensions.
        pictures: the runs; at least one.
        title: the title of the sheet.
        caption: the text below it.
    """
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    with style.drawing(_SIDE * columns, _SIDE * rows + 0.6) as figure:
        # All in one pair of axes: a pair for each takes twenty times as long.
        axes = figure.add_axes(
            (0.0, 0.2 / (_SIDE * rows + 0.6), 1.0, _SIDE * rows / (_SIDE * rows + 0.6))
        )
        axes.set_axis_off()
        axes.set(xlim=(0, columns), ylim=(rows, 0))
        part = slice_along(surface, np.empty((0, surface.dim)))
        heights = values(surface, part)[2]
        order = matplotlib.colors.BoundaryNorm(levels(heights), 256)
        coloured = matplotlib.colormaps[style.SURFACE](order(heights.numpy()[::-1]), bytes=True)
        coloured[..., 3] = 140  # of 255: light enough to see the trajectories on it
        low, span = part.view[:, 0], part.view[:, 1] - part.view[:, 0]
        width, height = 1 - _GAP, 1 - _TITLE - _GAP / 2
        dots = len(heights) / width
        whole = np.zeros((round(rows * dots), round(columns * dots), 4), np.uint8)
        ways, colours = [], []
        for index, picture in enumerate(pictures):
            down, right = divmod(index, columns)
            left, top = right + _GAP / 2, down + _TITLE
            across = slice(round(left * dots), round((left + width) * dots))
            along = slice(round(top * dots), round((top + height) * dots))
            whole[along, across] = _resized(coloured, whole[along, across].shape[:2])
            colour = style.OUTCOMES[picture.outcome][0]
            colour = style.INK if picture.outcome == "budget" else colour
            share = (picture.point[:, list(part.coordinates)] - low) / span
            share = np.where(((share >= 0) & (share <= 1)).all(axis=1)[:, None], share, np.nan)
            share = _thinned(share)
            ways.append(np.stack([left + width * share[:, 0], top + height * (1 - share[:, 1])], 1))
            colours.append(colour)
            setting = picture.setting
            setting = setting if len(setting) <= _LETTERS else f"{setting[:_LETTERS]}…"
            name = f"{picture.name}: {picture.outcome}\n{setting}"
            look: Any = {"fontsize": 6, "color": style.INK, "va": "bottom", "linespacing": 1.1}
            axes.text(left, top - 0.01, name, **look)
        axes.add_collection(LineCollection(ways, colors=colours, linewidths=0.9), autolim=False)
        starts, ends = (np.stack([way[at] for way in ways]) for at in (0, -1))
        axes.scatter(starts[:, 0], starts[:, 1], s=6, c=style.INK, zorder=3)
        axes.scatter(ends[:, 0], ends[:, 1], s=8, c=colours, marker="s", zorder=3)
        # Passed as RGBA, since mapping every pixel of the sheet to a color takes 0.2 s.
        axes.imshow(whole, extent=(0, columns, rows, 0), interpolation="nearest")
        axes.set(xlim=(0, columns), ylim=(rows, 0), aspect="auto")
        figure.suptitle(title, fontsize=10, y=1 - 0.1 / (_SIDE * rows + 0.6), va="top")
        style.caption(figure, caption)
        return figure


def _thinned(way: np.ndarray) -> np.ndarray:
    """Removes the points of a trajectory ``(R, 2)`` that fall on the same pixel as the one before.

    The last point is kept. Thinning saves time, since each point of a line collection is drawn.
    """
    dots = np.round(way * _DOTS)
    moved = (dots[1:] != dots[:-1]).any(axis=1)  # also true to and from NaN
    return way[np.concatenate([[True], moved[:-1], [True]])] if len(way) > 1 else way


def _resized(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Resizes a picture by taking the nearest pixels."""
    rows, columns = (
        np.minimum(np.arange(size) * of // size, of - 1)
        for size, of in zip(shape, picture.shape[:2], strict=True)
    )
    resized: np.ndarray = picture[np.ix_(rows, columns)]
    return resized
