"""One style for all figures: quiet surfaces, colours that colour-blind readers can tell apart."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

matplotlib.rcdefaults()  # not a matplotlibrc of the current folder: it may name programs

# Of the palette of Okabe and Ito, "Color universal design" (2008).
ORANGE, BLUE, GREEN, PINK = "#d55e00", "#0072b2", "#009e73", "#cc79a7"
SKY, AMBER = "#56b4e9", "#e69f00"

RUN = ORANGE
SECOND = BLUE
MINIMUM = GREEN
SADDLE = PINK
INK = "#333333"
QUIET = "#777777"
SURFACE = "Greys_r"
STEPS = "viridis"

CYCLE = (ORANGE, BLUE, GREEN, PINK, AMBER, SKY)
"""Colours of several runs or settings, in order."""

DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
"""Their lines, so that they are told apart without colours, too."""

_TURNS = 50

_ABOVE, _BELOW = (
    str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"),
    str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"),
)

OUTCOMES = {
    "converged": (GREEN, "o"),
    "noise_floor": (SKY, "P"),
    "saddle": (PINK, "X"),
    "plateau": (AMBER, "s"),
    "cycling": (BLUE, "D"),
    "diverged": (ORANGE, "^"),
    "budget": ("#999999", "."),
}
"""Colours and markers of the outcomes."""

FORMATS = ("png", "pdf", "svg")
"""The kinds of files that a figure is written to."""

STYLE: Any = {
    "text.parse_math": False,  # names and values are texts, whatever is in them
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.edgecolor": "#999999",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.2,
    "savefig.dpi": 110,
    "contour.negative_linestyle": "solid",
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """A figure of a size in inches, in the style while it is drawn."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        yield figure


def dash(wish: Any, heights: np.ndarray) -> Any:
    """A line's dashes, or none where it goes up and down so often that they cannot be seen."""
    turns = np.diff(np.sign(np.diff(heights[np.isfinite(heights)])))
    return "-" if np.count_nonzero(turns) > _TURNS else wish


def coordinate(index: int) -> str:
    """The name of a coordinate, x₁ for index 0."""
    return f"x{str(index + 1).translate(_BELOW)}"


def name_powers(axis: Axis) -> None:
    """Names the ticks of a logarithmic axis whose data are drawn: 10⁻³; where that leaves few,
    those between, too.

    matplotlib's own names are formulas, which it takes an eighth of a second a figure to read; and
    each of the small ticks between takes 2 ms.
    """
    low, high = sorted(abs(end) or 1.0 for end in axis.get_view_interval())
    axis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))
    if axis.get_scale() != "log" or high > 50 * low:
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
        axis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def scale_losses(axes: Axes, heights: np.ndarray, first: np.ndarray) -> None:
    """Makes the axis of drawn losses logarithmic, below 0 as well where they go there, and ends it
    a little above where they begin: what diverges leaves it.

    Args:
        axes: with the losses drawn.
        heights: all of them.
        first: of each line.
    """
    heights, first = heights[np.isfinite(heights)], first[np.isfinite(first)]
    if not len(heights):
        return
    below = bool((heights < 0).any())
    if below:
        axes.set_yscale("symlog")
    elif bool((heights > 0).any()):
        axes.set_yscale("log", nonpositive="mask")
    if len(first) and (top := float(first.max())) > 0:
        axes.set_ylim(top=min(30 * top, 2 * max(float(heights.max()), top)))
    if axes.get_yscale() != "linear":
        name_powers(axes.yaxis)


def power(value: float) -> str:
    """A power of ten as people write it; another number as it is."""
    if value == 0:
        return "0"
    exponent = math.log10(abs(value))
    if abs(exponent - round(exponent)) > 1e-6:
        return f"{value:g}"
    sign = "-" if value < 0 else ""
    return f"{sign}10{str(round(exponent)).translate(_ABOVE)}"


CAPTION = "caption"
"""What the text of a figure is marked with that says what stands behind it."""


def caption(figure: Figure, text: str) -> None:
    """What stands behind a figure, below it."""
    look: Any = {"fontsize": 6.5, "color": QUIET, "ha": "left", "va": "bottom", "wrap": True}
    figure.text(0.01, 0.01, text, gid=CAPTION, **look)


def legend_below(figure: Figure, axes: Axes, columns: int) -> None:
    """The names of the lines of axes, below all of the figure's, above its caption.

    Args:
        figure: has room made for it.
        axes: whose lines are named.
        columns: at most; as many as their names leave room for.
    """
    handles, names = axes.get_legend_handles_labels()
    size, longest = 7.5, max(map(len, names), default=0)
    across = 72 * figure.get_figwidth()
    each = 0.56 * size * longest + 4.5 * size  # a line, and letters as wide as most
    columns = max(1, min(columns, int(across / each)))
    rows = math.ceil(len(names) / columns)
    high = 72 * figure.get_figheight()
    figure.subplots_adjust(bottom=(22 + 1.45 * size * rows + 38) / high)
    figure.legend(
        handles, names, loc="lower center", bbox_to_anchor=(0.5, 20 / high), ncols=columns,
        fontsize=size * min(1.0, across / each), borderaxespad=0.2,
    )  # fmt: skip


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Writes the figure in the format of the path's ending: png, pdf or svg.

    Bitmaps are made for print, at 200 dots an inch. The same figure gives the same file.
    """
    nameless = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
    kind = path.suffix.removeprefix(".")
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": "gradexp"}):
        figure.savefig(path, dpi=200, metadata=nameless[kind])
