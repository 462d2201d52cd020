"""Figures of the data in the tables, for which no trace is read."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from gradexp.analysis.quartiles import median
from gradexp.comparison import Sample
from gradexp.comparison.figures.selection import CONTENDERS, is_numeric, names_of, surface_of
from gradexp.comparison.hitting_times import quantiles
from gradexp.comparison.profiles import (
    order_by_speed,
    performance_ratios,
    solver_times,
    solvers_by_speed,
)
from gradexp.comparison.sample import LR, MOMENTUM, RunSubset, pluralize, rows_with
from gradexp.plots.heat_map import draw_heat_map
from gradexp.plots.learning_rates import draw_learning_rates
from gradexp.plots.profile import draw_profile


def heat_map(sample: Sample) -> Figure | None:
    """Draws the metric over learning rate and momentum, or over the first two swept numbers."""
    numeric = [
        key
        for key in sample.setting_keys
        if sample.runs[key].nunique() > 1 and is_numeric(sample.runs[key])
    ]
    numeric.sort(key=lambda key: (key != LR, key != MOMENTUM))
    if len(numeric) < 2 or all(sample.runs[key].nunique() < 3 for key in numeric[:2]):
        return None
    across, up = numeric[:2]
    rest = [key for key in sample.setting_keys if key not in (across, up)]
    fixed = {key: sample.settings[0][0][key] for key in rest}
    runs = rows_with(sample.runs, fixed)
    some = replace(sample, runs=runs)
    x, y = (np.sort(runs[key].unique()).astype(float) for key in (across, up))
    values = np.full((len(y), len(x)), np.nan)
    words = np.full(values.shape, "", dtype=object)
    for cell, part in some.groups([across, up]):
        at = int(np.flatnonzero(y == cell[up])[0]), int(np.flatnonzero(x == cell[across])[0])
        if sample.metric.is_hitting_time:
            values[at] = quantiles(some.hitting_times.take(part.rows), (0.5,))[0]
        else:
            values[at] = some.quartiles(sample.metric, part)[1]
        words[at] = Counter(part["outcome"]).most_common(1)[0][0]
    values[np.isinf(values)] = np.nan
    chosen = f"{names_of([fixed])[0]}; " if rest else ""
    over = f" over {', '.join(sample.repeat_keys)}" if sample.repeat_keys else ""
    how = "medians by Kaplan-Meier" if sample.metric.is_hitting_time else "medians"
    told = f"{chosen}{pluralize(len(runs), 'run')}{over}; {sample.missing_summary()}; {how}"
    label = sample.metric.unit if sample.metric.is_hitting_time else sample.metric.label
    label = f"median {label}" if sample.repeat_keys else label
    return draw_heat_map(
        x, y, values, words, names=(across, up), label=label,
        title=f"{surface_of(sample)}: {sample.metric.label}",
        caption=told, edge=_edge(runs, across, up),
    )  # fmt: skip


def _edge(runs: pd.DataFrame, across: str, up: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the predicted edge of stability as a line, or None if it cannot be drawn."""
    if across != LR:
        return None
    edges = runs.dropna(subset=["theory.edge"]).groupby(up)["theory.edge"]
    known = {height: median(some.to_numpy(float)) for height, some in edges}
    return (np.array([*known.values()]), np.array([*known], float)) if len(known) > 1 else None


def profile(sample: Sample) -> Figure | None:
    """Draws the performance profiles of solvers across surfaces."""
    if not sample.spans_surfaces:
        return None
    some = solver_times(sample, sample.metric)
    found = performance_ratios(some)
    others = [key for key in sample.solver_keys if key != LR] or list(sample.solver_keys)
    first: dict[str, int] = {}  # each at its best learning rate
    for index in order_by_speed(found):
        first.setdefault(str([some.solvers[index][key] for key in others]), int(index))
    best = sorted(list(first.values())[:CONTENDERS])  # in the order of the other figures
    names = names_of([some.solvers[index] for index in best])
    rises = {name: found[:, index] for name, index in zip(names, best, strict=True)}
    told = f"{len(best)} of {pluralize(len(some.solvers), 'setting')}"
    told += ", each at its best learning rate" if others != list(sample.solver_keys) else ""
    told += f"; {pluralize(len(some.problems), 'problem')}; {sample.missing_summary()}"
    told += f"; solved: {sample.metric.label}"
    return draw_profile(rises, sample.metric.unit, "performance profile", told)


def learning_rates(sample: Sample) -> Figure | None:
    """Draws the steps, or another metric, of optimizers by learning rate on each surface."""
    others = [key for key in sample.solver_keys if key != LR]
    if len(others) == len(sample.solver_keys) or not others:
        return None
    surfaces = sample.groups(sample.surface_keys)
    every = [values for values, _ in sample.groups(others)]
    ranked = solvers_by_speed(sample) if sample.spans_surfaces else sample.settings
    best = {str({key: values[key] for key in others}): None for values, _ in ranked}
    drawn = list(best)[:CONTENDERS]
    contenders = [values for values in every if str(values) in drawn]
    names = dict(zip(map(str, contenders), names_of(contenders), strict=True))
    shown = surfaces[:CONTENDERS]
    titles = names_of([values for values, _ in shown]) if sample.surface_keys else [""]
    panels = {
        title: {
            names[str(values)]: _by_rate(sample, runs)
            for values, runs in sample.groups(others, there)
            if str(values) in names
        }
        for title, (_, there) in zip(titles, shown, strict=True)
    }
    panels = {title: lines for title, lines in panels.items() if lines}
    lines = [line for some in panels.values() for _, line in some.values()]
    if max((np.count_nonzero(np.isfinite(line)) for line in lines), default=0) < 2:
        return None  # there is no line to draw
    told = f"{pluralize(len(sample.runs), 'run')}; {sample.missing_summary()}"
    if len(every) > len(contenders):
        told += f"; the best {len(contenders)} of {len(every)} settings"
    if len(surfaces) > len(shown):
        told += f"; {len(shown)} of {len(surfaces)} surfaces"
    label = f"median {sample.metric.label}"
    if sample.metric.is_hitting_time:
        unit = sample.metric.unit
        label = f"{sample.ranking_label()}, {unit}" if sample.repeat_keys else unit
        told += (
            f"; {sample.criterion.definition()}" if sample.repeat_keys and sample.criterion else ""
        )
        few = "fewer than half of the runs" if sample.criterion_name == "median" else "no run"
        told += f"; where {few} arrived there is no point"
    else:
        told += "; where half of the runs diverged there is no point"
    return draw_learning_rates(
        panels, label, f"{sample.metric.label}, by learning rate", told,
        one_scale=sample.metric.is_hitting_time,
    )  # fmt: skip


def _by_rate(sample: Sample, runs: RunSubset) -> tuple[np.ndarray, np.ndarray]:
    """Returns the learning rates of runs, in ascending order, and the ranking value at each.

    A value is not finite if there is none at that learning rate.
    """
    if sample.criterion:
        groups = sample.groups([LR], runs)
        drawn = [
            sample.criterion.plot_value(sample.hitting_times.take(part.rows)) for _, part in groups
        ]
        return np.array([setting[LR] for setting, _ in groups], float), np.maximum(drawn, 1.0)
    groups = sample.groups([LR], runs)
    medians = [sample.quartiles(sample.metric, part)[1] for _, part in groups]
    return np.array([setting[LR] for setting, _ in groups], float), np.array(medians)
