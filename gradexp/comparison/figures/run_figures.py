"""Figures of runs, made from the traces in their folders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from gradexp.comparison import Sample
from gradexp.comparison.figures.selection import (
    alike,
    contenders,
    names_of,
    on_one_surface,
    surface_of,
)
from gradexp.comparison.sample import Setting, pluralize, rows_with
from gradexp.comparison.table import format_number
from gradexp.config.build import recorded
from gradexp.plots.contact_sheet import Picture, draw_contact_sheet
from gradexp.plots.curves import Band, band, draw_curves
from gradexp.plots.race import Runner, animate_race, draw_race
from gradexp.plots.relief import draw_relief
from gradexp.plots.starts import draw_starts
from gradexp.results import read_run
from gradexp.surfaces import Surface

_CURVES = 64
"""Maximum number of runs of a setting that are read for its curve."""

_ALONG = {"step": "step", "evaluations": "gradient evaluations"}
"""The arrays of a trace that curves are plotted against, with their axis labels."""

_PICTURES = 25
"""Maximum number of runs on a contact sheet."""

_STARTS, _FEWEST_STARTS = 1024, 8
"""Maximum number of runs in the figure of starts, and minimum number of different starts."""


class Race(NamedTuple):
    """Runs of several settings on one surface from one start."""

    surface: Surface
    runners: dict[str, Runner]
    title: str
    caption: str
    along: str
    """axis label for the runners' steps"""


def unrecorded(sample: Sample) -> dict[str, list[str]]:
    """Returns the figures that cannot be drawn, by the array that the best run did not record."""
    best = on_one_surface(sample).settings[0][1]
    trace, dim = read_run(Path(best["folder"][0]))[0], best["run.dim"][0]
    needs = {"loss": ["curves"], "point": ["trajectories", "relief"] if dim > 1 else []}
    if dim == 2 and len(best) >= _FEWEST_STARTS:
        needs["point"].append("starts")
    return {part: names for part, names in needs.items() if part not in trace and names}


def curves(sample: Sample, ordered: Sequence[Setting]) -> Figure | None:
    """Draws the losses of settings against steps, or gradient evaluations."""
    along = _along(sample)
    bands = bands_of(ordered, along)
    if not bands:
        return None
    known = bool(sample.runs["run.minimum"].notna().all())
    read = sum(some.runs for some in bands.values())
    told = f"{read:,} of {pluralize(len(sample.runs), 'run')}{alike(ordered)}; "
    told += sample.missing_summary()
    told += "; medians, bands from the first to the third quartile" if sample.repeat_keys else ""
    longest = max(int(some.step[-1]) for some in bands.values())
    label = "loss - minimum" if known else "loss"
    title = f"{surface_of(sample)}: loss by setting"
    return draw_curves(bands, label, title, told, log_steps=longest >= 10_000, along=_ALONG[along])


def _along(sample: Sample) -> str:
    """Returns the key of `_ALONG` that curves are plotted against."""
    return "evaluations" if sample.counts_evaluations else "step"


def bands_of(ordered: Sequence[Setting], along: str = "step") -> dict[str, Band]:
    """Returns the quartiles of the loss gap by setting, for settings with recorded losses.

    If the minimum of a run's surface is not known, its loss is used in place of the gap.

    Args:
        ordered: the settings with their runs.
        along: a key of `_ALONG`: ``step``, or ``evaluations`` for traces that have them.
    """
    bands = {}
    names = names_of([values for values, _ in ordered])
    for name, (_, runs) in zip(names, ordered, strict=True):
        found = []
        for _, run in runs.frame().head(_CURVES).iterrows():
            trace = read_run(Path(run["folder"]))[0]
            if "loss" in trace:
                least = 0.0 if math.isnan(run["run.minimum"]) else run["run.minimum"]
                step = trace.get(along, trace["step"])
                found.append((step, trace["loss"].astype(float) - least))
        if found:
            bands[name] = band(found)
    return bands


def race(sample: Sample, ordered: Sequence[Setting]) -> Race | None:
    """Selects a run of each setting, all with the same repeats, such as start and seed.

    Returns:
        The race, without the settings that have no such run; None if one of the runs did not record
        its points, or the surface has only one dimension.
    """
    keys = list(sample.repeat_keys)
    first = ordered[0][1].frame().iloc[0]
    runners: dict[str, Runner] = {}
    surface: Surface | None = None
    names = names_of([values for values, _ in ordered])
    for name, (_, runs) in zip(names, ordered, strict=True):
        shared = rows_with(runs.frame(), {key: first[key] for key in keys})
        if shared.empty:
            continue
        folder = Path(shared["folder"].iloc[0])
        trace = read_run(folder)[0]
        if "point" not in trace or trace["point"].shape[1] < 2:
            return None
        surface = surface or recorded(folder).surface
        word = shared["outcome"].iloc[0]
        step = trace.get(_along(sample), trace["step"])
        runners[f"{name}: {word}"] = Runner(step, trace["loss"], trace["point"])
    if surface is None:
        return None
    start = ", ".join(f"{key} {format_number(first[key])}" for key in keys)
    told = f"{len(runners)} of {pluralize(len(sample.runs), 'run')}, one of each setting"
    told += f", from one start ({start})" if start else ""
    told += f"{alike(ordered)}; {sample.missing_summary()}"
    cut = "" if surface.dim == 2 else ", a slice"
    title = f"{surface.label().replace('_', ' ')}{cut}"
    return Race(surface, runners, title, told, _ALONG[_along(sample)])


def trajectories(sample: Sample, ordered: Sequence[Setting]) -> Figure | None:
    """Draws the trajectories of settings from one start, beside their losses."""
    found = race(sample, ordered)
    return None if found is None else draw_race(*found)


def animate(sample: Sample, path: Path) -> str | None:
    """Writes an animation of the `contenders` and returns its caption; None if there is no race."""
    one = on_one_surface(sample)
    found = race(one, contenders(one))
    if found is None:
        return None
    animate_race(*found, path)
    return f"{found.title}. {found.caption}"


def contact_sheet(sample: Sample) -> Figure | None:
    """Draws small pictures of the trajectories of runs, picked evenly from all runs."""
    at = np.linspace(0, len(sample.runs) - 1, min(_PICTURES, len(sample.runs))).round().astype(int)
    pictures = []
    for _, run in sample.runs.iloc[at].iterrows():
        trace = read_run(Path(run["folder"]))[0]
        if "point" not in trace or trace["point"].shape[1] < 2:
            return None
        told = ", ".join(
            format_number(run[key], 2) for key in (*sample.setting_keys, *sample.repeat_keys)
        )
        pictures.append(Picture(f"{run['job']}", told, str(run["outcome"]), trace["point"]))
    surface = recorded(Path(sample.runs["folder"].iloc[0])).surface
    keys = ", ".join(key.rpartition(".")[2] for key in (*sample.setting_keys, *sample.repeat_keys))
    told = (
        f"{len(pictures)} of {pluralize(len(sample.runs), 'run')}, evenly picked; by each its job"
    )
    told += f", how it ended, and below its {keys}" if keys else " and how it ended"
    told += f"; {sample.missing_summary()}"
    return draw_contact_sheet(surface, pictures, surface.label().replace("_", " "), told)


def relief(sample: Sample) -> Figure | None:
    """Draws the first run of the best setting on a relief of its surface."""
    values, runs = sample.settings[0]
    run = runs.frame().iloc[0]
    trace = read_run(Path(run["folder"]))[0]
    if "point" not in trace or trace["point"].shape[1] < 2:
        return None
    surface = recorded(Path(run["folder"])).surface
    title = f"{surface.label().replace('_', ' ')}: {names_of([values])[0]}: {run['outcome']}"
    told = f"1 of {pluralize(len(sample.runs), 'run')}, the first of the best setting"
    return draw_relief(surface, trace["point"], title, told)


def starts(sample: Sample) -> Figure | None:
    """Draws the outcomes of the best setting's runs at their starts."""
    values, runs = sample.settings[0]
    begun, ended, words = [], [], []
    for _, run in runs.frame().head(_STARTS).iterrows():
        trace = read_run(Path(run["folder"]))[0]
        if "point" not in trace or trace["point"].shape[1] != 2:
            return None
        begun.append(trace["point"][0])
        ended.append(trace["point"][-1])
        words.append(str(run["outcome"]))
    start = np.array(begun, dtype=float)
    if len(np.unique(start, axis=0)) < _FEWEST_STARTS:
        return None
    surface = recorded(Path(runs["folder"][0])).surface
    title = f"outcome by start: {names_of([values])[0]}"
    told = f"{pluralize(len(start), 'run')} of one setting; lines lead to where they came to rest"
    return draw_starts(surface, start, np.array(ended, dtype=float), words, title, told)
