"""The best setting beside the next ones, pair by pair, and how sure a difference is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from gradexp.analysis.quartiles import median
from gradexp.comparison.profiles import problem_keys, solvers, speeds
from gradexp.comparison.ranking import arrived
from gradexp.comparison.sample import Sample, Setting
from gradexp.comparison.table import Table, interval, number, spread, texts

_RIVALS = 10
"""Settings that the best one is compared with."""

CONFIDENCE = 0.95
"""Of the intervals of medians, at least."""


def differences(sample: Sample) -> Table | None:
    """The best setting beside the next ones, start by start; across surfaces the best solver, on
    each surface by itself.

    Which setting is the best is decided by the measure that the title names, and that a column has
    of each; another may still be faster in most pairs. Over the pairs, which share their repeats,
    stands the median ratio of steps (of another metric, the median difference) with its interval
    (`median_interval`). A run that does not arrive takes infinitely long; where neither arrives
    there is no ratio.

    Returns:
        None where there is one setting, or nothing to pair, or what surfaces cannot be compared by;
        and where none arrives, or all are lost: then there is no best.
    """
    across = any(key in sample.setting for key in sample.problem)
    if across and not sample.spans_surfaces:
        return None
    ordered = solvers(sample) if across else sample.settings
    metric, keys = sample.metric, problem_keys(sample) if across else list(sample.repeats)
    if len(ordered) < 2 or not keys:
        return None
    measure, measured = _measured(sample, ordered, across)
    first = sample.hitting_times.take(ordered[0][1].rows) if sample.rank else None
    if (first is not None and not first.arrived) or not math.isfinite(measured[0]):
        return None
    series = []
    for _, runs in ordered[: _RIVALS + 1]:
        index = pd.MultiIndex.from_frame(runs.frame()[keys].astype(str))
        values = sample.comparable(metric)[runs.rows]
        known = sample.hitting_times.known[runs.rows] if sample.rank else values
        both = pd.DataFrame({"value": values, "known": known}, index=index)
        series.append(both.groupby(level=keys).first())
    rows = []
    rivals = zip(ordered[1:], series[1:], measured[1:], strict=False)
    for (setting, _), other, figure in rivals:
        together = pd.concat([series[0], other], axis=1, join="inner").to_numpy(float)
        if len(together):
            compared = (_ratios if sample.rank else _differences)(*together.T)
            rows.append(
                {**setting, "measure": figure, **_compared(*compared, 1.0 if sample.rank else 0.0)}
            )
    if not rows:
        return None
    frame = pd.DataFrame(rows)
    of = f"{metric.unit} ÷ best's" if metric.is_arrival else f"{metric.label} - best's"
    columns = ("least", "most", "low", "high")
    parts = zip(*(frame[column] for column in columns), strict=True)
    shown: dict[str, Any] = {
        **texts(frame, list(ordered[0][0])),
        measure: [number(figure, 3 if across else 6) for figure in frame["measure"]],
        "pairs": frame["pairs"].map(str),
        "worse in": frame["slower"].map(str),
        "better in": frame["faster"].map(str),
        of: [_between(*part) for part in parts],
        "covered with": [
            "" if math.isnan(share) else f"{100 * share:.1f}" for share in frame["coverage"]
        ],
    }
    best_values = ", ".join(f"{key}={number(value)}" for key, value in ordered[0][0].items())
    title = f"Beside the best by {measure}, {number(measured[0], 6)}: {best_values}"
    if first is not None:
        title += f" ({arrived(first.arrived, len(first.at))} arrived)"
    told = f"pairs share {', '.join(keys)}"
    told += ", and one of both arrived" if sample.rank else ""
    told += "; median over the pairs with its exact interval, and how many per cent of such "
    told += f"intervals cover it (at least {100 * CONFIDENCE:.0f}; none of fewer than 6 pairs) "
    told += (
        "of two settings that were chosen before; the best was chosen by these runs, so that it "
    )
    told += "looks better here than it is"
    if len(ordered) > _RIVALS + 1:
        told += f"; the next {_RIVALS} of {len(ordered) - 1:,} settings"
    if across:
        told += f"; relative speed: the fastest's {metric.unit} on a problem ÷ its own"
    elif sample.rank:
        told += f"; {sample.rank.explained()}"
    return Table("differences", title, frame, pd.DataFrame(shown), told)


def _ratios(
    best: np.ndarray, best_known: np.ndarray, rival: np.ndarray, rival_known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The rival's steps ÷ the best's, of those pairs of which one arrived: what each is at least,
    and at most, as far as that is known where the other was cut off.

    Args:
        best: ``(N,)``, when it arrived; infinite where it did not.
        best_known: up to when that is known.
        rival: likewise.
        rival_known: likewise.
    """
    some = np.isfinite(best) | np.isfinite(rival)
    best, best_known, rival, rival_known = (
        part[some] for part in (best, best_known, rival, rival_known)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = np.where((best == 0) & (rival == 0), 1.0, rival / best)
        at_least, at_most = rival_known / best, rival / best_known
    both = np.isfinite(best) & np.isfinite(rival)
    least = np.where(both, exact, np.where(np.isfinite(best), at_least, 0.0))
    most = np.where(both, exact, np.where(np.isfinite(best), np.inf, at_most))
    return least, most


def _differences(
    best: np.ndarray, best_known: np.ndarray, rival: np.ndarray, rival_known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The rival's figures less the best's, of those pairs of which one has a figure; see
    `_ratios`."""
    some = np.isfinite(best) | np.isfinite(rival)
    apart = rival[some] - best[some]
    return apart, apart


def _compared(least: np.ndarray, most: np.ndarray, alike: float) -> dict[str, Any]:
    """What pairs say.

    Args:
        least: ``(N,)``, what each is at least.
        most: at most.
        alike: what it is where both are the same.
    """
    low, _, coverage = median_interval(least)
    high = median_interval(most)[1]
    at_least, at_most = _middle(least, alike), _middle(most, alike)
    return {
        "pairs": len(least),
        "slower": int((least > alike).sum()),
        "faster": int((most < alike).sum()),
        "median": at_least if at_least == at_most else math.nan,
        "least": at_least,
        "most": at_most,
        "low": low,
        "high": high,
        "coverage": coverage,
    }


def _middle(values: np.ndarray, alike: float) -> float:
    """The median of ratios, or of differences; NaN halfway between infinitely more and infinitely
    less."""
    middle = median(values)
    if math.isinf(middle) and alike == 1:
        with np.errstate(divide="ignore"):
            return math.nan if math.isinf(median(1 / values)) else middle
    return middle


def _between(least: float, most: float, low: float, high: float) -> str:
    """A median that is known to lie between two values, with its interval."""

    def text(value: float) -> str:
        return number(value, digits=3)

    if math.isnan(least) or math.isnan(most):
        return ""
    if least == most:
        return spread(least, low, high, text)
    told = f"≤ {text(most)}" if least == 0 else f"≥ {text(least)}"
    if least > 0 and most < math.inf:
        told = f"{text(least)} to {text(most)}"
    return told if math.isnan(low) else interval(told, text(low), text(high))


def _measured(
    sample: Sample, ordered: Sequence[Setting], across: bool
) -> tuple[str, Sequence[float]]:
    """What settings are ordered by, and how much of it the first of them have."""
    if across:
        return "mean relative speed", speeds(sample)
    first = [runs.rows for _, runs in ordered[: _RIVALS + 1]]
    if sample.rank:
        return sample.ranked_by(), [
            sample.rank.of(sample.hitting_times.take(rows)) for rows in first
        ]
    values = sample.comparable(sample.metric)
    return sample.ranked_by(), [median(values[rows]) for rows in first]


def median_interval(values: np.ndarray) -> tuple[float, float, float]:
    """An interval of the median of what values are drawn from, whatever its distribution.

    It lies between the r-th smallest and the r-th largest of n values, and covers the median with
    the probability 1 - 2 P(X < r) at least, X binomial of n trials and ½: r is the largest with
    which that is `CONFIDENCE` or more.

    Args:
        values: ``(n,)``, independent; they may be infinite.

    Returns:
        Its ends, and that probability; NaN of fewer than 6 values, of which no interval covers it
        so often.

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
