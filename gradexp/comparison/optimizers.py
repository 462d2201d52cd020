"""Compares optimizers, each at its best learning rate and over all learning rates tried."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

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


class _Judged(NamedTuple):
    """How well some runs did."""

    score: tuple[float, ...]
    """less is better; the first item is infinite if runs have no value to rank by"""
    numbers: dict[str, Any]
    """values for the table"""


class _BySteps:
    """Judges runs by their hitting times."""

    def __init__(self, sample: Sample, rank: Criterion) -> None:
        self._arrivals, self._unit, self._rank = sample.hitting_times, sample.metric.unit, rank
        self.told = (
            f"best lr: of the least {rank.label}, ≤ and ≥ where it is the last one tried; all lr: "
            f"of the runs at all that were tried; ÷ best: of {rank.label}; {rank.table_legend()}"
        )

    def judged(self, runs: RunSubset) -> _Judged:
        some = self._arrivals.take(runs.rows)
        numbers = {
            "runs": len(runs),
            "arrived": some.arrived,
            "median": quantiles(some, (0.5,))[0],
            "median_at_least": quantile_lower_bound(some, 0.5),
            "par10": self._rank.par10(some),
            "ert": expected_running_time(some),
        }
        first, *others = self._rank.sort_key(some)
        return _Judged((first if some.arrived else math.inf, *others), numbers)

    def beside(self, best: float, own: float) -> dict[str, float]:
        """Returns the comparison of an optimizer with the best one on the same surface."""
        known = math.isfinite(best) and best > 0
        return {"times_best": own / best if known else math.nan}

    def format_key_columns(self, frame: pd.DataFrame) -> dict[str, list[str]]:
        """Returns the columns of the table as strings."""
        counts = zip(frame["arrived"], frame["runs"], strict=True)
        shares = frame["arrived_of_all"] / frame["runs_of_all"]
        return {
            "arrived": [format_arrived(some, count) for some, count in counts],
            f"median {self._unit}": [
                format_steps(half)
                if math.isfinite(half) or math.isinf(least)
                else f"> {format_steps(least)}"
                for half, least in zip(frame["median"], frame["median_at_least"], strict=True)
            ],
            "PAR10": list(frame["par10"].map(format_steps)),
            "ERT": list(frame["ert"].map(format_steps)),
            "÷ best": ["" if math.isnan(v) else format_steps(v) for v in frame["times_best"]],
            "all lr: arrived %": list(shares.map(format_percent)),
            "all lr: PAR10": list(frame["par10_of_all"].map(format_steps)),
        }


class _ByMetric:
    """Judges runs by the median of a metric that is not a hitting time.

    Runs that diverged, or do not have the metric, count as worse than all others.
    """

    told = (
        "medians and quartiles, in which runs that diverged, or have none, are worse than all "
        "others; best lr: of the least median, ≤ and ≥ where it is the last one tried; all lr: of "
        "the runs at all that were tried"
    )

    def __init__(self, sample: Sample) -> None:
        self._sample, self._label = sample, sample.metric.label

    def judged(self, runs: RunSubset) -> _Judged:
        diverged = int(np.count_nonzero(runs["outcome"] == "diverged"))
        low, half, high = self._sample.quartiles(self._sample.metric, runs)
        numbers = {
            "runs": len(runs),
            "diverged": diverged,
            "median": half,
            "first_quartile": low,
            "third_quartile": high,
        }
        score = (math.inf if math.isnan(value) else value for value in (half, low, high))
        return _Judged(tuple(score), numbers)

    def beside(self, best: float, own: float) -> dict[str, float]:
        """Returns nothing, since ratios of values that may be negative have no meaning."""
        return {}

    def format_key_columns(self, frame: pd.DataFrame) -> dict[str, list[str]]:
        """Returns the columns of the table as strings."""
        found = {}
        for of, head in (("", ""), ("_of_all", "all lr: ")):
            ends = (f"{part}{of}" for part in ("median", "first_quartile", "third_quartile"))
            parts = zip(*(frame[end] for end in ends), strict=True)
            found[f"{head}median {self._label}"] = [format_with_interval(*part) for part in parts]
            shares = frame[f"diverged{of}"] / frame[f"runs{of}"]
            found[f"{head}diverged %"] = list(shares.map(format_percent))
        return found


def optimizers_table(sample: Sample) -> Table | None:
    """Returns how well each optimizer does on each surface.

    Optimizers are judged at their best learning rate on that surface, and over all learning rates
    that were tried, as if the best one were not known.

    Returns:
        The table, or None if optimizers or learning rates were not swept.
    """
    if not {"optimizer", LR} <= set(sample.setting_keys):
        return None
    solver = [key for key in sample.solver_keys if key not in (LR, BUDGET)]
    problem = list(sample.surface_keys)
    if BUDGET in sample.setting_keys and not _differ(sample, problem, solver, [BUDGET]):
        problem.append(BUDGET)
    judge = _BySteps(sample, sample.criterion) if sample.criterion else _ByMetric(sample)
    rows: list[dict[str, Any]] = []
    for place, there in sample.groups(problem):
        some = [_row(sample, judge, setting) for setting in sample.groups(solver, there)]
        some.sort(key=lambda judged: judged.score)
        best = some[0].score[0]
        rows += [{**place, **one.numbers, **judge.beside(best, one.score[0])} for one in some]
    frame = pd.DataFrame(rows)
    edges = zip(frame["edge"], frame["best"], strict=True)
    shown: dict[str, Any] = {
        **format_key_columns(frame, [*problem, *solver]),
        "best lr": [f"{edge}{format_number(rate)}" for edge, rate in edges],
        **judge.format_key_columns(frame),
    }
    told = (
        f"{sample.summary()}; {_conditions(sample, problem, solver)}; {_cost(sample)}{judge.told}"
    )
    title = f"Optimizers, each at its best learning rate by {sample.ranking_label()}, and at all"
    title += f": {sample.metric.label}" if sample.criterion else ""
    return Table("optimizers", title, frame, pd.DataFrame(shown), told)


def _row(sample: Sample, judge: _BySteps | _ByMetric, setting: Setting) -> _Judged:
    """Judges one optimizer on one surface."""
    values, runs = setting
    tried = [(float(value[LR]), judge.judged(part)) for value, part in sample.groups([LR], runs)]
    best, at_best = min(tried, key=lambda one: one[1].score)
    known, edge = math.isfinite(at_best.score[0]), ""
    if len(tried) > 1 and known:
        edge = "≤ " if best == tried[0][0] else "≥ " if best == tried[-1][0] else ""
    numbers = {
        **values,
        "best": best if known else math.nan,
        "edge": edge,
        **at_best.numbers,
        "rates": len(tried),
        **{f"{name}_of_all": value for name, value in judge.judged(runs).numbers.items()},
    }
    return _Judged(at_best.score, numbers)


def _conditions(sample: Sample, problem: list[str], solver: list[str]) -> str:
    """Says whether all optimizers had the same learning rates, starts and budgets."""
    if all(len(sample.groups(solver, there)) < 2 for _, there in sample.groups(problem)):
        return "no two of them were run on one surface, so that none is compared with another"
    what = {"learning rates": [LR], ", ".join(sample.repeat_keys): list(sample.repeat_keys)}
    what["budgets"] = [BUDGET] if BUDGET in sample.runs else []
    unlike = [name for name, keys in what.items() if _differ(sample, problem, solver, keys)]
    if unlike:
        return f"not a fair comparison: they were not given the same {' and '.join(unlike)}"
    rates = len(np.unique(sample.all_runs[LR].astype(float)))
    alike = [pluralize(rates, "learning rate")]
    alike += [
        pluralize(sample.runs[key].nunique(dropna=False), short_name(key))
        for key in sample.repeat_keys
    ]
    if BUDGET in sample.runs:
        alike.append(f"at most {int(sample.runs[BUDGET].max()):,} steps")
    return f"all had the same: {', '.join(alike)}"


def _cost(sample: Sample) -> str:
    """Says how many gradient evaluations a step took at most, if that is not one."""
    if not sample.counts_evaluations:
        return ""
    made = sample.runs[sample.runs["metrics.steps"] > 0]
    most = (made["metrics.evaluations"] / made["metrics.steps"]).max()
    return f"a step took up to {format_number(most, 3)} evaluations of the gradient, on average; "


def _differ(
    sample: Sample, problem: Sequence[str], solver: Sequence[str], keys: Sequence[str]
) -> bool:
    """Returns whether the solvers had different values of keys on some problem."""

    def given(runs: RunSubset) -> set[tuple[str, ...]]:
        return set(zip(*(map(str, runs[key]) for key in keys), strict=True))

    def differ(there: RunSubset) -> bool:
        first, *others = (given(runs) for _, runs in sample.groups(solver, there))
        return any(one != first for one in others)

    return any(differ(there) for _, there in sample.groups(problem))
