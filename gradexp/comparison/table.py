"""A table with its values, the strings to show for them, and a footer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

_NUMERIC = "0123456789-≤≥>∞"

_NO_BREAK = "\N{NO-BREAK SPACE}"
"""Keeps a value and its interval on one line."""


@dataclass(frozen=True)
class Table:
    """A table of a comparison.

    Args:
        name: the name of the file that it is saved to, without its suffix.
        title: what the table shows.
        frame: the values; a number of steps is infinite if the goal was not reached.
        shown: the same rows as strings, to be printed.
        footer: how many runs the table is based on, and how to read it.
    """

    name: str
    title: str
    frame: pd.DataFrame
    shown: pd.DataFrame
    footer: str

    def is_numeric(self, head: str) -> bool:
        """Returns whether the strings of a column are numbers, perhaps with intervals, or empty."""
        return bool(self.shown[head].map(lambda text: text[:1] in _NUMERIC).all())


def format_key_columns(frame: pd.DataFrame, keys: Sequence[str]) -> dict[str, list[str]]:
    """Returns the values of config keys as strings, by the key's short name if that is unique."""
    names = [short_name(key) for key in keys]
    return {
        name if names.count(name) == 1 else key: distinct_labels(list(frame[key]))
        for key, name in zip(keys, names, strict=True)
    }


def short_name(key: str) -> str:
    """Returns the short name of a config key: its last part, or for ``_target_`` its group."""
    *groups, last = key.split(".")
    return groups[-1] if last == "_target_" and groups else last


def format_number(value: Any, digits: int = 4) -> str:
    """Returns a value as a string: a float rounded, and an empty string if it is missing."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.{digits}g}".replace("inf", "∞")
    return str(value)


def distinct_labels(
    values: Sequence[Any],
    label: Callable[[Any, int], str] = format_number,
    digits: Sequence[int] = (4, 9, 17),
) -> list[str]:
    """Returns labels of values, with as few digits as keep the labels of different values distinct.

    Args:
        values: the values to label.
        label: returns the label of a value whose numbers are rounded to some digits.
        digits: the numbers of significant digits to try, ascending.
    """
    distinct = len({str(value) for value in values})
    labels: list[str] = []
    for count in digits:
        labels = [label(value, count) for value in values]
        if len(set(labels)) >= distinct:
            break
    return labels


def format_steps(value: float) -> str:
    """Returns a number of steps, which may be infinite, as a string."""
    return format_number(round(float(value), 1), 6)


def format_percent(share: float) -> str:
    """Returns a share in percent, without the sign."""
    return f"{100 * share:.0f}"


def format_with_interval(
    middle: float, low: float, high: float, label: Callable[[float], str] = format_number
) -> str:
    """Returns a value with its interval, which is left out if `low` is NaN."""
    if math.isnan(middle):
        return ""
    if math.isnan(low):
        return label(middle)
    return append_interval(label(middle), label(low), label(high))


def append_interval(middle: str, low: str, high: str) -> str:
    """Returns a value followed by its interval, which is left out if it has no width."""
    if low == middle == high:
        return middle
    return f"{middle} [{low}, {high}]".replace(" ", _NO_BREAK)
