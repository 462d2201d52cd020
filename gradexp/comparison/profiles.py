"""Compares solvers across surfaces: performance profiles and shares of targets reached."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gradexp.analysis.metric import COLUMN_PREFIX, HITTING_TIME_PREFIXES, Metric
from gradexp.comparison.hitting_times import hitting_times
from gradexp.comparison.sample import Sample, Setting, pluralize
from gradexp.comparison.table import (
    Table,
    distinct_labels,
    format_key_columns,
    format_number,
    format_percent,
    format_steps,
)

_RATIOS = (1, 2, 4, 8, 16, 32)
"""The ratios at which the table gives the profile."""

_TIES = 1 + 1e-12
"""Tolerance for rounding in comparisons of ratios."""


class SolverTimes(NamedTuple):
    """The hitting times of each solver on each problem."""

    solvers: list[dict[str, Any]]
    problems: pd.DataFrame
    steps: np.ndarray
    """``(problems, solvers)``, infinite where the solver did not arrive"""
    dims: np.ndarray
    """``(problems,)``, the dimension of the surface; NaN where it is not known"""
    left_out: int
    """number of problems left out because not all solvers were run on them"""


def problem_keys(sample: Sample) -> list[str]:
    """Returns the keys that define a problem: the surface, the start and the seed."""
    return list(dict.fromkeys((*sample.surface_keys, *sample.repeat_keys)))


def solver_times(sample: Sample, metric: Metric) -> SolverTimes:
    """Returns the hitting times by problem (a surface with a start and a seed) and by solver."""
    keys = problem_keys(sample)
    runs = sample.runs
    number_of = runs.groupby(keys, dropna=False).ngroup().to_numpy()
    count = int(number_of.max()) + 1
    first = pd.Series(number_of).drop_duplicates().sort_values().index
    solvers, columns = [], []
    for values, some in sample.groups(sample.solver_keys):
        column = np.full(count, np.nan)
        column[number_of[some.rows]] = hitting_times(some, metric.column).times
        solvers.append(values)
        columns.append(column)
    problems = runs.iloc[first][keys].reset_index(drop=True)
    dims = runs.iloc[first]["run.dim"].to_numpy(float) if "run.dim" in runs else None
    dims = np.full(count, np.nan) if dims is None else dims
    taken = np.column_stack(columns)
    common = ~np.isnan(taken).any(axis=1)
    problems = problems[common].reset_index(drop=True)
    return SolverTimes(solvers, problems, taken[common], dims[common], int((~common).sum()))


def solvers_by_speed(sample: Sample) -> list[Setting]:
    """Returns the solvers of a sample with their runs, the best first (`order_by_speed`)."""
    groups = sample.groups(sample.solver_keys)
    return [
        groups[index]
        for index in order_by_speed(performance_ratios(solver_times(sample, sample.metric)))
    ]


def mean_relative_speeds(sample: Sample) -> list[float]:
    """Returns the mean relative speed of each solver of a sample, in descending order.

    On a problem, the relative speed of a solver is the steps of the fastest solver divided by its
    own. The mean is 1 for a solver that is the fastest on all problems, and 0 for one that never
    arrives.
    """
    found: list[float] = np.sort(_speed(performance_ratios(solver_times(sample, sample.metric))))[
        ::-1
    ].tolist()
    return found


def order_by_speed(found: np.ndarray) -> np.ndarray:
    """Returns the indices of solvers ordered by their mean relative speed (`mean_relative_speeds`).

    Args:
        found: ``(problems, solvers)``, as `ratios` returns it.
    """
    return np.argsort(-_speed(found), kind="stable")


def _speed(found: np.ndarray) -> np.ndarray:
    if not len(found):
        return np.zeros(found.shape[1])
    speed: np.ndarray = (1 / found).mean(axis=0)
    return speed


def performance_ratios(some: SolverTimes) -> np.ndarray:
    """Returns the performance ratios of Dolan and Moré: steps divided by those of the best solver.

    Returns:
        ``(problems, solvers)``, infinite where a solver did not arrive, which includes all solvers
        where none did.
    """
    taken = np.where(np.isnan(some.steps), np.inf, some.steps)
    best = taken.min(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Where the best solver starts at its goal, it takes no step: the ratio would be 0/0.
        found = np.where(best == 0, np.where(taken == 0, 1.0, np.inf), taken / best)
    return np.where(np.isfinite(best), found, np.inf)


def profiles_table(sample: Sample) -> Table | None:
    """Returns the share of problems that each solver solves within a multiple of the best's steps.

    This is the performance profile ρ(τ) of Dolan and Moré, "Benchmarking optimization software with
    performance profiles" (2002).

    Returns:
        The table; None if surfaces or solvers do not vary, if there is no problem that all solvers
        were run on, or if runs are not compared by a hitting time.
    """
    if not sample.spans_surfaces:
        return None
    some = solver_times(sample, sample.metric)
    if not len(some.problems):
        return None
    found = performance_ratios(some)
    frame = pd.DataFrame(some.solvers)
    for ratio in _RATIOS:
        frame[f"within_{ratio}"] = (found <= ratio * _TIES).mean(axis=0)
    frame["solved"] = np.isfinite(some.steps).mean(axis=0)
    frame["runs"] = (~np.isnan(some.steps)).sum(axis=0)
    order = [*(f"within_{ratio}" for ratio in _RATIOS), "solved"]
    frame = frame.iloc[np.argsort(-frame[order].sum(axis=1), kind="stable")].reset_index(drop=True)
    shown: dict[str, Any] = format_key_columns(frame, sample.solver_keys)
    for ratio in _RATIOS:
        head = "fastest %" if ratio == 1 else f"≤ {ratio}×"
        shown[head] = frame[f"within_{ratio}"].map(format_percent)
    shown["solved %"] = frame["solved"].map(format_percent)
    keys = ", ".join(problem_keys(sample))
    told = f"{sample.summary()}; {len(some.problems):,} problems ({keys}); {_left_out(some)}"
    told += f"solved: {sample.metric.label}; "
    told += f"≤ 2×: share solved within twice the {sample.metric.unit} of the best"
    return Table(
        "profiles", "Across surfaces: performance profiles", frame, pd.DataFrame(shown), told
    )


def targets_table(sample: Sample) -> Table | None:
    """Returns the share of pairs of problem and tolerance that each solver reaches in given steps.

    This is the empirical distribution of Hansen et al. (2009) over all recorded tolerances.

    Returns:
        The table, or None in the cases in which `profiles` returns None.
    """
    if not sample.spans_surfaces:
        return None
    (prefix,) = (start for start in HITTING_TIME_PREFIXES if sample.metric.name.startswith(start))
    unit, columns = sample.metric.unit, map(str, sample.runs)
    names = [
        column.removeprefix(COLUMN_PREFIX)
        for column in columns
        if column.startswith(COLUMN_PREFIX + prefix)
    ]
    reached = [solver_times(sample, Metric(name)) for name in names]
    if not len(reached[0].problems):
        return None
    most = max(int(sample.runs[f"metrics.{unit}"].max()), 1)
    budgets = [10**power for power in range(1, int(math.log10(most)) + 1)]
    budgets += [most] if budgets[-1:] != [most] else []
    frame = pd.DataFrame(reached[0].solvers)
    for budget in budgets:
        shares = [(some.steps <= budget).mean(axis=0) for some in reached]
        frame[f"by_{budget}"] = np.mean(shares, axis=0)
    per_dim = [some.steps / (some.dims[:, None] + 1) for some in reached]
    if not np.isnan(reached[0].dims).any():
        for budget in budgets:
            frame[f"by_{budget}_per_dim"] = np.mean(
                [(s <= budget).mean(axis=0) for s in per_dim], axis=0
            )
    order = [f"by_{budget}" for budget in budgets]
    frame = frame.iloc[np.argsort(-frame[order].sum(axis=1), kind="stable")].reset_index(drop=True)
    shown: dict[str, Any] = format_key_columns(frame, sample.solver_keys)
    for budget in budgets:
        shown[f"by {unit.removesuffix('s')} {budget:,}"] = frame[f"by_{budget}"].map(format_percent)
    tolerances = ", ".join(name.removeprefix(prefix) for name in names)
    told = f"{sample.summary()}; {_left_out(reached[0])}"
    told += f"% of problems × tolerances ({tolerances}) reached; saved besides: the "
    told += f"same by {unit} ÷ (dim + 1), the data profile of Moré and Wild (2009)"
    return Table("targets", "Across surfaces: targets reached", frame, pd.DataFrame(shown), told)


def _left_out(some: SolverTimes) -> str:
    """Returns the part of a footer that says how many problems are left out, if any are."""
    what = pluralize(some.left_out, "problem")
    return f"{what} that not all were run on left out; " if some.left_out else ""


def by_surface_table(sample: Sample) -> Table | None:
    """Returns the ranking value of each solver on each surface.

    Returns:
        The table; None if surfaces or solvers do not vary, or if runs are not compared by a
        hitting time.
    """
    if not sample.spans_surfaces or sample.criterion is None:
        return None
    rows = [values for values, _ in sample.groups(sample.solver_keys)]
    places = [values for values, _ in sample.groups(sample.surface_keys)]
    ranked = np.full((len(rows), len(places)), np.nan)
    arrived = np.zeros(ranked.shape, dtype=bool)
    for row, (_, runs) in enumerate(sample.groups(sample.solver_keys)):
        for surface, there in sample.groups(sample.surface_keys, runs):
            some = sample.hitting_times.take(there.rows)
            at = row, next(n for n, place in enumerate(places) if str(place) == str(surface))
            ranked[at], arrived[at] = sample.criterion.value(some), some.arrived > 0
    finite = np.where(arrived & np.isfinite(ranked), np.maximum(ranked, 1.0), np.inf)
    with np.errstate(invalid="ignore"):
        speed = np.nan_to_num(finite.min(axis=0) / finite).mean(axis=1)
    order = np.argsort(-speed, kind="stable")
    names = distinct_labels(places, _surface_name)
    frame = pd.DataFrame([rows[row] for row in order])
    frame = pd.concat([frame, pd.DataFrame(ranked[order], columns=names)], axis=1)
    shown: dict[str, Any] = format_key_columns(frame, sample.solver_keys)
    for name in names:
        shown[name] = ["" if math.isnan(v) else format_steps(v) for v in frame[name]]
    label, of = sample.criterion.label, sample.metric.label
    told = f"{sample.summary()}; {of}; the best first, by the mean over surfaces "
    told += f"of the least {label} ÷ its own; {sample.criterion.definition()}"
    title = f"Across surfaces: {label} on each"
    return Table("by_surface", title, frame, pd.DataFrame(shown), told)


def _surface_name(values: dict[str, Any], digits: int) -> str:
    return ", ".join(format_number(value, digits) for value in values.values())
