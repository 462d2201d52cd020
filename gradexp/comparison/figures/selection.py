"""Selects the runs of a comparison that are drawn, and names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradexp.comparison import Sample
from gradexp.comparison.sample import LR, Setting, rows_with
from gradexp.comparison.table import distinct_labels, format_number, short_name
from gradexp.config.build import recorded

CONTENDERS = 6
"""Maximum number of settings that are drawn together."""


def on_one_surface(sample: Sample) -> Sample:
    """Returns the runs on the best setting's surface, as losses on others are not comparable."""
    if not sample.surface_keys:
        return sample
    first = sample.settings[0][1].frame().iloc[0]
    runs = rows_with(sample.runs, {key: first[key] for key in sample.surface_keys})
    repeat_keys = tuple(key for key in sample.repeat_keys if key not in sample.surface_keys)
    return replace(sample, runs=runs, setting_keys=sample.solver_keys, repeat_keys=repeat_keys)


def contenders(sample: Sample) -> list[Setting]:
    """Returns the settings that are drawn together, at most `CONTENDERS`.

    For each combination of values of the other keys, that is the setting with the best learning
    rate; if settings differ in their learning rate only, every setting counts. If there are more
    than `CONTENDERS`, they are spread evenly over all for numeric keys, and the best otherwise.
    """
    others = [key for key in sample.setting_keys if key != LR] or list(sample.setting_keys)
    best: dict[tuple[Any, ...], Setting] = {}
    for values, runs in sample.settings:
        best.setdefault(tuple(values[key] for key in others), (values, runs))
    found = list(best.items())  # the best first
    if not all(is_numeric(sample.runs[key]) for key in others):
        found = found[:CONTENDERS]
    ordered = sorted(found, key=lambda item: [_order(value) for value in item[0]])
    chosen = np.linspace(0, len(ordered) - 1, min(CONTENDERS, len(ordered))).round()
    return [ordered[int(index)][1] for index in chosen]


def _order(value: Any) -> tuple[bool, float, str]:
    """Returns a sort key that puts numbers in ascending order before strings."""
    is_number = isinstance(value, int | float)
    return (not is_number, float(value) if is_number else 0.0, str(value))


def names_of(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Returns names of settings for a legend.

    A name consists of the last parts of the keys in which the settings differ, with their values,
    whose numbers have as few digits as keep the names distinct.
    """
    keys = list(settings[0]) if settings else []
    differ = [key for key in keys if len({str(values[key]) for values in settings}) > 1] or keys

    def name(values: dict[str, Any], digits: int) -> str:
        return ", ".join(
            f"{short_name(key)} {format_number(values[key], digits)}" for key in differ
        )

    names = distinct_labels(settings, name, digits=(3, 6, 17))
    return [name or "all runs" for name in names]


def is_numeric(column: pd.Series) -> bool:
    """Returns whether all values of a key are numbers, and none is missing."""
    kind = pd.api.types
    return bool(kind.is_numeric_dtype(column) and not kind.is_bool_dtype(column)) and bool(
        column.notna().all()
    )


def surface_of(sample: Sample) -> str:
    """Returns the name of the surface of the best setting."""
    surface = recorded(Path(sample.settings[0][1]["folder"][0])).surface
    return surface.label().replace("_", " ")


def alike(settings: Sequence[Setting]) -> str:
    """Returns the part of a caption on what settings have in common and how they were chosen."""
    first = settings[0][0]
    same = {
        key: value
        for key, value in first.items()
        if len({str(values[key]) for values, _ in settings}) == 1
    }
    told = f"; all with {names_of([same])[0]}" if same and len(settings) > 1 else ""
    return f"{told}; each at its best learning rate" if LR in first and len(first) > 1 else told
