"""Hitting times: the steps, or gradient evaluations, until runs reach a tolerance.

Not all runs arrive. A run that used up its steps, whether it was still on its way or is moved by
noise, might have arrived later: it is censored at its last step. So is a run that converged within
the loosest tolerance, since it stopped at the goal as far as its stopping rule can tell. A run that
ended otherwise (diverged, at rest elsewhere or cycling) never arrives, however long one waits: its
hitting time is infinite. Neither kind is left out, and neither counts as having arrived at its last
step.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np


class Columns(Protocol):
    """Runs whose columns are obtained by name."""

    def __getitem__(self, column: str, /) -> Any: ...


class HittingTimes(NamedTuple):
    """The hitting times of some runs, in steps or gradient evaluations."""

    times: np.ndarray
    """``(N,)``, when the run arrived; infinite if it did not"""
    lower_bounds: np.ndarray
    """``(N,)``, when it arrived or was cut off; infinite if it never arrives"""
    steps_made: np.ndarray
    """``(N,)``, the steps, or gradient evaluations, made until it arrived, or until its end"""

    @property
    def arrived(self) -> int:
        """The number of runs that arrived."""
        return int(np.isfinite(self.times).sum())

    def take(self, rows: np.ndarray) -> HittingTimes:
        """Returns the hitting times of the runs at some positions."""
        return HittingTimes(self.times[rows], self.lower_bounds[rows], self.steps_made[rows])


def hitting_times(runs: Columns, column: str, loosest_column: str | None = None) -> HittingTimes:
    """Returns the hitting times of runs.

    Args:
        runs: the columns of the runs.
        column: ``metrics.steps_to_…``, ``metrics.evaluations_to_…`` or another column of steps.
        loosest_column: the column for the largest tolerance, if there is one.
    """
    times = np.asarray(runs[column], float)
    times = np.where(np.isnan(times), np.inf, times)
    evaluations = column.startswith("metrics.evaluations_to_")
    made = np.asarray(runs["metrics.evaluations" if evaluations else "metrics.steps"], float)
    arrived = np.isfinite(times)
    outcome = np.asarray(runs["outcome"], str)
    cut_off = np.isin(outcome, ("budget", "noise_floor"))
    if loosest_column is not None:
        cut_off |= (outcome == "converged") & ~np.isnan(np.asarray(runs[loosest_column], float))
    lower_bounds = np.where(arrived, times, np.where(cut_off, made, np.inf))
    return HittingTimes(times, lower_bounds, np.where(arrived, times, made))


def quantiles(hits: HittingTimes, shares: tuple[float, ...] = (0.25, 0.5, 0.75)) -> list[float]:
    """Returns the hitting times by which shares of the runs have arrived, by Kaplan-Meier.

    If the estimate is exactly equal to a share over an interval, the middle of the interval is
    returned, as for the median of a sample of even size.

    Returns:
        One hitting time for each share, infinite where so many runs never arrive, or are not known
        to arrive.
    """
    times, lower_bounds = hits.times, hits.lower_bounds
    cut_off = lower_bounds[np.isinf(times) & np.isfinite(lower_bounds)]
    if cut_off.min(initial=np.inf) >= times[np.isfinite(times)].max(initial=-np.inf):
        # No run is cut off before the last arrival: the estimate is the empirical distribution.
        # (NumPy's quantiles of a few numbers take ten times as long as sorting them.)
        times = np.sort(times)
        reached = np.arange(1, len(times) + 1) / len(times)
    else:
        from scipy import stats  # importing it takes a second, and most sweeps do not need it

        finite = np.isfinite(lower_bounds)
        last = lower_bounds[finite].max(initial=0.0) + 1  # stands for infinity
        data = stats.CensoredData.right_censored(
            np.where(finite, lower_bounds, last), np.isinf(times)
        )
        estimate = stats.ecdf(data).cdf
        times, reached = estimate.quantiles, estimate.probabilities
    return [_time_of_share(times, reached, share) for share in shares]


def _time_of_share(times: np.ndarray, reached: np.ndarray, share: float) -> float:
    """Returns the time at which a share is reached; infinite if it is not.

    Args:
        times: ``(K,)``, ascending.
        reached: ``(K,)``, the share that is reached at each time.
        share: above 0.
    """
    first = int(np.searchsorted(reached, share - 1e-9))
    last = int(np.searchsorted(reached, share + 1e-9))
    ends = [float(times[index]) if index < len(times) else math.inf for index in (first, last)]
    return ends[0] if first == last else (ends[0] + ends[1]) / 2


def quantile_lower_bound(hits: HittingTimes, share: float) -> float:
    """Returns a lower bound of a quantile, as if runs arrived right when they were cut off."""
    bounds = np.sort(hits.lower_bounds)
    return _time_of_share(bounds, np.arange(1, len(bounds) + 1) / len(bounds), share)


def expected_running_time(hits: HittingTimes) -> float:
    """Returns the expected running time (ERT): the mean steps to the goal if runs are restarted.

    It is the number of steps that all runs made until they arrived or ended, divided by the number
    of runs that arrived; infinite if none did. Source: Hansen et al., "Real-parameter black-box
    optimization benchmarking" (2009).
    """
    return float(hits.steps_made.sum()) / hits.arrived if hits.arrived else math.inf
