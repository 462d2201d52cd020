"""Compares the best setting with the next ones on paired runs, with confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from gradexp.analysis.quartiles import median
from gradexp.comparison.profiles import mean_relative_speeds, problem_keys, solvers_by_speed
from gradexp.comparison.ranking import format_arrived
from gradexp.comparison.sample import Sample, Setting
from gradexp.comparison.table import (
    Table,
    append_interval,
    format_key_columns,
    format_number,
    format_with_interval,
)

_RIVALS = 10
"""Maximum number of settings that the best one is compared with."""

CONFIDENCE = 0.95
"""The least coverage of the intervals of medians."""


def differences_table(sample: Sample) -> Table | None:
    """Returns the differences between the best setting and the next ones on paired runs.

    Two runs are paired if they share the repeats, such as start and seed; across surfaces, the best
    solver is compared with the next ones and pairs share the surface, too. The best setting is the
    one with the best value of the measure that the title names and a column shows; another setting
    may still be faster in most pairs. For a hitting time the table gives the median ratio of steps
    over the pairs, for another metric the median difference, with its interval
    (`median_interval`). A run that does not arrive takes infinitely long; pairs in which neither
    run arrives are left out.

    Returns:
        The table; None if there is only one setting, if there is nothing to pair, if runs on
        different surfaces are not compared by a hitting time, or if there is no best setting, since
        no run of the first one arrives or its measure is not finite.
    """
    across = any(key in sample.setting_keys for key in sample.surface_keys)
    if across and not sample.spans_surfaces:
        return None
    ordered = solvers_by_speed(sample) if across else sample.settings
    metric, keys = sample.metric, problem_keys(sample) if across else list(sample.repeat_keys)
    if len(ordered) < 2 or not keys:
        return None
    measure, measured = _ordering_measure(sample, ordered, across)
    best_hits = sample.hitting_times.take(ordered[0][1].rows) if sample.criterion else None
    if (best_hits is not None and not best_hits.arrived) or not math.isfinite(measured[0]):
        return None
    tables = []
    for _, runs in ordered[: _RIVALS + 1]:
        index = pd.MultiIndex.from_frame(runs.frame()[keys].astype(str))
        values = sample.comparable_values(metric)[runs.rows]
        bounds = sample.hitting_times.lower_bounds[runs.rows] if sample.criterion else values
        table = pd.DataFrame({"value": values, "lower_bound": bounds}, index=index)
        tables.append(table.groupby(level=keys).first())
    rows = []
    rivals = zip(ordered[1:], tables[1:], measured[1:], strict=False)
    for (setting, _), table, value in rivals:
        pairs = pd.concat([tables[0], table], axis=1, join="inner").to_numpy(float)
        if len(pairs):
            bounds_of = _ratio_bounds if sample.criterion else _difference_bounds
            summary = _summary(*bounds_of(*pairs.T), 1.0 if sample.criterion else 0.0)
            rows.append({**setting, "measure": value, **summary})
    if not rows:
        return None
    frame = pd.DataFrame(rows)
    compared = f"{metric.unit} ÷ best's" if metric.is_hitting_time else f"{metric.label} - best's"
    columns = ("least", "most", "low", "high")
    parts = zip(*(frame[column] for column in columns), strict=True)
    shown: dict[str, Any] = {
        **format_key_columns(frame, list(ordered[0][0])),
        measure: [format_number(value, 3 if across else 6) for value in frame["measure"]],
        "pairs": frame["pairs"].map(str),
        "worse in": frame["slower"].map(str),
        "better in": frame["faster"].map(str),
        compared: [_median_text(*part) for part in parts],
        "coverage %": [
            "" if math.isnan(share) else f"{100 * share:.1f}" for share in frame["coverage"]
        ],
    }
    best_values = ", ".join(f"{key}={format_number(value)}" for key, value in ordered[0][0].items())
    title = "Differences from the best setting by "
    title += f"{measure}, {format_number(measured[0], 6)}: {best_values}"
    if best_hits is not None:
        title += f" ({format_arrived(best_hits.arrived, len(best_hits.times))} arrived)"
    footer = f"pairs share {', '.join(keys)}"
    footer += "; at least one run of each pair arrived" if sample.criterion else ""
    footer += "; median over the pairs, with its exact interval and the interval's coverage for "
    footer += f"two settings fixed in advance (at least {100 * CONFIDENCE:.0f} %; no interval for "
    footer += "fewer than 6 pairs); the best was selected from these runs, so its advantage is "
    footer += "overestimated"
    if len(ordered) > _RIVALS + 1:
        footer += f"; the next {_RIVALS} of {len(ordered) - 1:,} settings"
    if across:
        footer += f"; relative speed: {metric.unit} of the fastest on a problem ÷ its own"
    elif sample.criterion:
        footer += f"; {sample.criterion.definition()}"
    return Table("differences", title, frame, pd.DataFrame(shown), footer)


def _ratio_bounds(
    best: np.ndarray, best_bound: np.ndarray, rival: np.ndarray, rival_bound: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns bounds of the ratio of the rival's steps to the best setting's, pair by pair.

    Pairs in which neither run arrived are left out. The bounds differ if one of the two did not
    arrive, since it may have been cut off before it would have.

    Args:
        best: ``(N,)``, the hitting times of the best setting; infinite where it did not arrive.
        best_bound: ``(N,)``, when it arrived or was cut off (`HittingTimes.lower_bounds`).
        rival: the same as `best` for the rival.
        rival_bound: the same as `best_bound` for the rival.

    Returns:
        The least and the greatest value that each ratio may have.
    """
    decided = np.isfinite(best) | np.isfinite(rival)
    best, best_bound, rival, rival_bound = (
        part[decided] for part in (best, best_bound, rival, rival_bound)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = np.where((best == 0) & (rival == 0), 1.0, rival / best)
        at_least, at_most = rival_bound / best, rival / best_bound
    both = np.isfinite(best) & np.isfinite(rival)
    least = np.where(both, exact, np.where(np.isfinite(best), at_least, 0.0))
    most = np.where(both, exact, np.where(np.isfinite(best), np.inf, at_most))
    return least, most


def _difference_bounds(
    best: np.ndarray, best_bound: np.ndarray, rival: np.ndarray, rival_bound: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rival's values minus the best setting's, in the form of `_ratio_bounds`.

    Pairs in which neither value is finite are left out. The bounds are equal.
    """
    decided = np.isfinite(best) | np.isfinite(rival)
    differences = rival[decided] - best[decided]
    return differences, differences


def _summary(least: np.ndarray, most: np.ndarray, neutral: float) -> dict[str, Any]:
    """Returns the columns of the table for the pairs of one rival.

    Args:
        least: ``(N,)``, lower bounds of the ratios or differences.
        most: ``(N,)``, their upper bounds.
        neutral: the value for two equal runs: 1 for ratios, 0 for differences.
    """
    low, _, coverage = median_interval(least)
    high = median_interval(most)[1]
    at_least, at_most = _bounded_median(least, neutral), _bounded_median(most, neutral)
    return {
        "pairs": len(least),
        "slower": int((least > neutral).sum()),
        "faster": int((most < neutral).sum()),
        "median": at_least if at_least == at_most else math.nan,
        "least": at_least,
        "most": at_most,
        "low": low,
        "high": high,
        "coverage": coverage,
    }


def _bounded_median(values: np.ndarray, neutral: float) -> float:
    """Returns the median of ratios or differences; NaN if it lies between the two extremes.

    These are 0 and infinity for ratios, and the two infinities for differences.
    """
    middle = median(values)
    if math.isinf(middle) and neutral == 1:
        with np.errstate(divide="ignore"):
            return math.nan if math.isinf(median(1 / values)) else middle
    return middle


def _median_text(least: float, most: float, low: float, high: float) -> str:
    """Returns a median as a string, from its bounds and the ends of its interval."""

    def text(value: float) -> str:
        return format_number(value, digits=3)

    if math.isnan(least) or math.isnan(most):
        return ""
    if least == most:
        return format_with_interval(least, low, high, text)
    middle = f"≤ {text(most)}" if least == 0 else f"≥ {text(least)}"
    if least > 0 and most < math.inf:
        middle = f"{text(least)} to {text(most)}"
    return middle if math.isnan(low) else append_interval(middle, text(low), text(high))


def _ordering_measure(
    sample: Sample, ordered: Sequence[Setting], across: bool
) -> tuple[str, Sequence[float]]:
    """Returns the name of the measure that orders settings, and its values for the first."""
    if across:
        return "mean relative speed", mean_relative_speeds(sample)
    first = [runs.rows for _, runs in ordered[: _RIVALS + 1]]
    if sample.criterion:
        return sample.ranking_label(), [
            sample.criterion.value(sample.hitting_times.take(rows)) for rows in first
        ]
    values = sample.comparable_values(sample.metric)
    return sample.ranking_label(), [median(values[rows]) for rows in first]


def median_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Returns a distribution-free confidence interval of the median of a population.

    The interval reaches from the r-th smallest to the r-th largest of n values. It covers the
    median with a probability of at least 1 - 2 P(X < r), where X is binomial with n trials and
    probability ½; r is the largest rank for which that is at least `CONFIDENCE`.

    Args:
        values: ``(n,)``, an independent sample; values may be infinite.

    Returns:
        The two ends, and that probability; all are NaN for fewer than 6 values, for which no such
        interval has the coverage.

    Source: David and Nagaraja, *Order Statistics* (2003), §7.1.
    """
    from scipy import stats

    count = len(values)
    below = (1 - CONFIDENCE) / 2
    rank = int(stats.binom.ppf(below, count, 0.5))
    while rank > 0 and stats.binom.cdf(rank - 1, count, 0.5) > below:
        rank -= 1
    if rank < 1:
        return math.nan, math.nan, math.nan
    ordered = np.sort(values)
    coverage = 1 - 2 * float(stats.binom.cdf(rank - 1, count, 0.5))
    return float(ordered[rank - 1]), float(ordered[-rank]), coverage
