"""Optimizers side by side: each at its best learning rate, and over all that were tried."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from gradexp.comparison.arrivals import expected_steps, quantiles
from gradexp.comparison.sample import BUDGET, LR, Part, Sample, Setting, counted
from gradexp.comparison.table import Table, last_part, number, percent, steps, texts


def optimizers(sample: Sample) -> Table | None:
    """How each optimizer does on each surface: at the learning rate that suits it there, and at all
    of them together, as for one who does not know it.

    Returns:
        None where optimizers, or their learning rates, were not swept, or runs are not compared by
        steps.
    """
    named = any(key in sample.setting for key in ("optimizer", "optimizer._target_"))
    if not named or LR not in sample.setting or not sample.metric.is_arrival:
        return None
    solver = [key for key in sample.solver if key not in (LR, BUDGET)]
    problem = list(sample.problem)
    if BUDGET in sample.setting and not _differ(sample, problem, solver, [BUDGET]):
        problem.append(BUDGET)
    rows: list[dict[str, Any]] = []
    for place, there in sample.groups(problem):
        some = [_row(sample, setting, place) for setting in sample.groups(solver, there)]
        fewest = min(row["with_restarts"] for row in some)
        for row in sorted(some, key=lambda row: (row["with_restarts"], row["median"])):
            known = math.isfinite(fewest) and fewest > 0
            rows.append({**row, "times_best": row["with_restarts"] / fewest if known else math.nan})
    frame = pd.DataFrame(rows)
    arrived = zip(frame["arrived"], frame["runs"], strict=True)
    shown: dict[str, Any] = {
        **texts(frame, [*problem, *solver]),
        "best lr": [
            f"{edge}{number(rate)}" for edge, rate in zip(frame["edge"], frame["best"], strict=True)
        ],
        "arrived": [f"{some}/{count}" for some, count in arrived],
        "median steps": frame["median"].map(steps),
        "with restarts": frame["with_restarts"].map(steps),
        "÷ best": ["" if math.isnan(v) else steps(v) for v in frame["times_best"]],
        "all lr: arrived %": frame["arrived_of_all"].map(percent),
        "all lr: with restarts": frame["with_restarts_of_all"].map(steps),
    }
    told = (
        f"{sample.behind()}; {_conditions(sample, problem, solver)}; with restarts: all steps made "
        "÷ runs that arrived; best lr: of the fewest of these, ≤ and ≥ where it is the last one "
        "tried; all lr: of the runs at all that were tried"
    )
    title = f"Optimizers, each at its best learning rate and at all: {sample.metric.label}"
    return Table("optimizers", title, frame, pd.DataFrame(shown), told)


def _row(sample: Sample, setting: Setting, problem: dict[str, Any]) -> dict[str, Any]:
    """One optimizer on one surface."""
    values, runs = setting
    by_rate = [(float(value[LR]), part) for value, part in sample.groups([LR], runs)]

    def score(one: tuple[float, Part]) -> tuple[float, float]:
        some = sample.arrivals.take(one[1].rows)
        return expected_steps(some), quantiles(some, (0.5,))[0]

    best, part = min(by_rate, key=score)
    with_restarts, median = score((best, part))
    tried = [rate for rate, _ in by_rate]
    edge = ""
    if len(tried) > 1 and math.isfinite(with_restarts):
        edge = "≤ " if best == tried[0] else "≥ " if best == tried[-1] else ""
    every = sample.arrivals.take(runs.rows)
    return {
        **problem,
        **values,
        "best": best if math.isfinite(with_restarts) else math.nan,
        "edge": edge,
        "runs": len(part),
        "arrived": sample.arrivals.take(part.rows).arrived,
        "median": median,
        "with_restarts": with_restarts,
        "rates": len(tried),
        "arrived_of_all": every.arrived / len(runs),
        "with_restarts_of_all": expected_steps(every),
    }


def _conditions(sample: Sample, problem: list[str], solver: list[str]) -> str:
    """Whether all optimizers had the same learning rates, starts and steps on each surface."""
    what = {"learning rates": [LR], ", ".join(sample.repeats): list(sample.repeats)}
    what["budgets"] = [BUDGET] if BUDGET in sample.runs else []
    unlike = [name for name, keys in what.items() if _differ(sample, problem, solver, keys)]
    if unlike:
        return f"not a fair comparison: they were not given the same {' and '.join(unlike)}"
    rates = len(np.unique(sample.every[LR].astype(float)))
    alike = [counted(rates, "learning rate")]
    alike += [
        counted(sample.runs[key].nunique(dropna=False), last_part(key)) for key in sample.repeats
    ]
    if BUDGET in sample.runs:
        alike.append(f"at most {int(sample.runs[BUDGET].max()):,} steps")
    return f"all had the same: {', '.join(alike)}"


def _differ(
    sample: Sample, problem: Sequence[str], solver: Sequence[str], keys: Sequence[str]
) -> bool:
    """Whether on some problem not all solvers had the same values of keys."""

    def given(runs: Part) -> set[tuple[str, ...]]:
        return set(zip(*(map(str, runs[key]) for key in keys), strict=True))

    def differ(there: Part) -> bool:
        first, *others = (given(runs) for _, runs in sample.groups(solver, there))
        return any(one != first for one in others)

    return any(differ(there) for _, there in sample.groups(problem))
