"""What each factor decides, and how sure a difference between settings is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from gradexp.analysis.metric import Metric
from gradexp.analysis.quartiles import median
from gradexp.comparison.profiles import problem_keys, solvers, speeds
from gradexp.comparison.ranking import arrived
from gradexp.comparison.sample import Sample, Setting
from gradexp.comparison.table import Table, interval, number, spread, texts

_FACTORS = 8
"""Of more, those with the largest effects are paired."""

_RIVALS = 10
"""Settings that the best one is compared with."""

CONFIDENCE = 0.95
"""Of the intervals of medians, at least."""


def explained(sample: Sample) -> Table | None:
    """How much of the variance each factor and each pair of factors explains.

    Of a target y the share of a factor is 1 - SSE/SST with the mean of each of its values; that of
    a pair, beyond both, is what the mean of each cell explains more than a sum of an effect of one
    and an effect of the other. In a whole grid the shares of factors, pairs and what is left add up
    to 1: the decomposition of Sobol' (1993). The outcome is one 0-or-1 variable a word, whose
    squares add up: the share of Light and Margolin's variance (1971).

    Returns:
        None where only one key differs.
    """
    factors = [*sample.setting, *sample.repeats]
    if len(factors) < 2:
        return None
    rows, positive, there = _shares(sample.runs, factors, sample.metric)
    metric = sample.metric
    frame = pd.DataFrame(rows)
    of = f"log {metric.label}" if positive else metric.label
    pairs = zip(frame["factor"], frame["and"], strict=True)
    shown = {
        "factor": [one if pd.isna(other) else f"{one} × {other}" for one, other in pairs],
        f"% of {of}": [_percent(value) for value in frame["speed"]],
        "% of outcome": [_percent(value) for value in frame["outcome"]],
    }
    told = f"{sample.behind()}; shares of variance; a pair's is beyond those of both alone; "
    told += f"of {of} over the {there:,} runs that have it"
    told += "; of keys that were not crossed with each other the shares overlap"
    return Table("effects", "What decides", frame, pd.DataFrame(shown), told)


def explained_by_surface(sample: Sample) -> Table | None:
    """How much each factor alone explains on each surface: over all surfaces together a factor
    that decides everything on each of them, in another way, explains little.

    Returns:
        None where there is one surface.
    """
    factors = [key for key in (*sample.setting, *sample.repeats) if key not in sample.problem]
    if not sample.problem or not factors:
        return None
    groups = sample.runs.groupby(list(sample.problem), dropna=False, sort=False)
    if len(groups) < 2:
        return None
    rows: list[dict[str, Any]] = []
    for values, runs in groups:
        place = dict(zip(sample.problem, values, strict=True))
        differ = [key for key in factors if runs[key].nunique(dropna=False) > 1]
        shares, _, there = _shares(runs, differ, sample.metric, pairs=False)
        rows += [{**place, **share, "runs": there} for share in shares]
    if not rows:
        return None
    frame = pd.DataFrame(rows).drop(columns=["and", "values"])
    label = sample.metric.label
    shown = {
        **texts(frame, list(sample.problem)),
        "factor": list(frame["factor"]),
        f"% of {label}": [_percent(value) for value in frame["speed"]],
        "% of outcome": [_percent(value) for value in frame["outcome"]],
        f"runs with {label}": frame["runs"].map(str),
    }
    told = f"{sample.behind()}; shares of variance on each surface, of logarithms where all are "
    told += "positive; of keys that were not crossed with each other they overlap"
    return Table(
        "effects_by_surface", "What decides on each surface", frame, pd.DataFrame(shown), told
    )


def _shares(
    runs: pd.DataFrame, factors: Sequence[str], metric: Metric, pairs: bool = True
) -> tuple[list[dict[str, Any]], bool, int]:
    """The shares of factors and of their pairs, those that explain most first.

    Args:
        runs: a row each.
        factors: keys.
        metric: what is explained, besides the outcome.
        pairs: whether they are wanted.

    Returns:
        The rows; whether the metric's logarithm is explained; how many runs have it.
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
            enough = len(level) >= 2 * len(np.unique(level))  # of a value a run, all is explained
            row[name] = _share(target, [level]) if enough else math.nan
        rows.append(row)
    rows.sort(key=lambda row: -np.nan_to_num([row["speed"], row["outcome"]]).sum())
    alone = {row["factor"]: row for row in rows}
    for pair in combinations([row["factor"] for row in rows[:_FACTORS]] if pairs else [], 2):
        one, other = pair
        row = {"factor": one, "and": other, "values": None}
        for name, (kept, target) in targets.items():
            both = [levels[one][kept], levels[other][kept]]
            cells = both[0] * (both[1].max(initial=0) + 1) + both[1]
            if any(math.isnan(alone[key][name]) for key in pair):
                row[name] = math.nan
                continue
            beyond = _share(target, [cells]) - _share(target, both)
            row[name] = beyond if math.isnan(beyond) else max(0.0, beyond)
        rows.append(row)
    return rows, positive, int(there.sum())


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.1f}"


def _share(target: np.ndarray, groups: Sequence[np.ndarray]) -> float:
    """The share of a target's variance that a sum of effects of groupings explains.

    Args:
        target: ``(N,)`` or ``(N, K)``.
        groups: ``(N,)`` each, whole numbers.

    Returns:
        NaN where nothing varies.
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


def differences(sample: Sample) -> Table | None:
    """The best setting beside the next ones, start by start; across surfaces the best solver, on
    each surface by itself.

    Which setting is the best is decided by the measure that the title names, and that a column has
    of each; another may still be faster in most pairs. Over the pairs, which share their repeats,
    stands the median ratio of steps (of another metric, the median difference) with its interval
    (`median_interval`). A run that does not arrive takes infinitely long; where neither arrives
    there is no ratio.

    Returns:
        None where there is one setting, or nothing to pair, or what surfaces cannot be compared by.
    """
    across = any(key in sample.setting for key in sample.problem)
    if across and not sample.spans_surfaces:
        return None
    ordered = solvers(sample) if across else sample.settings
    metric, keys = sample.metric, problem_keys(sample) if across else list(sample.repeats)
    if len(ordered) < 2 or not keys:
        return None
    measure, measured = _measured(sample, ordered, across)
    series = []
    for _, runs in ordered[: _RIVALS + 1]:
        index = pd.MultiIndex.from_frame(runs.frame()[keys].astype(str))
        values = sample.comparable(metric)[runs.rows]
        known = sample.arrivals.known[runs.rows] if sample.rank else values
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
        "covered with": [_percent(share) for share in frame["coverage"]],
    }
    best_values = ", ".join(f"{key}={number(value)}" for key, value in ordered[0][0].items())
    title = f"Beside the best by {measure}, {number(measured[0], 6)}: {best_values}"
    if sample.rank:
        some = sample.arrivals.take(ordered[0][1].rows)
        title += f" ({arrived(some.arrived, len(some.at))} arrived)"
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
        return sample.ranked_by(), [sample.rank.of(sample.arrivals.take(rows)) for rows in first]
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
