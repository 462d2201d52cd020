"""Steps, or evaluations of the gradient, to a tolerance, of runs of which not all arrive.

A run that used all its steps, on its way or moved by noise, might have arrived later: it is
censored there; so is one that came to rest within the loosest tolerance, for it stopped at the goal
as far as its limits go. One that ended otherwise (diverged, at rest or going round somewhere else)
never arrives, however long one waits: it counts among the runs for ever. Neither is left out, and
neither counts as having arrived at the end of its steps.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np


class Columns(Protocol):
    """Runs, whose columns are had by their names."""

    def __getitem__(self, column: str, /) -> Any: ...


class HittingTimes(NamedTuple):
    """When each of some runs arrived."""

    at: np.ndarray
    """``(N,)``, after how many steps; infinite where a run did not"""
    known: np.ndarray
    """``(N,)``, up to how many that is known; infinite where it never arrives"""
    spent: np.ndarray
    """``(N,)``, how many were made until then, or to the run's end"""

    @property
    def arrived(self) -> int:
        """How many arrived."""
        return int(np.isfinite(self.at).sum())

    def take(self, rows: np.ndarray) -> HittingTimes:
        """Those of some runs."""
        return HittingTimes(self.at[rows], self.known[rows], self.spent[rows])


def hitting_times(runs: Columns, column: str, loosest: str | None = None) -> HittingTimes:
    """Those of runs.

    Args:
        runs: with their columns.
        column: ``metrics.steps_to_…`` or ``metrics.evaluations_to_…``, or of other steps.
        loosest: the same of the largest tolerance, if there is one.
    """
    at = np.asarray(runs[column], float)
    at = np.where(np.isnan(at), np.inf, at)
    evaluations = column.startswith("metrics.evaluations_to_")
    made = np.asarray(runs["metrics.evaluations" if evaluations else "metrics.steps"], float)
    arrived = np.isfinite(at)
    outcome = np.asarray(runs["outcome"], str)
    cut_off = np.isin(outcome, ("budget", "noise_floor"))
    if loosest is not None:
        cut_off |= (outcome == "converged") & ~np.isnan(np.asarray(runs[loosest], float))
    known = np.where(arrived, at, np.where(cut_off, made, np.inf))
    return HittingTimes(at, known, np.where(arrived, at, made))


def quantiles(some: HittingTimes, shares: tuple[float, ...] = (0.25, 0.5, 0.75)) -> list[float]:
    """The steps by which shares of the runs have arrived, by the Kaplan-Meier estimate; where
    exactly a share has arrived, halfway to the next one that does, as the median of a sample is.

    Returns:
        Infinite where so many never do, or are not known to.
    """
    cut = np.isinf(some.at) & np.isfinite(some.known)
    if some.known[cut].min(initial=np.inf) >= some.at[np.isfinite(some.at)].max(initial=-np.inf):
        # All are known until the last one arrives: the estimate is the sample's own distribution.
        # (NumPy's quantiles of a few numbers take ten times as long as sorting them.)
        times = np.sort(some.at)
        reached = np.arange(1, len(times) + 1) / len(times)
    else:
        from scipy import stats  # takes a second, which the end of most sweeps can spare

        last = some.known[np.isfinite(some.known)].max(initial=0.0) + 1  # stands for ever
        lasting = np.where(np.isfinite(some.known), some.known, last)
        estimate = stats.ecdf(stats.CensoredData.right_censored(lasting, np.isinf(some.at))).cdf
        times, reached = estimate.quantiles, estimate.probabilities
    return [_at_share(times, reached, share) for share in shares]


def _at_share(times: np.ndarray, reached: np.ndarray, share: float) -> float:
    """When a share is reached.

    Args:
        times: ``(K,)``, ascending.
        reached: ``(K,)``, the share that is reached then.
        share: above 0.
    """
    at = int(np.searchsorted(reached, share - 1e-9))
    later = int(np.searchsorted(reached, share + 1e-9))
    ends = [float(times[place]) if place < len(times) else math.inf for place in (at, later)]
    return ends[0] if at == later else (ends[0] + ends[1]) / 2


def least_quantile(some: HittingTimes, share: float) -> float:
    """The least that the sample's quantile can be, by what is known of its runs."""
    known = np.sort(some.known)
    return _at_share(known, np.arange(1, len(known) + 1) / len(known), share)


def expected_running_time(some: HittingTimes) -> float:
    """The steps until one run arrives where runs are started again after they end.

    All steps that were made, divided by the runs that arrived: the expected running time of Hansen
    et al., "Real-parameter black-box optimization benchmarking" (2009).
    """
    return float(some.spent.sum()) / some.arrived if some.arrived else math.inf
