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

_PAIRED_FACTORS = 8
"""Only this many factors, those with the largest effects, are paired."""

_BY_CHANCE = "in parentheses: the average share of an unrelated key with as many values"

_OVERLAP = "shares of keys that were not crossed with each other overlap"


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
    rows, is_positive, count = _factor_shares(sample.runs, factors, sample.metric)
    frame = pd.DataFrame(rows)
    target = f"log {sample.metric.label}" if is_positive else sample.metric.label
    pairs = zip(frame["key"], frame["second_key"], strict=True)
    shown = {
        "key": [one if pd.isna(other) else f"{one} × {other}" for one, other in pairs],
        f"% of {target}": _percents(frame, "metric"),
        "% of outcome": _percents(frame, "outcome"),
    }
    footer = f"{sample.summary()}; shares of variance; {_BY_CHANCE}; the share of a pair is what "
    footer += "it explains beyond the effects of its two keys; "
    footer += f"{target}: over the {count:,} runs that have it; {_OVERLAP}"
    title = "Variance explained by each key and each pair of keys"
    return Table("effects", title, frame, pd.DataFrame(shown), footer)


def effects_by_surface_table(sample: Sample) -> Table | None:
    """Returns the share of the variance that each factor alone explains on each surface.

    A factor that determines everything on each surface, but differently on each, explains little
    over all surfaces together.

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
        surface = dict(zip(sample.surface_keys, values, strict=True))
        differ = [key for key in factors if runs[key].nunique(dropna=False) > 1]
        shares, _, count = _factor_shares(runs, differ, sample.metric, pairs=False)
        rows += [{**surface, **share, "runs": count} for share in shares]
    if not rows:
        return None
    frame = pd.DataFrame(rows).drop(columns=["second_key", "values"])
    label = sample.metric.label
    shown = {
        **format_key_columns(frame, list(sample.surface_keys)),
        "key": list(frame["key"]),
        f"% of {label}": _percents(frame, "metric"),
        "% of outcome": _percents(frame, "outcome"),
        f"runs with {label}": frame["runs"].map(str),
    }
    footer = f"{sample.summary()}; shares of variance on each surface, of the logarithm where all "
    footer += f"values are positive; {_BY_CHANCE}; {_OVERLAP}"
    title = "Variance explained by each key on each surface"
    return Table("effects_by_surface", title, frame, pd.DataFrame(shown), footer)


def _factor_shares(
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
    has_value = np.isfinite(values)
    values = values[has_value]
    is_positive = bool((values > 0).all())
    targets = {"metric": (has_value, np.log10(values) if is_positive else values)}
    words = pd.get_dummies(runs["outcome"]).to_numpy(float)
    targets["outcome"] = (np.ones(len(runs), dtype=bool), words)

    levels = {key: pd.factorize(runs[key], use_na_sentinel=False)[0] for key in factors}
    rows: list[dict[str, Any]] = []
    for key in factors:
        row: dict[str, Any] = {"key": key, "second_key": None, "values": runs[key].nunique()}
        for name, (selected, target) in targets.items():
            level = levels[key][selected]
            count = len(np.unique(level))
            # One value explains nothing, and a different one for each run explains everything.
            is_defined = count > 1 and len(level) >= 2 * count
            row[name] = _explained_share(target, [level]) if is_defined else math.nan
            row[f"{name}_by_chance"] = _expected_by_chance(count - 1, len(level))
        rows.append(row)
    rows.sort(key=lambda row: -np.nan_to_num([row["metric"], row["outcome"]]).sum())
    alone = {row["key"]: row for row in rows}
    for pair in combinations([row["key"] for row in rows[:_PAIRED_FACTORS]] if pairs else [], 2):
        one, other = pair
        row = {"key": one, "second_key": other, "values": None}
        for name, (selected, target) in targets.items():
            both = [levels[one][selected], levels[other][selected]]
            cells = both[0] * (both[1].max(initial=0) + 1) + both[1]
            freedom = len(np.unique(cells)) - sum(len(np.unique(level)) for level in both) + 1
            row[f"{name}_by_chance"] = _expected_by_chance(max(freedom, 0), len(cells))
            if any(math.isnan(alone[key][name]) for key in pair):
                row[name] = math.nan
                continue
            share = _explained_share(target, [cells]) - _explained_share(target, both)
            row[name] = share if math.isnan(share) else max(0.0, share)
        rows.append(row)
    return rows, is_positive, int(has_value.sum())


def _expected_by_chance(freedom: int, count: int) -> float:
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


def _explained_share(target: np.ndarray, groups: Sequence[np.ndarray]) -> float:
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
    total = float((centered**2).sum())
    if total <= 1e-20 * len(columns):
        return math.nan
    from scipy import sparse

    rows = np.arange(len(columns))
    indicators = sparse.hstack(
        [sparse.csr_array((np.ones(len(rows)), (rows, group))) for group in groups], format="csr"
    )
    residual = 0.0
    for column in centered.T:
        effects = sparse.linalg.lsmr(indicators, column, atol=1e-10, btol=1e-10)[0]
        residual += float(((column - indicators @ effects) ** 2).sum())
    return min(1.0, max(0.0, 1 - residual / total))
