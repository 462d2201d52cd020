"""The TensorBoard run that sums a sweep up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from gradexp.comparison import gather
from gradexp.figures import (
    bands_of,
    contact_sheet,
    contenders,
    heat_map,
    on_one_surface,
    profile,
    starts,
    trajectories,
)
from gradexp.mistakes import Mistake
from gradexp.plots import png
from gradexp.results import is_whole
from gradexp.tensorboard import Curve, write_summary

FOLDER = "summary"

_SETTINGS = 32
"""Settings that have a curve: of more, the best ones."""

_SHEET = 17
"""Runs from which on there is a contact sheet: fewer have a figure each."""


def write_overview(sweep: Path, started: float) -> Path:
    """Writes ``summary/`` in a sweep's folder: curves by setting, and the comparison's figures.

    Args:
        sweep: its folder.
        started: when it began, in seconds since 1970.

    Returns:
        The event file.

    Raises:
        Mistake: none of its runs can be compared, or one of them is where it would be written.
    """
    if is_whole(sweep / FOLDER):
        raise Mistake("hydra.sweep.subdir", FOLDER, "is the folder of a run")
    sample = gather([sweep])
    one = on_one_surface(sample)
    curves = {
        name: Curve(band.step, band.low, band.middle, band.high)
        for name, band in bands_of(sample.settings[:_SETTINGS]).items()
    }
    ordered = contenders(one)
    makers: dict[str, Callable[[], Figure | None]] = {
        "heat_map": lambda: heat_map(one),
        "trajectories": lambda: trajectories(one, ordered),
        "contact_sheet": lambda: contact_sheet(one) if len(one.runs) >= _SHEET else None,
        "starts": lambda: starts(one),
        "profiles": lambda: profile(sample),
    }
    drawn = {name: make() for name, make in makers.items()}
    images = {name: png(figure) for name, figure in drawn.items() if figure is not None}
    return write_summary(sweep / FOLDER, started=started, curves=curves, images=images)
