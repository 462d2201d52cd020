"""Writes the TensorBoard run that summarizes a sweep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from gradexp.comparison import gather
from gradexp.comparison.figures import (
    bands_of,
    contact_sheet,
    contenders,
    heat_map,
    learning_rates,
    on_one_surface,
    profile,
    starts,
    trajectories,
)
from gradexp.errors import UserError
from gradexp.plots import png
from gradexp.plots.curves import Band
from gradexp.processes.workers import done_by, worthwhile
from gradexp.results import is_whole
from gradexp.results.tensorboard import Curve, write_summary

FOLDER = "summary"

_MAX_CURVES = 32
"""Maximum number of settings that have a curve; if there are more, the best ones do."""

_MIN_SHEET_RUNS = 17
"""Minimum number of runs for a contact sheet; with fewer, each run has a figure by default."""


def write_tensorboard_summary(sweep: Path, started: float) -> Path:
    """Writes ``summary/`` in a sweep's folder: curves by setting, and the comparison's figures.

    Args:
        sweep: the folder of the sweep.
        started: when the sweep began, in seconds since 1970.

    Returns:
        The path of the event file.

    Raises:
        UserError: If none of the runs can be compared, or ``summary/`` is the folder of a run or a
            symbolic link.
    """
    if is_whole(sweep / FOLDER):
        raise UserError("hydra.sweep.subdir", FOLDER, "is the folder of a run")
    if (sweep / FOLDER).is_symlink():
        reason = f"{sweep / FOLDER} is a symbolic link; gradexp does not write through it"
        raise UserError("", sweep, reason)
    sample = gather([sweep])
    one = on_one_surface(sample)
    ordered = contenders(one)
    is_large = len(one.runs) >= _MIN_SHEET_RUNS
    # The slowest first, so that no process is left with a slow one at the end.
    makers: dict[str, Callable[[], Figure | dict[str, Band] | None]] = {
        "trajectories": lambda: trajectories(one, ordered),
        "contact_sheet": lambda: contact_sheet(one) if is_large else None,
        "curves": lambda: bands_of(sample.settings[:_MAX_CURVES]),
        "heat_map": lambda: heat_map(one),
        "starts": lambda: starts(one),
        "profiles": lambda: profile(sample),
        # For numeric settings, the heat map shows the same.
        "learning_rates": lambda: (
            learning_rates(sample) if "optimizer" in sample.setting_keys else None
        ),
    }

    def make(name: str) -> bytes | dict[str, Band] | None:
        part = makers[name]()
        return png(part) if isinstance(part, Figure) else part

    names = list(makers)
    parts = dict(zip(names, done_by(worthwhile(len(names)), names, make), strict=True))
    bands = parts.pop("curves")
    assert isinstance(bands, dict)
    curves = {
        name: Curve(band.step, band.low, band.middle, band.high) for name, band in bands.items()
    }
    images = {name: part for name, part in parts.items() if isinstance(part, bytes)}
    return write_summary(sweep / FOLDER, started=started, curves=curves, images=images)


def warm_up() -> None:
    """Draws an empty figure, since the first figure of a process takes 0.2 s longer."""
    figure = Figure()
    figure.subplots().set_title("")
    png(figure)
