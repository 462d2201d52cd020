"""Summarizes the results of a sweep: outcomes by swept value, and a ranking of the jobs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradexp.analysis.metric import COLUMN_PREFIX, HITTING_TIME_PREFIXES, Metric, default_metric
from gradexp.errors import as_text

_RANGES = 10
"""The number of ranges into which the values of a key with many numbers are grouped."""

_NUMBERS, _WORDS = 30, 60
"""The most distinct values of a key that each get their own line: numbers, and other values."""

_TAKEN = "metrics.evaluations"

Row = Mapping[str, Any]


class Tally(NamedTuple):
    """The outcomes of the jobs that have a certain value, or range of values, for a key."""

    key: str
    values: str
    outcomes: Counter[str]


class Ranking(NamedTuple):
    """The jobs that did not fail, from the best to the worst."""

    criterion: str
    rows: list[Row]
    arrivals: list[float] | None
    """the hitting time by which each job is ranked, in steps or evaluations, infinite if it was
    not reached; None if the jobs are not ranked by a hitting time"""


def tallies(rows: Sequence[Row], keys: Sequence[str]) -> list[Tally]:
    """Counts the outcomes for each value of each key.

    If a key has many numbers, they are grouped into ranges with equally many distinct values. A key
    with many values that are not numbers is left out.

    Args:
        rows: the rows of the sweep's table.
        keys: the swept keys.
    """
    found: list[Tally] = []
    for key in keys:
        groups: dict[str, Counter[str]] = {}
        label = _labels([row[key] for row in rows if key in row])
        for row in sorted((row for row in rows if key in row), key=lambda row: _order(row[key])):
            name = label.get(str(row[key]))
            if name is not None:
                groups.setdefault(name, Counter())[row["outcome"]] += 1
        found += [Tally(key, name, outcomes) for name, outcomes in groups.items()]
    return found


def _labels(values: Sequence[Any]) -> dict[str, str]:
    """Returns the label of each value in the table, by the value as a string.

    The result is empty if the key is left out.
    """
    distinct = {str(value): value for value in values}
    numeric = all(_is_number(value) for value in values)
    if len(distinct) <= (_NUMBERS if numeric else _WORDS):
        short = {text: _short(value) for text, value in distinct.items()}
        return short if len(set(short.values())) == len(short) else {text: text for text in short}
    if not numeric:
        return {}
    parts = np.array_split(sorted(set(values)), _RANGES)
    return {
        str(value): f"{part[0]:.4g} to {part[-1]:.4g}" for part in parts for value in part.tolist()
    }


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else as_text(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _order(value: Any) -> tuple[bool, float, str]:
    """Returns a sort key that orders numbers by size, and puts all other values after them."""
    return (False, value, "") if _is_number(value) else (True, 0.0, str(value))


def ranking(rows: Sequence[Row]) -> Ranking:
    """Ranks the jobs that did not fail.

    They are ranked by the default metric (`default_metric`). A hitting time counts gradient
    evaluations if some run made several per step, otherwise steps. Among jobs with equal values,
    such as all that did not reach the tolerance, those that diverged come last. Otherwise such jobs
    are ordered by loss gap, because losses of different surfaces cannot be compared, or by final
    loss if no loss gap is known.

    Args:
        rows: the rows of the sweep's table.
    """
    ended = [row for row in rows if row["outcome"] != "failed"]
    several = any((row.get(_TAKEN) or 0) > row["metrics.steps"] for row in ended if _TAKEN in row)
    names = dict.fromkeys(
        name.removeprefix(COLUMN_PREFIX)
        for row in ended
        for name, value in row.items()
        if name.startswith(COLUMN_PREFIX) and value is not None
    )
    kept = [name for name in names if several or not name.startswith("evaluations")]
    reached = {
        name: [row.get(COLUMN_PREFIX + name) for row in ended]
        for name in kept
        if name.startswith(HITTING_TIME_PREFIXES)
    }
    metric = default_metric(reached, knows_minimum="loss_gap" in names)
    rest = Metric("loss_gap" if "loss_gap" in names else "final_loss")

    def figure(row: Row, metric: Metric) -> float:
        by = metric
        if row.get(_TAKEN) is None:  # one evaluation per step
            by = Metric(metric.name.replace("evaluations", "steps", 1))
        return float(by.comparable_values(row.get(by.column), row["outcome"]))

    def place(row: Row) -> tuple[float, bool, float, int]:
        left = row.get(rest.column)
        left = math.inf if left is None or not math.isfinite(left) else float(left)
        return figure(row, metric), row["outcome"] == "diverged", left, row["job"]

    ended.sort(key=place)
    arrivals = [figure(row, metric) for row in ended] if metric.is_hitting_time else None
    return Ranking(metric.label, ended, arrivals)
