"""Runs that noise goes on moving about a minimizer: the noise floor.

A run is at its noise floor where, over the second half of its steps,

1. its loss has no trend left: the Mann-Kendall test of the losses of `engine.recording.looks`, its
   variance corrected for their correlation by Hamed and Rao, does not reject that at
   `SIGNIFICANCE`;
2. it moves about a minimizer: Newton's method comes to one from the mean of its points, which lies
   within `CENTERED` times their root mean squared distance from the mean;
3. it does not fill the surface: that distance is below `engine.second_passes.calm.WIDEST` times the
   diameter of the domain;
4. it is noise that moves it: without noise it comes from its last point, in as many steps as that
   half has, to within `engine.second_passes.calm.CALM` times that distance of the minimizer, and
   stays there. (One beyond the edge of stability does not, nor one that drifts through a valley.)

A run whose learning rate is scheduled, or whose noise cannot be silenced, is not said to be at its
noise floor.

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
"""How often a run without a trend is said to have one."""

CENTERED = 2.0


class Floor(NamedTuple):
    """The noise floor of a run."""

    minimizer: Tensor
    """``(dim,)``: what it moves about"""
    eigenvalues: Tensor | None
    """``(dim,)``, ascending, of the Hessian there; None where there are too many"""
    median_gap: float
    """the median of the losses less that at the minimizer"""
    looks: int
    """how many losses that are: of 32 that are independent, about a minimizer of two dimensions,
    the median is off by a quarter, in one of three runs by more"""
    spread: float
    """the root of the mean squared distance of its points from their mean"""
    no_trend: float
    """the p-value of the test"""


def noise_floor(surface: Surface, trace: Trace, index: int) -> Floor | None:
    """The noise floor that a run is at, or None.

    Args:
        surface: of that run.
        trace: of its batch.
        index: of a run that used all its steps.
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
    """The p-value of the Mann-Kendall test that a sequence has no trend, two-sided, its variance
    corrected as Hamed and Rao do.

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
        return 1.0  # all the same
    corrected = variance * _correction(values)
    size = max(abs(score) - 1, 0) / math.sqrt(corrected)
    return float(2 * stats.norm.sf(size))


def _correction(values: np.ndarray) -> float:
    """How much larger than of independent values the variance of the score is: from the
    correlations of the ranks of what is left of the values without their slope, those that are
    significant."""
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
    """The minimizer about which points lie, and the eigenvalues of the Hessian there."""
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
