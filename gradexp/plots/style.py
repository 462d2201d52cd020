"""One style for all figures: quiet surfaces, colours that colour-blind readers can tell apart."""

from __future__ import annotations

from typing import Any

RUN = "#d55e00"
SECOND = "#0072b2"
MINIMUM = "#009e73"
SADDLE = "#cc79a7"
INK = "#333333"
SURFACE = "Greys_r"

STYLE: Any = {
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
}
