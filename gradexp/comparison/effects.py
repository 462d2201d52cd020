"""Decomposes the variance of a metric and of the outcome by config key."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from gradexp.analysis.metric import Metric
from gradexp.comparison.sample import Sample
from gradexp.comparison.table import Table, format_key_columns

_FACTORS = 8
"""Only this many factors, those with the largest effects, are paired."""


def effects_table(sample: Sample) -> Table | None:
    """Returns the share of the variance that each factor and each pair of factors explains.

    For a target y, the share of a factor is 1 - SSE/SST, where y is predicted by its mean at each
    value of the factor. The share of a pair is its interaction: what the mean of each cell explains
    beyond the sum of an effect of one factor and an effect of the other. In a full grid the shares
    of factors, pairs and the remainder add up to 1, which is the decomposition of Sobol' (1993).
    The outcome is encoded as one 0-or-1 variable for each word, and their sums of squares are
    added: this gives the share of Light and Margolin's variance (1971).

    Returns:
        The table, or None if fewer than two keys differ.
    """
    factors = [*sample.setting_keys, *sample.repeat_keys]
    if len(factors) < 2:
        return None
    rows, positive, there = _shares(sample.runs, factors, sample.metric)
    metric = sample.metric
    frame = pd.DataFrame(rows)
    of = f"log {metric.label}" if positive else metric.label
    pairs = zip(frame["factor"], frame["and"], strict=True)
    shown = {
        "factor": [one if pd.isna(other) else f"{one} × {other}" for one, other in pairs],
        f"% of {of}": _percents(frame, "speed"),
        "% of outcome": _percents(frame, "outcome"),
    }
    told = (
        f"{sample.summary()}; shares of variance, in brackets what is explained on average by as "
    )
    told += "many values that decide nothing; a pair's is beyond those of both alone; "
    told += f"of {of} over the {there:,} runs that have it"
    told += "; of keys that were not crossed with each other the shares overlap"
    return Table("effects", "What decides", frame, pd.DataFrame(shown), told)


def effects_by_surface_table(sample: Sample) -> Table | None:
    """Returns the share of the variance that each factor alone explains on each surface.

    A factor that decides everything on each surface, but differently on each, explains little over
    all surfaces together.

    Returns:
        The table, or None if there is only one surface, or no other key differs.
    """
    factors = [
        key for key in (*sample.setting_keys, *sample.repeat_keys) if key not in sample.surface_keys
    ]
    if not sample.surface_keys or not factors:
        return None
    groups = sample.runs.groupby(list(sample.surface_keys), dropna=False, sort=False)
    if len(groups) < 2:
        return None
    rows: list[dict[str, Any]] = []
    for values, runs in groups:
        place = dict(zip(sample.surface_keys, values, strict=True))
        differ = [key for key in factors if runs[key].nunique(dropna=False) > 1]
        shares, _, there = _shares(runs, differ, sample.metric, pairs=False)
        rows += [{**place, **share, "runs": there} for share in shares]
    if not rows:
        return None
    frame = pd.DataFrame(rows).drop(columns=["and", "values"])
    label = sample.metric.label
    shown = {
        **format_key_columns(frame, list(sample.surface_keys)),
        "factor": list(frame["factor"]),
        f"% of {label}": _percents(frame, "speed"),
        "% of outcome": _percents(frame, "outcome"),
        f"runs with {label}": frame["runs"].map(str),
    }
    told = f"{sample.summary()}; shares of variance on each surface, of logarithms where all are "
    told += "positive, in brackets what is explained on average by as many values that decide "
    told += "nothing; of keys that were not crossed with each other they overlap"
    return Table(
        "effects_by_surface", "What decides on each surface", frame, pd.DataFrame(shown), told
    )


def _shares(
    runs: pd.DataFrame, factors: Sequence[str], metric: Metric, pairs: bool = True
) -> tuple[list[dict[str, Any]], bool, int]:
    """Returns the shares of factors, those that explain most first, and then of their pairs.

    Args:
        runs: one row for each run.
        factors: config keys.
        metric: the metric whose variance is explained, besides that of the outcome.
        pairs: whether to include pairs.

    Returns:
        The rows, whether the logarithm of the metric is explained, and the number of runs that
        have the metric.
    """
    values = runs[metric.column].to_numpy(float, na_value=np.nan)
    there = np.isfinite(values)
    positive = bool((values[there] > 0).all())
    targets = {"speed": (there, np.log10(values[there]) if positive else values[there])}
    words = pd.get_dummies(runs["outcome"]).to_numpy(float)
    targets["outcome"] = (np.ones(len(runs), dtype=bool), words)

    levels = {key: pd.factorize(runs[key], use_na_sentinel=False)[0] for key in factors}
    rows: list[dict[str, Any]] = []
    for key in factors:
        row: dict[str, Any] = {"factor": key, "and": None, "values": runs[key].nunique()}
        for name, (kept, target) in targets.items():
            level = levels[key][kept]
            several = len(np.unique(level))
            # One value explains nothing, and a different one for each run explains everything.
            enough = several > 1 and len(level) >= 2 * several
            row[name] = _share(target, [level]) if enough else math.nan
            row[f"{name}_by_chance"] = _by_chance(len(np.unique(level)) - 1, len(level))
        rows.append(row)
    rows.sort(key=lambda row: -np.nan_to_num([row["speed"], row["outcome"]]).sum())
    alone = {row["factor"]: row for row in rows}
    for pair in combinations([row["factor"] for row in rows[:_FACTORS]] if pairs else [], 2):
        one, other = pair
        row = {"factor": one, "and": other, "values": None}
        for name, (kept, target) in targets.items():
            both = [levels[one][kept], levels[other][kept]]
            cells = both[0] * (both[1].max(initial=0) + 1) + both[1]
            alike = len(np.unique(cells)) - sum(len(np.unique(level)) for level in both) + 1
            row[f"{name}_by_chance"] = _by_chance(max(alike, 0), len(cells))
            if any(math.isnan(alone[key][name]) for key in pair):
                row[name] = math.nan
                continue
            beyond = _share(target, [cells]) - _share(target, both)
            row[name] = beyond if math.isnan(beyond) else max(0.0, beyond)
        rows.append(row)
    return rows, positive, int(there.sum())


def _by_chance(freedom: int, count: int) -> float:
    """Returns the share of the variance that an unrelated grouping explains on average.

    Args:
        freedom: the grouping's degrees of freedom: the number of groups minus one.
        count: the number of values.
    """
    return freedom / (count - 1) if count > 1 else math.nan


def _percents(frame: pd.DataFrame, name: str) -> list[str]:
    """Returns shares in percent, each with the share expected by chance in brackets."""
    both = zip(frame[name], frame[f"{name}_by_chance"], strict=True)
    return [
        "" if math.isnan(share) else f"{100 * share:.1f} ({100 * chance:.1f})"
        for share, chance in both
    ]


def _share(target: np.ndarray, groups: Sequence[np.ndarray]) -> float:
    """Returns the share of a target's variance that a sum of effects of groupings explains.

    Args:
        target: ``(N,)`` or ``(N, K)``.
        groups: the group number of each value in each grouping, ``(N,)`` integers.

    Returns:
        The share, or NaN if the target does not vary.
    """
    columns = target[:, None] if target.ndim == 1 else target
    if not len(columns):
        return math.nan
    centered = columns - columns.mean(axis=0)
    whole = float((centered**2).sum())
    if whole <= 1e-20 * len(columns):
        return math.nan
    from scipy import sparse

    rows = np.arange(len(columns))
    indicators = sparse.hstack(
        [sparse.csr_array((np.ones(len(rows)), (rows, group))) for group in groups], format="csr"
    )
    rest = 0.0
    for column in centered.T:
        effects = sparse.linalg.lsmr(indicators, column, atol=1e-10, btol=1e-10)[0]
        rest += float(((column - indicators @ effects) ** 2).sum())
    return min(1.0, max(0.0, 1 - rest / whole))
