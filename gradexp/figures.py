"""The figures of a comparison: what is read from run folders, and drawn."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from gradexp.comparison import Sample
from gradexp.comparison.arrivals import middle, quantiles
from gradexp.comparison.forgiveness import by_rate
from gradexp.comparison.profiles import best_first, ratios, times
from gradexp.comparison.sample import LR, MOMENTUM, Setting, counted, having
from gradexp.comparison.table import last_part, number
from gradexp.experiment import recorded
from gradexp.plots.contact_sheet import Picture, draw_contact_sheet
from gradexp.plots.curves import Band, band, draw_curves
from gradexp.plots.heat_map import draw_heat_map
from gradexp.plots.learning_rates import draw_learning_rates
from gradexp.plots.profile import draw_profile
from gradexp.plots.race import Runner, animate_race, draw_race
from gradexp.plots.relief import draw_relief
from gradexp.plots.starts import draw_starts
from gradexp.results import read_run
from gradexp.surfaces import Surface

_CONTENDERS = 6
"""Settings that are drawn together."""

_CURVES = 64
"""Runs of a setting that are read for its curve."""

_PICTURES = 25
"""Runs of a contact sheet."""

_STARTS, _FEWEST_STARTS = 1024, 8
"""Runs that are drawn by their starts, and how many there must be."""


class Race(NamedTuple):
    """Runs of several settings on one surface from one start."""

    surface: Surface
    runners: dict[str, Runner]
    title: str
    caption: str


def figures(sample: Sample) -> Iterator[tuple[str, Figure]]:
    """The figures that a sample has something to show in, by name."""
    one = on_one_surface(sample)
    ordered = contenders(one)
    makers: tuple[tuple[str, Callable[[], Figure | None]], ...] = (
        ("heat_map", lambda: heat_map(one)),
        ("curves", lambda: curves(one, ordered)),
        ("trajectories", lambda: trajectories(one, ordered)),
        ("relief", lambda: _relief(one)),
        ("starts", lambda: starts(one)),
        ("profiles", lambda: profile(sample)),
        ("learning_rates", lambda: learning_rates(sample)),
    )
    for name, make in makers:
        figure = make()
        if figure is not None:
            yield name, figure


def unrecorded(sample: Sample) -> dict[str, list[str]]:
    """The figures that cannot be drawn, by what they need that the best run has no record of."""
    best = on_one_surface(sample).settings[0][1]
    trace, dim = read_run(Path(best["folder"][0]))[0], best["run.dim"][0]
    needs = {"loss": ["curves"], "point": ["trajectories", "relief"] if dim > 1 else []}
    if dim == 2 and len(best) >= _FEWEST_STARTS:
        needs["point"].append("starts")
    return {part: names for part, names in needs.items() if part not in trace and names}


def on_one_surface(sample: Sample) -> Sample:
    """The runs on the surface of the best setting: losses of different ones are not compared."""
    if not sample.problem:
        return sample
    first = sample.settings[0][1].frame().iloc[0]
    runs = having(sample.runs, {key: first[key] for key in sample.problem})
    repeats = tuple(key for key in sample.repeats if key not in sample.problem)
    return replace(sample, runs=runs, setting=sample.solver, repeats=repeats)


def contenders(sample: Sample) -> list[Setting]:
    """The settings that are drawn together: for each value of the other keys that at the best
    learning rate, or, where nothing but the learning rate differs, for learning rates. Where those
    are many, they are spread over all if they are numbers; else they are the best."""
    others = [key for key in sample.setting if key != LR] or list(sample.setting)
    best: dict[tuple[Any, ...], Setting] = {}
    for values, runs in sample.settings:
        best.setdefault(tuple(values[key] for key in others), (values, runs))
    found = list(best.items())  # the best first
    if not all(_is_numeric(sample.runs[key]) for key in others):
        found = found[:_CONTENDERS]
    ordered = sorted(found, key=lambda item: [_order(value) for value in item[0]])
    chosen = np.linspace(0, len(ordered) - 1, min(_CONTENDERS, len(ordered))).round()
    return [ordered[int(index)][1] for index in chosen]


def _order(value: Any) -> tuple[bool, float, str]:
    """Numbers by size, then words."""
    is_number = isinstance(value, int | float)
    return (not is_number, float(value) if is_number else 0.0, str(value))


def names_of(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Settings as a legend has them: those of their keys that differ, by their last part, numbers
    as short as tells them apart."""
    keys = list(settings[0]) if settings else []
    differ = [key for key in keys if len({str(values[key]) for values in settings}) > 1] or keys
    for digits in (3, 6, 17):
        names = [
            ", ".join(f"{last_part(key)} {number(values[key], digits)}" for key in differ)
            for values in settings
        ]
        if len(set(names)) == len(names):
            break
    return [name or "all runs" for name in names]


def _is_numeric(column: pd.Series) -> bool:
    """Whether all values of a key are numbers."""
    kind = pd.api.types
    return bool(kind.is_numeric_dtype(column) and not kind.is_bool_dtype(column)) and bool(
        column.notna().all()
    )


def heat_map(sample: Sample) -> Figure | None:
    """The metric over learning rate and momentum, or the first two swept numbers."""
    numeric = [
        key
        for key in sample.setting
        if sample.runs[key].nunique() > 1 and _is_numeric(sample.runs[key])
    ]
    numeric.sort(key=lambda key: (key != LR, key != MOMENTUM))
    if len(numeric) < 2 or all(sample.runs[key].nunique() < 3 for key in numeric[:2]):
        return None
    across, up = numeric[:2]
    rest = [key for key in sample.setting if key not in (across, up)]
    fixed = {key: sample.settings[0][0][key] for key in rest}
    runs = having(sample.runs, fixed)
    some = replace(sample, runs=runs)
    x, y = (np.sort(runs[key].unique()).astype(float) for key in (across, up))
    values = np.full((len(y), len(x)), np.nan)
    words = np.full(values.shape, "", dtype=object)
    figure = some.every[sample.metric.column].astype(float)
    for cell, part in some.groups([across, up]):
        at = int(np.flatnonzero(y == cell[up])[0]), int(np.flatnonzero(x == cell[across])[0])
        if sample.metric.is_arrival:
            values[at] = quantiles(some.arrivals.take(part.rows), (0.5,))[0]
        else:
            values[at] = middle(figure[part.rows])[1]
        words[at] = Counter(part["outcome"]).most_common(1)[0][0]
    values[np.isinf(values)] = np.nan
    chosen = f"{names_of([fixed])[0]}; " if rest else ""
    over = f" over {', '.join(sample.repeats)}" if sample.repeats else ""
    how = "medians by Kaplan-Meier" if sample.metric.is_arrival else "medians"
    told = f"{chosen}{counted(len(runs), 'run')}{over}; {sample.lacking()}; {how}"
    label = "steps" if sample.metric.is_arrival else sample.metric.label
    label = f"median {label}" if sample.repeats else label
    return draw_heat_map(
        x, y, values, words, names=(across, up), label=label,
        title=f"{_surface_of(sample)}: {sample.metric.label}",
        caption=told, edge=_edge(runs, across, up),
    )  # fmt: skip


def _edge(runs: pd.DataFrame, across: str, up: str) -> tuple[np.ndarray, np.ndarray] | None:
    """The predicted edge of stability by the other number, where that can be drawn."""
    if across != LR:
        return None
    known = runs.dropna(subset=["theory.edge"]).groupby(up)["theory.edge"].median()
    return (known.to_numpy(), known.index.to_numpy(float)) if len(known) > 1 else None


def curves(sample: Sample, ordered: Sequence[Setting]) -> Figure | None:
    """The losses of settings along the steps."""
    bands = bands_of(ordered)
    if not bands:
        return None
    known = bool(sample.runs["run.minimum"].notna().all())
    read = sum(some.runs for some in bands.values())
    told = f"{read:,} of {counted(len(sample.runs), 'run')}{_alike(ordered)}; {sample.lacking()}"
    told += "; medians, bands from the first to the third quartile" if sample.repeats else ""
    longest = max(int(some.step[-1]) for some in bands.values())
    label = "loss - minimum" if known else "loss"
    title = f"{_surface_of(sample)}: loss by setting"
    return draw_curves(bands, label, title, told, log_steps=longest >= 10_000)


def _surface_of(sample: Sample) -> str:
    """The name of the surface of the best run."""
    surface = recorded(Path(sample.settings[0][1]["folder"][0])).surface
    return surface.label().replace("_", " ")


def _alike(settings: Sequence[Setting]) -> str:
    """What settings that are drawn together have in common, and were chosen by."""
    first = settings[0][0]
    same = {
        key: value
        for key, value in first.items()
        if len({str(values[key]) for values, _ in settings}) == 1
    }
    told = f"; all with {names_of([same])[0]}" if same and len(settings) > 1 else ""
    return f"{told}; each at its best learning rate" if LR in first and len(first) > 1 else told


def bands_of(ordered: Sequence[Setting]) -> dict[str, Band]:
    """The quartiles of the loss gap, or the loss, by setting, where losses were recorded."""
    bands = {}
    names = names_of([values for values, _ in ordered])
    for name, (_, runs) in zip(names, ordered, strict=True):
        found = []
        for _, run in runs.frame().head(_CURVES).iterrows():
            trace = read_run(Path(run["folder"]))[0]
            if "loss" in trace:
                least = 0.0 if math.isnan(run["run.minimum"]) else run["run.minimum"]
                found.append((trace["step"], trace["loss"].astype(float) - least))
        if found:
            bands[name] = band(found)
    return bands


def race(sample: Sample, ordered: Sequence[Setting]) -> Race | None:
    """A run of each setting, all from one start, where there is one that they share."""
    keys = list(sample.repeats)
    first = ordered[0][1].frame().iloc[0]
    runners: dict[str, Runner] = {}
    surface: Surface | None = None
    names = names_of([values for values, _ in ordered])
    for name, (_, runs) in zip(names, ordered, strict=True):
        shared = having(runs.frame(), {key: first[key] for key in keys})
        if shared.empty:
            continue
        folder = Path(shared["folder"].iloc[0])
        trace = read_run(folder)[0]
        if "point" not in trace or trace["point"].shape[1] < 2:
            return None
        surface = surface or recorded(folder).surface
        word = shared["outcome"].iloc[0]
        runners[f"{name}: {word}"] = Runner(trace["step"], trace["loss"], trace["point"])
    if surface is None:
        return None
    start = ", ".join(f"{key} {number(first[key])}" for key in keys)
    told = f"{len(runners)} of {counted(len(sample.runs), 'run')}, one of each setting"
    told += f", from one start ({start})" if start else ""
    told += f"{_alike(ordered)}; {sample.lacking()}"
    cut = "" if surface.dim == 2 else ", a slice"
    return Race(surface, runners, f"{surface.label().replace('_', ' ')}{cut}", told)


def trajectories(sample: Sample, ordered: Sequence[Setting]) -> Figure | None:
    """The ways of settings from one start, beside their losses."""
    found = race(sample, ordered)
    return None if found is None else draw_race(*found)


def animate(sample: Sample, path: Path) -> str | None:
    """Writes the race of the contenders as an animation, where there is one; tells what it is."""
    one = on_one_surface(sample)
    found = race(one, contenders(one))
    if found is None:
        return None
    animate_race(*found, path)
    return f"{found.title}. {found.caption}"


def contact_sheet(sample: Sample) -> Figure | None:
    """The ways of runs, evenly picked out of all."""
    at = np.linspace(0, len(sample.runs) - 1, min(_PICTURES, len(sample.runs))).round().astype(int)
    pictures = []
    for _, run in sample.runs.iloc[at].iterrows():
        trace = read_run(Path(run["folder"]))[0]
        if "point" not in trace or trace["point"].shape[1] < 2:
            return None
        told = ", ".join(number(run[key], 2) for key in (*sample.setting, *sample.repeats))
        pictures.append(Picture(f"{run['job']}", told, str(run["outcome"]), trace["point"]))
    surface = recorded(Path(sample.runs["folder"].iloc[0])).surface
    keys = ", ".join(key.rpartition(".")[2] for key in (*sample.setting, *sample.repeats))
    told = f"{len(pictures)} of {counted(len(sample.runs), 'run')}, evenly picked; by each its job"
    told += f", how it ended, and below its {keys}" if keys else " and how it ended"
    told += f"; {sample.lacking()}"
    return draw_contact_sheet(surface, pictures, surface.label().replace("_", " "), told)


def _relief(sample: Sample) -> Figure | None:
    """The first run of the best setting on its surface."""
    values, runs = sample.settings[0]
    run = runs.frame().iloc[0]
    trace = read_run(Path(run["folder"]))[0]
    if "point" not in trace or trace["point"].shape[1] < 2:
        return None
    surface = recorded(Path(run["folder"])).surface
    title = f"{surface.label().replace('_', ' ')}: {names_of([values])[0]}: {run['outcome']}"
    told = f"1 of {counted(len(sample.runs), 'run')}, the first of the best setting"
    return draw_relief(surface, trace["point"], title, told)


def starts(sample: Sample) -> Figure | None:
    """The outcomes of the best setting by start."""
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
    told = f"{counted(len(start), 'run')} of one setting; lines lead to where they came to rest"
    return draw_starts(surface, start, np.array(ended, dtype=float), words, title, told)


def profile(sample: Sample) -> Figure | None:
    """The performance profile of solvers across surfaces."""
    if not sample.spans_surfaces:
        return None
    some = times(sample, sample.metric)
    found = ratios(some)
    best = best_first(found)[:_CONTENDERS]
    names = names_of([some.solvers[index] for index in best])
    rises = {name: found[:, index] for name, index in zip(names, best, strict=True)}
    told = f"{counted(len(some.problems), 'problem')}; {counted(len(sample.runs), 'run')}; "
    told += f"{sample.lacking()}; solved: {sample.metric.label}"
    return draw_profile(rises, "performance profile", told)


def learning_rates(sample: Sample) -> Figure | None:
    """The steps of optimizers by their learning rate, on each surface."""
    others = [key for key in sample.solver if key != LR]
    if len(others) == len(sample.solver) or not others or not sample.metric.is_arrival:
        return None
    surfaces = sample.groups(sample.problem)[:_CONTENDERS]
    solvers = [values for values, _ in sample.groups(others)][:_CONTENDERS]
    names = dict(zip(map(str, solvers), names_of(solvers), strict=True))
    titles = names_of([values for values, _ in surfaces]) if sample.problem else [""]
    panels = {
        title: {
            names[str(values)]: by_rate(sample, runs)[:2]
            for values, runs in sample.groups(others, there)
            if str(values) in names
        }
        for title, (_, there) in zip(titles, surfaces, strict=True)
    }
    every = [steps for lines in panels.values() for _, steps in lines.values()]
    if max(np.count_nonzero(np.isfinite(steps)) for steps in every) < 2:
        return None  # there is no line to draw
    told = f"{counted(len(sample.runs), 'run')}; {sample.lacking()}; medians by Kaplan-Meier; "
    told += "no point where half of the runs did not arrive"
    return draw_learning_rates(
        panels, "median steps", f"{sample.metric.label}, by learning rate", told
    )
