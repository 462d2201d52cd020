"""A table with its values, the strings to show for them, and a footer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

_NUMERIC = "0123456789-≤≥>∞"

_TOGETHER = "\N{NO-BREAK SPACE}"
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


def texts(frame: pd.DataFrame, keys: Sequence[str]) -> dict[str, list[str]]:
    """Returns the values of config keys as strings, by the last part of the key if it is unique."""
    last = [last_part(key) for key in keys]
    return {
        short if last.count(short) == 1 else key: told_apart(frame[key])
        for key, short in zip(keys, last, strict=True)
    }


def told_apart(values: Iterable[Any]) -> list[str]:
    """Returns values as strings, floats with as few digits as keep them distinct."""
    values = list(values)
    texts: list[str] = []
    for digits in (4, 9, 17):
        texts = [number(value, digits) for value in values]
        if len(set(texts)) >= len({str(value) for value in values}):
            break
    return texts


def last_part(key: str) -> str:
    """Returns the short name of a config key: its last part, or for ``_target_`` its group."""
    *groups, last = key.split(".")
    return groups[-1] if last == "_target_" and groups else last


def number(value: Any, digits: int = 4) -> str:
    """Returns a value as a string: a float rounded, and an empty string if it is missing."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.{digits}g}".replace("inf", "∞")
    return str(value)


def steps(value: float) -> str:
    """Returns a number of steps, which may be infinite, as a string."""
    return number(round(float(value), 1), 6)


def spread(middle: float, low: float, high: float, text: Any = number) -> str:
    """Returns a value with its interval, which is left out if `low` is NaN."""
    if math.isnan(middle):
        return ""
    return str(text(middle)) if math.isnan(low) else interval(text(middle), text(low), text(high))


def interval(middle: str, low: str, high: str) -> str:
    """Returns a value with its interval, which is left out if it has no width."""
    if low == middle == high:
        return middle
    return f"{middle} [{low}, {high}]".replace(" ", _TOGETHER)


def percent(share: float) -> str:
    """Returns a share in percent, without the sign."""
    return f"{100 * share:.0f}"
