"""Detects runs at their noise floor, where noise keeps moving them around a minimizer.

A run is at its noise floor if all of these hold over the second half of its steps:

1. Its loss has no trend. The Mann-Kendall test of the losses sampled by `engine.recording.looks`,
   with its variance corrected for correlation as by Hamed and Rao, does not reject this at the
   level `SIGNIFICANCE`.
2. It moves around a minimizer. Newton's method, started at the mean of its sampled points,
   converges to a minimizer whose distance from the mean is at most `CENTERED` times the spread of
   the points, which is their root mean square distance from the mean.
3. It stays in a small part of the domain. The spread is at most `engine.second_passes.calm.WIDEST`
   times the diameter of the domain.
4. Noise is what moves it. If it continues from its last point without noise, for about half as many
   steps as it made, it comes to within `engine.second_passes.calm.CALM` times the spread of the
   minimizer, and stays there. A run beyond the edge of stability does not, nor does one that drifts
   along a valley.

A run is never said to be at its noise floor if its learning rate is scheduled or its noise cannot
be switched off.

Sources: Mann, "Nonparametric tests against trend" (1945); Kendall, "Rank correlation methods"
(1948); Hamed and Rao, "A modified Mann-Kendall trend test for autocorrelated data" (1998).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import stats
from torch import Tensor

from gradexp.analysis.quartiles import median
from gradexp.analysis.stationary import stationary_near
from gradexp.engine import Trace
from gradexp.engine.second_passes.calm import CALM, WIDEST
from gradexp.numbers import columns
from gradexp.surfaces import Surface
from gradexp.surfaces.derivatives import LARGEST
from gradexp.surfaces.scale import diameter

SIGNIFICANCE = 0.01
"""Significance level of the test: how often it finds a trend in a run that has none."""

CENTERED = 2.0


class Floor(NamedTuple):
    """The noise floor of a run."""

    minimizer: Tensor
    """``(dim,)``: the minimizer that the run moves around"""
    eigenvalues: Tensor | None
    """``(dim,)``: the eigenvalues of the Hessian there, ascending; None if the dimension is above
    `LARGEST`"""
    median_gap: float
    """the median of the sampled losses minus the loss at the minimizer"""
    looks: int
    """the number of sampled losses. With 32 independent losses around a minimizer in two
    dimensions, the relative error of their median is above a quarter in one of three runs"""
    spread: float
    """the root mean square distance of the sampled points from their mean"""
    no_trend: float
    """the p-value of the test that the losses have no trend"""


def noise_floor(surface: Surface, trace: Trace, index: int) -> Floor | None:
    """Returns the noise floor of a run, or None if the run is not at its noise floor.

    Args:
        surface: the surface, with the numbers of that run.
        trace: the trace of the batch.
        index: the index of a run that made all its steps.
    """
    late = trace.late
    if late is None:
        return None
    losses = late.loss[:, index].double().cpu().numpy()
    mean, spread = late.mean[:, index].double().cpu(), float(late.spread[index])
    if not 0 < spread <= WIDEST * diameter(surface) or not np.isfinite(losses).all():
        return None
    if (no_trend := trend(losses)) < SIGNIFICANCE:
        return None
    place, eigenvalues = _minimizer(surface, mean, spread)
    if place is None:
        return None
    if not float((late.calm[:, index].double().cpu() - place).norm()) <= CALM * spread:
        return None
    gap = median(losses) - float(surface.value(place))
    return Floor(place, eigenvalues, gap, len(losses), spread, no_trend)


def trend(values: np.ndarray) -> float:
    """Returns the p-value of the two-sided Mann-Kendall test that a sequence has no trend.

    The variance is corrected for correlation as by Hamed and Rao.

    Args:
        values: ``(K,)``, in order.
    """
    count = len(values)
    later = np.sign(values[None, :] - values[:, None])
    score = np.triu(later, 1).sum()
    _, ties = np.unique(values, return_counts=True)
    terms = (n * (n - 1) * (2 * n + 5) for n in (count, *ties))
    variance = (next(terms) - sum(terms)) / 18
    if variance <= 0:
        return 1.0  # all values are equal
    corrected = variance * _correction(values)
    size = max(abs(score) - 1, 0) / math.sqrt(corrected)
    return float(2 * stats.norm.sf(size))


def _correction(values: np.ndarray) -> float:
    """Returns the factor by which correlation increases the variance of the score, at least 1.

    It is computed from the autocorrelations that are significant at 5 % (two-sided) among the ranks
    of the values after their Theil-Sen slope was subtracted.
    """
    count = len(values)
    steps = np.arange(count)
    slope = stats.theilslopes(values, steps).slope
    ranks = stats.rankdata(values - slope * steps)
    ranks -= ranks.mean()
    factor = 1.0
    for lag in range(1, count - 2):
        correlation = float(ranks[lag:] @ ranks[:-lag] / (ranks @ ranks)) if ranks.any() else 0.0
        if abs(correlation) <= stats.norm.ppf(0.975) / math.sqrt(count):
            continue
        weight = (count - lag) * (count - lag - 1) * (count - lag - 2)
        factor += 2 * weight * correlation / (count * (count - 1) * (count - 2))
    return max(factor, 1.0)


def _minimizer(
    surface: Surface, mean: Tensor, spread: float
) -> tuple[Tensor | None, Tensor | None]:
    """Finds the minimizer around which points lie.

    Args:
        surface: the surface, with the numbers of one run.
        mean: ``(dim,)``, the mean of the points.
        spread: their root mean square distance from the mean.

    Returns:
        The minimizer, ``(dim,)``, and the ascending eigenvalues of the Hessian there. Both are None
        if there is no such minimizer. Above `LARGEST` dimensions, only declared minimizers are
        considered and the eigenvalues are None.
    """
    if len(mean) > LARGEST:
        places = [columns(place).double() for place in surface.minimizers]
        near = min(places, key=lambda place: float((place - mean).norm()), default=None)
        if near is None or float((near - mean).norm()) > CENTERED * spread:
            return None, None
        return near, None
    found = stationary_near(surface, mean)
    far = float((found.point - mean).norm()) > CENTERED * spread
    if found.kind != "minimum" or far:
        return None, None
    return found.point, found.eigenvalues
