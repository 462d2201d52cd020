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
    times: np.ndarray
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
    problem_of = runs.groupby(keys, dropna=False).ngroup().to_numpy()
    count = int(problem_of.max()) + 1
    first = pd.Series(problem_of).drop_duplicates().sort_values().index
    solvers, columns = [], []
    for values, solver_runs in sample.groups(sample.solver_keys):
        column = np.full(count, np.nan)
        column[problem_of[solver_runs.rows]] = hitting_times(solver_runs, metric.column).times
        solvers.append(values)
        columns.append(column)
    problems = runs.iloc[first][keys].reset_index(drop=True)
    dims = runs.iloc[first]["run.dim"].to_numpy(float) if "run.dim" in runs else None
    dims = np.full(count, np.nan) if dims is None else dims
    times = np.column_stack(columns)
    common = ~np.isnan(times).any(axis=1)
    problems = problems[common].reset_index(drop=True)
    return SolverTimes(solvers, problems, times[common], dims[common], int((~common).sum()))


def solvers_by_speed(sample: Sample) -> list[Setting]:
    """Returns the solvers of a sample with their runs, the best first (`order_by_speed`)."""
    groups = sample.groups(sample.solver_keys)
    ratios = performance_ratios(solver_times(sample, sample.metric))
    return [groups[index] for index in order_by_speed(ratios)]


def mean_relative_speeds(sample: Sample) -> list[float]:
    """Returns the mean relative speed of each solver of a sample, in descending order.

    On a problem, the relative speed of a solver is the steps of the fastest solver divided by its
    own. The mean is 1 for a solver that is the fastest on all problems, and 0 for one that never
    arrives.
    """
    ratios = performance_ratios(solver_times(sample, sample.metric))
    speeds: list[float] = np.sort(_mean_relative_speeds(ratios))[::-1].tolist()
    return speeds


def order_by_speed(ratios: np.ndarray) -> np.ndarray:
    """Returns the indices of solvers ordered by their mean relative speed (`mean_relative_speeds`).

    Args:
        ratios: ``(problems, solvers)``, as `performance_ratios` returns it.
    """
    return np.argsort(-_mean_relative_speeds(ratios), kind="stable")


def _mean_relative_speeds(ratios: np.ndarray) -> np.ndarray:
    if not len(ratios):
        return np.zeros(ratios.shape[1])
    speeds: np.ndarray = (1 / ratios).mean(axis=0)
    return speeds


def performance_ratios(solved: SolverTimes) -> np.ndarray:
    """Returns the performance ratios of Dolan and Moré: steps divided by those of the best solver.

    Returns:
        ``(problems, solvers)``, infinite where a solver did not arrive, which includes all solvers
        where none did.
    """
    times = np.where(np.isnan(solved.times), np.inf, solved.times)
    best = times.min(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Where the best solver starts at its goal, it takes no step: the ratio would be 0/0.
        ratios = np.where(best == 0, np.where(times == 0, 1.0, np.inf), times / best)
    return np.where(np.isfinite(best), ratios, np.inf)


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
    solved = solver_times(sample, sample.metric)
    if not len(solved.problems):
        return None
    ratios = performance_ratios(solved)
    frame = pd.DataFrame(solved.solvers)
    for ratio in _RATIOS:
        frame[f"within_{ratio}"] = (ratios <= ratio * _TIES).mean(axis=0)
    frame["solved"] = np.isfinite(solved.times).mean(axis=0)
    frame["runs"] = (~np.isnan(solved.times)).sum(axis=0)
    order = [*(f"within_{ratio}" for ratio in _RATIOS), "solved"]
    frame = frame.iloc[np.argsort(-frame[order].sum(axis=1), kind="stable")].reset_index(drop=True)
    shown: dict[str, Any] = format_key_columns(frame, sample.solver_keys)
    for ratio in _RATIOS:
        head = "fastest %" if ratio == 1 else f"≤ {ratio}×"
        shown[head] = frame[f"within_{ratio}"].map(format_percent)
    shown["solved %"] = frame["solved"].map(format_percent)
    keys = ", ".join(problem_keys(sample))
    footer = f"{sample.summary()}; {pluralize(len(solved.problems), 'problem')} ({keys}); "
    footer += f"{_left_out(solved)}solved: {sample.metric.label}; "
    footer += f"≤ 2×: % solved within twice the {sample.metric.unit} of the fastest"
    title = "Across surfaces: performance profiles"
    return Table("profiles", title, frame, pd.DataFrame(shown), footer)


def targets_table(sample: Sample) -> Table | None:
    """Returns the share of pairs of problem and tolerance that each solver reaches in given steps.

    This is the empirical distribution of Hansen et al. (2009) over all recorded tolerances.

    Returns:
        The table, or None in the cases in which `profiles_table` returns None.
    """
    if not sample.spans_surfaces:
        return None
    name = sample.metric.name
    (prefix,) = (prefix for prefix in HITTING_TIME_PREFIXES if name.startswith(prefix))
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
        shares = [(solved.times <= budget).mean(axis=0) for solved in reached]
        frame[f"by_{budget}"] = np.mean(shares, axis=0)
    per_dim = [solved.times / (solved.dims[:, None] + 1) for solved in reached]
    has_dims = not np.isnan(reached[0].dims).any()
    if has_dims:
        for budget in budgets:
            shares = [(times <= budget).mean(axis=0) for times in per_dim]
            frame[f"by_{budget}_per_dim"] = np.mean(shares, axis=0)
    order = [f"by_{budget}" for budget in budgets]
    frame = frame.iloc[np.argsort(-frame[order].sum(axis=1), kind="stable")].reset_index(drop=True)
    shown: dict[str, Any] = format_key_columns(frame, sample.solver_keys)
    for budget in budgets:
        shown[f"by {unit.removesuffix('s')} {budget:,}"] = frame[f"by_{budget}"].map(format_percent)
    tolerances = ", ".join(name.removeprefix(prefix) for name in names)
    footer = f"{sample.summary()}; {_left_out(reached[0])}"
    footer += f"% of all pairs of a problem and a tolerance ({tolerances}) that were reached"
    if has_dims:
        footer += f"; the saved table also counts {unit} ÷ (dim + 1): the data profiles of Moré "
        footer += "and Wild (2009)"
    return Table("targets", "Across surfaces: targets reached", frame, pd.DataFrame(shown), footer)


def _left_out(solved: SolverTimes) -> str:
    """Returns the part of a footer that says how many problems are left out, if any are."""
    if not solved.left_out:
        return ""
    return f"{pluralize(solved.left_out, 'problem')} not run by all solvers left out; "


def by_surface_table(sample: Sample) -> Table | None:
    """Returns the ranking value of each solver on each surface.

    Returns:
        The table; None if surfaces or solvers do not vary, or if runs are not compared by a
        hitting time.
    """
    if not sample.spans_surfaces or sample.criterion is None:
        return None
    rows = [values for values, _ in sample.groups(sample.solver_keys)]
    surfaces = [values for values, _ in sample.groups(sample.surface_keys)]
    columns = {str(surface): column for column, surface in enumerate(surfaces)}
    values = np.full((len(rows), len(surfaces)), np.nan)
    arrived = np.zeros(values.shape, dtype=bool)
    for row, (_, solver_runs) in enumerate(sample.groups(sample.solver_keys)):
        for surface, runs in sample.groups(sample.surface_keys, solver_runs):
            hits = sample.hitting_times.take(runs.rows)
            cell = row, columns[str(surface)]
            values[cell], arrived[cell] = sample.criterion.value(hits), hits.arrived > 0
    finite = np.where(arrived & np.isfinite(values), np.maximum(values, 1.0), np.inf)
    with np.errstate(invalid="ignore"):
        speed = np.nan_to_num(finite.min(axis=0) / finite).mean(axis=1)
    order = np.argsort(-speed, kind="stable")
    names = distinct_labels(surfaces, _surface_name)
    frame = pd.DataFrame([rows[row] for row in order])
    frame = pd.concat([frame, pd.DataFrame(values[order], columns=names)], axis=1)
    shown: dict[str, Any] = format_key_columns(frame, sample.solver_keys)
    for name in names:
        shown[name] = ["" if math.isnan(v) else format_steps(v) for v in frame[name]]
    label = sample.criterion.label
    footer = f"{sample.summary()}; {sample.metric.label}; the best first, by the mean over "
    footer += f"surfaces of the smallest {label} ÷ its own; {sample.criterion.definition()}"
    title = f"Across surfaces: {label} on each surface"
    return Table("by_surface", title, frame, pd.DataFrame(shown), footer)


def _surface_name(values: dict[str, Any], digits: int) -> str:
    return ", ".join(format_number(value, digits) for value in values.values())
