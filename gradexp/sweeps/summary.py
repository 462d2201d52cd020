"""What the jobs of a sweep came to, by swept value; and which came to most."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradexp.analysis.metric import COLUMN_PREFIX, HITTING_TIME_PREFIXES, Metric, default_metric
from gradexp.errors import as_text

_RANGES = 10
"""Ranges that the values of a key are gathered in."""

_NUMBERS, _WORDS = 30, 60
"""Values of a key that each get a line of their own: as many numbers, or as many words."""

_TAKEN = "metrics.evaluations"

Row = Mapping[str, Any]


class Tally(NamedTuple):
    """How the jobs with a value, or in a range of values, of a key ended."""

    key: str
    values: str
    outcomes: Counter[str]


class Ranking(NamedTuple):
    """Jobs that ended, the best first."""

    criterion: str
    rows: list[Row]
    arrivals: list[float] | None
    """the steps, or evaluations, that each is ranked by, if they are; infinite where there are
    none"""


def tallies(rows: Sequence[Row], keys: Sequence[str]) -> list[Tally]:
    """The outcomes by each value of each key.

    The numbers of a key that has many are gathered in ranges of equally many values; a key of as
    many words is left out.
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
    """What each value is called in the table, by its text."""
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
    """Numbers by size, then words."""
    return (False, value, "") if _is_number(value) else (True, 0.0, str(value))


def ranking(rows: Sequence[Row]) -> Ranking:
    """The jobs by what runs are compared by where nobody says what (`default_metric`), which counts
    evaluations of the gradient where steps of one took several. Those that are equal, as all are
    that did not arrive, by their loss gap, for losses of different surfaces cannot be compared; or
    by their final loss where no gap is known. What diverged is last.
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
        if row.get(_TAKEN) is None:  # each of its steps took one
            by = Metric(metric.name.replace("evaluations", "steps", 1))
        return float(by.comparable_values(row.get(by.column), row["outcome"]))

    def place(row: Row) -> tuple[float, bool, float, int]:
        left = row.get(rest.column)
        left = math.inf if left is None or not math.isfinite(left) else float(left)
        return figure(row, metric), row["outcome"] == "diverged", left, row["job"]

    ended.sort(key=place)
    arrivals = [figure(row, metric) for row in ended] if metric.is_hitting_time else None
    return Ranking(metric.label, ended, arrivals)
