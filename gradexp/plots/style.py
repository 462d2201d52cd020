"""The style of all figures: muted surfaces, and colors that color-blind readers can distinguish."""

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

matplotlib.rcdefaults()  # ignore a matplotlibrc in the current folder: it may name programs

# From the palette of Okabe and Ito, "Color universal design" (2008).
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
"""The colors of several runs or settings, in order."""

DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
"""Their line styles, so that they can be distinguished without colors, too."""

_TURNS = 50
"""A line that changes direction more often than this is drawn without dashes."""

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
"""The color and marker of each outcome."""

FORMATS = ("png", "pdf", "svg")
"""The file formats in which figures can be saved."""

STYLE: Any = {
    "text.parse_math": False,  # names and values are shown literally, even with a $
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
    """Creates a figure of a size in inches, with the style in effect inside the context."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        yield figure


def dash(wish: Any, heights: np.ndarray) -> Any:
    """Returns the desired line style, or a solid one if a line oscillates too often for dashes."""
    turns = np.diff(np.sign(np.diff(heights[np.isfinite(heights)])))
    return "-" if np.count_nonzero(turns) > _TURNS else wish


def coordinate(index: int) -> str:
    """Returns the name of a coordinate: x₁ for index 0."""
    return f"x{str(index + 1).translate(_BELOW)}"


def name_powers(axis: Axis) -> None:
    """Labels the ticks of a logarithmic axis as powers of ten, such as 10⁻³.

    If the axis spans a factor of less than 50, minor ticks at 2 and 5 are labeled, too; otherwise
    there are no minor ticks, which take 2 ms each. The data must have been drawn already.
    matplotlib's own labels are formulas, whose parsing takes an eighth of a second per figure.
    """
    low, high = sorted(abs(end) or 1.0 for end in axis.get_view_interval())
    axis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))
    if axis.get_scale() != "log" or high > 50 * low:
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
        axis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def scale_losses(axes: Axes, heights: np.ndarray, first: np.ndarray) -> None:
    """Makes the vertical axis of losses logarithmic, and symmetrically so if some are negative.

    The axis ends a little above the first losses, so that diverging lines leave it.

    Args:
        axes: the axes in which the losses have been drawn.
        heights: all losses.
        first: the first loss of each line.
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
    """Returns a power of ten with its exponent, such as 10⁻³, and other numbers unchanged."""
    if value == 0:
        return "0"
    exponent = math.log10(abs(value))
    if abs(exponent - round(exponent)) > 1e-6:
        return f"{value:g}"
    sign = "-" if value < 0 else ""
    return f"{sign}10{str(round(exponent)).translate(_ABOVE)}"


CAPTION = "caption"
"""The group id (gid) of the text of a figure that is its caption."""


def caption(figure: Figure, text: str) -> None:
    """Writes a caption at the bottom of a figure."""
    look: Any = {"fontsize": 6.5, "color": QUIET, "ha": "left", "va": "bottom", "wrap": True}
    figure.text(0.01, 0.01, text, gid=CAPTION, **look)


def legend_below(figure: Figure, axes: Axes, columns: int) -> None:
    """Draws a legend below all axes of a figure and above its caption.

    Args:
        figure: the figure, whose bottom margin is adjusted.
        axes: the axes whose lines the legend names.
        columns: the maximum number of columns; fewer are used if the names are long.
    """
    handles, names = axes.get_legend_handles_labels()
    size, longest = 7.5, max(map(len, names), default=0)
    across = 72 * figure.get_figwidth()
    each = 0.56 * size * longest + 4.5 * size  # the sample line, and characters of average width
    columns = max(1, min(columns, int(across / each)))
    rows = math.ceil(len(names) / columns)
    high = 72 * figure.get_figheight()
    figure.subplots_adjust(bottom=(22 + 1.45 * size * rows + 38) / high)
    figure.legend(
        handles, names, loc="lower center", bbox_to_anchor=(0.5, 20 / high), ncols=columns,
        fontsize=size * min(1.0, across / each), borderaxespad=0.2,
    )  # fmt: skip


def png(figure: Figure) -> bytes:
    """Returns the figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Writes the figure in the format of the path's suffix: png, pdf or svg.

    Bitmaps have 200 dots per inch, for print. The same figure always gives the same file.
    """
    nameless = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
    kind = path.suffix.removeprefix(".")
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": "gradexp"}):
        figure.savefig(path, dpi=200, metadata=nameless[kind])
