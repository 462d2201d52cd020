"""A table: figures to save, texts to read, and what stands behind them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

_NUMERIC = "0123456789-≤≥>∞"

_TOGETHER = "\N{NO-BREAK SPACE}"
"""Keeps a figure and its interval in one line."""


@dataclass(frozen=True)
class Table:
    """What is compared.

    Args:
        name: of the file it is saved to.
        title: what it tells.
        frame: its figures; an infinite number of steps is one that was not reached.
        shown: the same rows as texts.
        footer: how many runs stand behind it, and how its figures are to be read.
    """

    name: str
    title: str
    frame: pd.DataFrame
    shown: pd.DataFrame
    footer: str

    def is_numeric(self, head: str) -> bool:
        """Whether the texts of a column are numbers, or numbers with intervals, or missing."""
        return bool(self.shown[head].map(lambda text: text[:1] in _NUMERIC).all())


def texts(frame: pd.DataFrame, keys: Sequence[str]) -> dict[str, list[str]]:
    """The values of config keys as texts, by the last part of the key where that says which."""
    last = [last_part(key) for key in keys]
    return {
        short if last.count(short) == 1 else key: told_apart(frame[key])
        for key, short in zip(keys, last, strict=True)
    }


def told_apart(values: Iterable[Any]) -> list[str]:
    """Values as texts, floats as short as tells them apart."""
    values = list(values)
    texts: list[str] = []
    for digits in (4, 9, 17):
        texts = [number(value, digits) for value in values]
        if len(set(texts)) >= len({str(value) for value in values}):
            break
    return texts


def last_part(key: str) -> str:
    """What a config key is called in tables and legends: its last part; of a class, its group."""
    *groups, last = key.split(".")
    return groups[-1] if last == "_target_" and groups else last


def number(value: Any, digits: int = 4) -> str:
    """A value as a text: a float shortened, nothing where it is missing."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.{digits}g}".replace("inf", "∞")
    return str(value)


def steps(value: float) -> str:
    """A number of steps, which may be infinite."""
    return number(round(float(value), 1), 6)


def spread(middle: float, low: float, high: float, text: Any = number) -> str:
    """A figure with its interval, which is left out where there is none."""
    if math.isnan(middle):
        return ""
    return str(text(middle)) if math.isnan(low) else interval(text(middle), text(low), text(high))


def interval(middle: str, low: str, high: str) -> str:
    """A figure with its interval, which is left out where it has no width."""
    if low == middle == high:
        return middle
    return f"{middle} [{low}, {high}]".replace(" ", _TOGETHER)


def percent(share: float) -> str:
    """A share in percent."""
    return f"{100 * share:.0f}"
