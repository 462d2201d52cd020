"""What the jobs of a sweep came to, by swept value; and which came to most."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradexp.mistakes import as_text

_RANGES = 10
"""Ranges that the values of a key are gathered in."""

_NUMBERS, _WORDS = 30, 60
"""Values of a key that each get a line of their own: as many numbers, or as many words."""

_GAP, _LOSS, _TAKEN = "metrics.loss_gap", "metrics.final_loss", "metrics.evaluations"

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
    """The jobs by the steps that they took to the least loss gap that any of them was recorded to
    reach, or by evaluations of the gradient where steps of one took several; those that did not, or
    all where none did, by their loss gap, for losses of different surfaces cannot be compared; or
    by their final loss where no gap is known, what diverged last.
    """
    told = "metrics.steps_to_gap."
    tolerances = {
        float(name.removeprefix(told)): name.removeprefix(told)
        for row in rows
        for name, value in row.items()
        if name.startswith(told) and value is not None
    }
    least = min(tolerances, default=None)
    several = any((row.get(_TAKEN) or 0) > row["metrics.steps"] for row in rows if _TAKEN in row)
    unit = "evaluations" if several else "steps"
    known = any(row.get(_GAP) is not None for row in rows)

    def arrival(row: Row) -> float:
        if least is None:
            return math.inf
        by = "steps" if row.get(_TAKEN) is None else unit
        return _or_infinite(row.get(f"metrics.{by}_to_gap.{tolerances[least]}"))

    def place(row: Row) -> tuple[float, bool, float, int]:
        rest, lost = row.get(_GAP if known else _LOSS), row["outcome"] == "diverged"
        return arrival(row), lost, _or_infinite(rest), row["job"]

    ended = sorted((row for row in rows if row["outcome"] != "failed"), key=place)
    criterion = f"{unit} to a loss gap of {least:g}" if least else "loss gap"
    if not known:
        criterion = "final loss"
    return Ranking(criterion, ended, None if least is None else [arrival(row) for row in ended])


def _or_infinite(value: float | None) -> float:
    return math.inf if value is None or not math.isfinite(value) else value
