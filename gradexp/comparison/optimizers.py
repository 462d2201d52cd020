"""Compares optimizers, each at its best learning rate and over all learning rates tried."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from gradexp.comparison.hitting_times import expected_running_time, quantile_lower_bound, quantiles
from gradexp.comparison.ranking import Criterion, format_arrived
from gradexp.comparison.sample import BUDGET, LR, RunSubset, Sample, Setting, pluralize
from gradexp.comparison.table import (
    Table,
    format_key_columns,
    format_number,
    format_percent,
    format_steps,
    format_with_interval,
    short_name,
)


class _Score(NamedTuple):
    """How well some runs did."""

    sort_key: tuple[float, ...]
    """smaller is better; the first item is infinite if the runs have no value to rank by"""
    columns: dict[str, Any]
    """values for the table"""


class _HittingTimeJudge:
    """Judges runs by their hitting times."""

    def __init__(self, sample: Sample, criterion: Criterion) -> None:
        self._hitting_times, self._unit = sample.hitting_times, sample.metric.unit
        self._criterion = criterion
        label = criterion.label
        self.footer = (
            f"best lr: the one with the smallest {label} (≤, ≥: at the end of the range tried); "
            f"all lr: over all learning rates tried; ÷ best: {label} ÷ the smallest on the surface"
            f"; {criterion.table_legend()}"
        )

    def score(self, runs: RunSubset) -> _Score:
        hits = self._hitting_times.take(runs.rows)
        columns = {
            "runs": len(runs),
            "arrived": hits.arrived,
            "median": quantiles(hits, (0.5,))[0],
            "median_at_least": quantile_lower_bound(hits, 0.5),
            "par10": self._criterion.par10(hits),
            "ert": expected_running_time(hits),
        }
        value, *ties = self._criterion.sort_key(hits)
        return _Score((value if hits.arrived else math.inf, *ties), columns)

    def relative_to_best(self, best: float, own: float) -> dict[str, float]:
        """Returns the ratio of an optimizer's value to that of the best one on its surface."""
        is_defined = math.isfinite(best) and best > 0
        return {"times_best": own / best if is_defined else math.nan}

    def format_columns(self, frame: pd.DataFrame) -> dict[str, list[str]]:
        """Returns the columns of the table as strings."""
        counts = zip(frame["arrived"], frame["runs"], strict=True)
        shares = frame["arrived_of_all"] / frame["runs_of_all"]
        return {
            "arrived": [format_arrived(arrived, count) for arrived, count in counts],
            f"median {self._unit}": [
                format_steps(half)
                if math.isfinite(half) or math.isinf(bound)
                else f"> {format_steps(bound)}"
                for half, bound in zip(frame["median"], frame["median_at_least"], strict=True)
            ],
            "PAR10": list(frame["par10"].map(format_steps)),
            "ERT": list(frame["ert"].map(format_steps)),
            "÷ best": ["" if math.isnan(v) else format_steps(v) for v in frame["times_best"]],
            "all lr: arrived %": list(shares.map(format_percent)),
            "all lr: PAR10": list(frame["par10_of_all"].map(format_steps)),
        }


class _MetricJudge:
    """Judges runs by the median of a metric that is not a hitting time.

    Runs that diverged, or do not have the metric, count as worse than all others.
    """

    footer = (
        "medians and quartiles, where runs that diverged or have no value count as worse than all "
        "others; best lr: the one with the smallest median (≤, ≥: at the end of the range tried); "
        "all lr: over all learning rates tried"
    )

    def __init__(self, sample: Sample) -> None:
        self._sample, self._label = sample, sample.metric.label

    def score(self, runs: RunSubset) -> _Score:
        diverged = int(np.count_nonzero(runs["outcome"] == "diverged"))
        low, half, high = self._sample.quartiles(self._sample.metric, runs)
        columns = {
            "runs": len(runs),
            "diverged": diverged,
            "median": half,
            "first_quartile": low,
            "third_quartile": high,
        }
        sort_key = (math.inf if math.isnan(value) else value for value in (half, low, high))
        return _Score(tuple(sort_key), columns)

    def relative_to_best(self, best: float, own: float) -> dict[str, float]:
        """Returns nothing, since ratios of values that may be negative have no meaning."""
        return {}

    def format_columns(self, frame: pd.DataFrame) -> dict[str, list[str]]:
        """Returns the columns of the table as strings."""
        shown = {}
        for suffix, head in (("", ""), ("_of_all", "all lr: ")):
            names = (f"{name}{suffix}" for name in ("median", "first_quartile", "third_quartile"))
            parts = zip(*(frame[name] for name in names), strict=True)
            shown[f"{head}median {self._label}"] = [format_with_interval(*part) for part in parts]
            shares = frame[f"diverged{suffix}"] / frame[f"runs{suffix}"]
            shown[f"{head}diverged %"] = list(shares.map(format_percent))
        return shown


_Judge: TypeAlias = _HittingTimeJudge | _MetricJudge


def optimizers_table(sample: Sample) -> Table | None:
    """Returns how well each optimizer does on each surface.

    Optimizers are judged at their best learning rate on that surface, and over all learning rates
    that were tried, as if the best one were not known.

    Returns:
        The table, or None if optimizers or learning rates were not swept.
    """
    if not {"optimizer", LR} <= set(sample.setting_keys):
        return None
    solver_keys = [key for key in sample.solver_keys if key not in (LR, BUDGET)]
    problem_keys = list(sample.surface_keys)
    if BUDGET in sample.setting_keys and not _differ(sample, problem_keys, solver_keys, [BUDGET]):
        problem_keys.append(BUDGET)
    judge: _Judge = (
        _HittingTimeJudge(sample, sample.criterion) if sample.criterion else _MetricJudge(sample)
    )
    rows: list[dict[str, Any]] = []
    for problem, runs in sample.groups(problem_keys):
        scores = [_score(sample, judge, setting) for setting in sample.groups(solver_keys, runs)]
        scores.sort(key=lambda score: score.sort_key)
        best = scores[0].sort_key[0]
        rows += [
            {**problem, **score.columns, **judge.relative_to_best(best, score.sort_key[0])}
            for score in scores
        ]
    frame = pd.DataFrame(rows)
    edges = zip(frame["edge"], frame["best"], strict=True)
    shown: dict[str, Any] = {
        **format_key_columns(frame, [*problem_keys, *solver_keys]),
        "best lr": [f"{edge}{format_number(rate)}" for edge, rate in edges],
        **judge.format_columns(frame),
    }
    footer = f"{sample.summary()}; {_conditions(sample, problem_keys, solver_keys)}; "
    footer += f"{_evaluations_per_step(sample)}{judge.footer}"
    title = f"Optimizers, each at its best learning rate by {sample.ranking_label()}, "
    title += "and over all learning rates"
    title += f": {sample.metric.label}" if sample.criterion else ""
    return Table("optimizers", title, frame, pd.DataFrame(shown), footer)


def _score(sample: Sample, judge: _Judge, setting: Setting) -> _Score:
    """Returns the score of one optimizer on one surface, that at its best learning rate."""
    values, runs = setting
    tried = [(float(value[LR]), judge.score(part)) for value, part in sample.groups([LR], runs)]
    best, score = min(tried, key=lambda item: item[1].sort_key)
    has_best, edge = math.isfinite(score.sort_key[0]), ""
    if len(tried) > 1 and has_best:
        edge = "≤ " if best == tried[0][0] else "≥ " if best == tried[-1][0] else ""
    columns = {
        **values,
        "best": best if has_best else math.nan,
        "edge": edge,
        **score.columns,
        "rates": len(tried),
        **{f"{name}_of_all": value for name, value in judge.score(runs).columns.items()},
    }
    return _Score(score.sort_key, columns)


def _conditions(sample: Sample, problem_keys: list[str], solver_keys: list[str]) -> str:
    """Says whether all optimizers had the same learning rates, starts and budgets."""
    if all(len(sample.groups(solver_keys, runs)) < 2 for _, runs in sample.groups(problem_keys)):
        return "no two of them were run on the same surface, so they are not compared"
    conditions = {"learning rates": [LR], ", ".join(sample.repeat_keys): list(sample.repeat_keys)}
    conditions["budgets"] = [BUDGET] if BUDGET in sample.runs else []
    different = [
        name
        for name, keys in conditions.items()
        if _differ(sample, problem_keys, solver_keys, keys)
    ]
    if different:
        return f"not a fair comparison: they were not given the same {' and '.join(different)}"
    rates = len(np.unique(sample.all_runs[LR].astype(float)))
    same = [pluralize(rates, "learning rate")]
    same += [
        pluralize(sample.runs[key].nunique(dropna=False), short_name(key))
        for key in sample.repeat_keys
    ]
    if BUDGET in sample.runs:
        same.append(f"at most {int(sample.runs[BUDGET].max()):,} steps")
    return f"all had the same: {', '.join(same)}"


def _evaluations_per_step(sample: Sample) -> str:
    """Says how many gradient evaluations a step took at most, if that is not one."""
    if not sample.counts_evaluations:
        return ""
    moved = sample.runs[sample.runs["metrics.steps"] > 0]
    most = (moved["metrics.evaluations"] / moved["metrics.steps"]).max()
    return (
        f"a step took up to {format_number(most, 3)} gradient evaluations, on average over a run; "
    )


def _differ(
    sample: Sample, problem_keys: Sequence[str], solver_keys: Sequence[str], keys: Sequence[str]
) -> bool:
    """Returns whether the solvers had different values of keys on some problem."""

    def values(runs: RunSubset) -> set[tuple[str, ...]]:
        return set(zip(*(map(str, runs[key]) for key in keys), strict=True))

    def differ(runs: RunSubset) -> bool:
        first, *others = (values(part) for _, part in sample.groups(solver_keys, runs))
        return any(other != first for other in others)

    return any(differ(runs) for _, runs in sample.groups(problem_keys))
