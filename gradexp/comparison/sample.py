"""The runs that are compared, and the config keys in which they differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from gradexp.analysis.metric import Metric
from gradexp.analysis.quartiles import median, quartiles
from gradexp.comparison.hitting_times import HittingTimes, hitting_times
from gradexp.comparison.ranking import USUAL, Rank

LR, MOMENTUM, BUDGET = "optimizer.lr", "optimizer.momentum", "steps"
OPTIMIZER = "optimizer"


class Part:
    """Some rows of a table of runs, whose columns are read as arrays.

    Reading a column with pandas takes 0.2 ms, and there may be thousands of settings with many
    columns each.

    Args:
        runs: the table.
        columns: its columns as arrays.
        rows: ``(N,)``, the positions of the rows.
    """

    def __init__(
        self, runs: pd.DataFrame, columns: Mapping[str, np.ndarray], rows: np.ndarray
    ) -> None:
        self._runs = runs
        self._columns = columns
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, column: str) -> np.ndarray:
        values: np.ndarray = self._columns[column][self.rows]
        return values

    def where(self, chosen: np.ndarray) -> Part:
        """Returns the rows selected by a boolean mask or by their positions."""
        return Part(self._runs, self._columns, self.rows[chosen])

    def frame(self) -> pd.DataFrame:
        """Returns the rows as a table."""
        return self._runs.iloc[self.rows]


Setting: TypeAlias = tuple[dict[str, Any], Part]
"""The values of the compared config keys, and the runs that have these values."""


@dataclass(frozen=True)
class Sample:
    """The runs of a comparison, divided into settings and their repeats.

    Args:
        runs: one row for each run that ended; at least one.
        failed: the number of jobs that failed; `runs` does not contain them.
        missing: the number of jobs of the sweeps that have not ended.
        doubled: the number of runs left out because they are the same as another one.
        unknown: the number of runs left out because the minimum of their surface is not known and
            the metric needs it.
        setting: the config keys that are compared.
        repeats: the other keys in which runs differ, such as seeds and starts: each setting is
            repeated with several of their values.
        metric: the metric that runs are compared by.
        ranking: the criterion that settings are ranked by, a key of `RANKS`; it is used if the
            metric is a hitting time.
        older: the number of runs made by a version of gradexp with other rules for ending a run.
    """

    runs: pd.DataFrame
    failed: int
    missing: int
    doubled: int
    unknown: int
    setting: tuple[str, ...]
    repeats: tuple[str, ...]
    metric: Metric
    ranking: str = USUAL
    older: int = 0

    @property
    def counts_evaluations(self) -> bool:
        """Whether a step of some runs took several gradient evaluations."""
        return "metrics.evaluations" in self.runs

    @property
    def problem(self) -> tuple[str, ...]:
        """The keys, of the setting or its repeats, that define the surface."""
        keys = (*self.setting, *self.repeats)
        return tuple(key for key in keys if key.partition(".")[0] == "surface")

    @property
    def solver(self) -> tuple[str, ...]:
        """The keys of the setting that do not define the surface."""
        return tuple(key for key in self.setting if key not in self.problem)

    @property
    def spans_surfaces(self) -> bool:
        """Whether surfaces and solvers both vary, and the metric is a hitting time."""
        return bool(self.problem and self.solver and self.metric.is_hitting_time)

    @cached_property
    def hitting_times(self) -> HittingTimes:
        """The hitting time of each run, for a metric that is one."""
        return hitting_times(self.every, self.metric.column, self.loosest)

    @cached_property
    def loosest(self) -> str | None:
        """The column of the metric at its largest recorded tolerance, or None."""
        start = self.metric.column.rpartition("_to_")[0] + "_to_"
        start += self.metric.name.partition("_to_")[2].partition(".")[0] + "."
        columns = [name for name in map(str, self.runs) if name.startswith(start)]
        return max(columns, key=lambda name: float(name.removeprefix(start)), default=None)

    @cached_property
    def every(self) -> Part:
        """All runs."""
        columns = {str(name): self.runs[name].to_numpy() for name in self.runs}
        return Part(self.runs, columns, np.arange(len(self.runs)))

    def groups(self, keys: Sequence[str], among: Part | None = None) -> list[Setting]:
        """Groups all runs, or those in `among`, by the values of keys, in ascending order."""
        among = among or self.every
        if not keys:
            return [({}, among)]
        codes = np.stack([self._code(key)[among.rows] for key in keys])
        order = np.lexsort(codes[::-1])
        ends = np.flatnonzero((np.diff(codes[:, order]) != 0).any(axis=0)) + 1
        parts = np.split(order, ends)
        columns = [among[key] for key in keys]
        found = []
        for rows in parts:
            values = [column[rows[0]] for column in columns]
            plain = [value.item() if isinstance(value, np.generic) else value for value in values]
            found.append((dict(zip(keys, plain, strict=True)), among.where(rows)))
        return found

    def _code(self, key: str) -> np.ndarray:
        """Returns the rank of each run's value among the values of a key."""
        if key not in self._codes:
            self._codes[key] = self.runs.groupby(key, dropna=False).ngroup().to_numpy()
        return self._codes[key]

    @cached_property
    def _codes(self) -> dict[str, np.ndarray]:
        return {}

    @cached_property
    def settings(self) -> list[Setting]:
        """The settings with their runs, the best first.

        For a hitting time they are ordered by `rank`, and ties by the median loss gap, or by the
        median loss if no minimum is known. For another metric they are ordered by its median. A run
        that diverged counts as worse than any other in these medians.
        """
        known = self.runs["metrics.loss_gap"].notna().any()
        other = Metric("loss_gap" if known else "final_loss")
        left = self.comparable(other if self.metric.is_hitting_time else self.metric)

        def score(setting: Setting) -> tuple[float, ...]:
            rows = setting[1].rows
            rest = median(left[rows])
            return (*self.rank.key(self.hitting_times.take(rows)), rest) if self.rank else (rest,)

        return sorted(self.groups(self.setting), key=score)

    @cached_property
    def rank(self) -> Rank | None:
        """The criterion that settings are ranked by; None if the metric is not a hitting time."""
        if not self.metric.is_hitting_time:
            return None
        columns = (f"metrics.{self.metric.unit}", BUDGET)
        most = (self.runs[column].max() for column in columns if column in self.runs)
        return Rank(self.ranking, self.metric.unit, float(max(most)))

    def ranked_by(self) -> str:
        """Returns the name of what settings are ranked by."""
        return self.rank.label if self.rank else f"median {self.metric.label}"

    def comparable(self, metric: Metric) -> np.ndarray:
        """Returns a metric of all runs, ``(N,)``, as `Metric.comparable` does."""
        if metric not in self._comparable:
            every = self.every
            found = metric.comparable_values(every[metric.column], every["outcome"])
            self._comparable[metric] = found
        return self._comparable[metric]

    @cached_property
    def _comparable(self) -> dict[Metric, np.ndarray]:
        return {}

    def quartiles(self, metric: Metric, runs: Part) -> tuple[float, float, float]:
        """Returns the first quartile, the median and the third quartile of a metric of some runs.

        Runs that diverged, or have no value, count as larger than all others. All three are NaN if
        no run has a value and none diverged.
        """
        values = self.comparable(metric)[runs.rows]
        if not np.isfinite(values).any() and not (runs["outcome"] == "diverged").any():
            return (math.nan,) * 3
        low, half, high = quartiles(values).tolist()
        return low, half, high

    def behind(self) -> str:
        """Returns how many runs and settings are compared, and how many were left out and why."""
        over = f" over {', '.join(self.repeats)}" if self.repeats else ""
        told = f"{counted(len(self.runs), 'run')} of {counted(len(self.settings), 'setting')}{over}"
        left_out = (
            (self.failed, "job", "failed, left out"),
            (self.missing, "job", "not ended yet"),
            (self.doubled, "run", "again the same as another, left out"),
            (self.older, "run", "made by an older gradexp, which ended runs by other rules"),
            (self.unknown, "run", "of surfaces without a known minimum, left out"),
        )
        some = (f"{counted(count, noun)} {what}" for count, noun, what in left_out if count)
        return "; ".join([told, *some])

    def lacking(self) -> str:
        """Returns how many jobs failed or have not ended, in a few words."""
        failed = f"{counted(self.failed, 'job')} failed" if self.failed else "none failed"
        waiting = f"; {counted(self.missing, 'job')} not ended yet" if self.missing else ""
        return failed + waiting


def counted(count: int, what: str) -> str:
    """Returns a count with its noun, in the plural unless it is 1."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def having(runs: pd.DataFrame, values: Mapping[str, Any]) -> pd.DataFrame:
    """Returns the runs that have these values of keys; NaN or None stands for a missing value."""
    for key, value in values.items():
        runs = runs[runs[key].isna() if pd.isna(value) else runs[key] == value]
    return runs
