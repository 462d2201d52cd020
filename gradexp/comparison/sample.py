"""The runs that are compared, with what tells them apart."""

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
    """Some rows of a table of runs, a column at a time as an array: pandas takes a fifth of a
    millisecond for one, and there are thousands of settings with many each.

    Args:
        runs: the table.
        columns: its columns as arrays.
        rows: ``(N,)``, which ones.
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
        """Those that are chosen, by truth or by number."""
        return Part(self._runs, self._columns, self.rows[chosen])

    def frame(self) -> pd.DataFrame:
        """The rows as a table."""
        return self._runs.iloc[self.rows]


Setting: TypeAlias = tuple[dict[str, Any], Part]
"""The values of the keys that are compared, and the runs that have them."""


@dataclass(frozen=True)
class Sample:
    """Runs, and what tells them apart.

    Args:
        runs: a row a run that ended, at least one.
        failed: how many could not be run, and are not among them.
        missing: how many jobs of the sweeps have not ended.
        doubled: how many are the same as another one, and are counted once.
        unknown: how many are left out besides, of surfaces whose minimum is not known, where runs
            are compared by their gap to it.
        setting: the config keys that are compared.
        repeats: the other keys that are not the same in all runs: each setting is run for each of
            their values, such as seeds and starts.
        metric: what runs are compared by.
        ranking: by what settings are ranked, of `RANKS`, where that is when something is reached.
        older: how many runs were made by a gradexp that ended runs by other rules.
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
        """Whether steps of some took several evaluations of the gradient."""
        return "metrics.evaluations" in self.runs

    @property
    def problem(self) -> tuple[str, ...]:
        """The keys that say what is minimized, of the setting or of its repeats."""
        keys = (*self.setting, *self.repeats)
        return tuple(key for key in keys if key.partition(".")[0] == "surface")

    @property
    def solver(self) -> tuple[str, ...]:
        """The keys of the setting that say how it is minimized."""
        return tuple(key for key in self.setting if key not in self.problem)

    @property
    def spans_surfaces(self) -> bool:
        """Whether there are several things to solve, several ways to do so, and steps to count."""
        return bool(self.problem and self.solver and self.metric.is_arrival)

    @cached_property
    def hitting_times(self) -> HittingTimes:
        """When each run arrived, where that is what runs are compared by."""
        return hitting_times(self.every, self.metric.column, self.loosest)

    @cached_property
    def loosest(self) -> str | None:
        """The column of the largest tolerance of what runs are compared by."""
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
        """The runs, or some of them, by the values of keys, in their order."""
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
        """The number of each run's value of a key, in their order."""
        if key not in self._codes:
            self._codes[key] = self.runs.groupby(key, dropna=False).ngroup().to_numpy()
        return self._codes[key]

    @cached_property
    def _codes(self) -> dict[str, np.ndarray]:
        return {}

    @cached_property
    def settings(self) -> list[Setting]:
        """The settings with their runs, the best first: by their `rank`, of equal ones by the
        median loss gap, or loss; or by the median of another metric. A run that diverged counts as
        worse than any other in these medians."""
        known = self.runs["metrics.loss_gap"].notna().any()
        other = Metric("loss_gap" if known else "final_loss")
        left = self.comparable(other if self.metric.is_arrival else self.metric)

        def score(setting: Setting) -> tuple[float, ...]:
            rows = setting[1].rows
            rest = median(left[rows])
            return (*self.rank.key(self.hitting_times.take(rows)), rest) if self.rank else (rest,)

        return sorted(self.groups(self.setting), key=score)

    @cached_property
    def rank(self) -> Rank | None:
        """What settings are ranked by, where that is when runs arrived."""
        if not self.metric.is_arrival:
            return None
        columns = (f"metrics.{self.metric.unit}", BUDGET)
        most = (self.runs[column].max() for column in columns if column in self.runs)
        return Rank(self.ranking, self.metric.unit, float(max(most)))

    def ranked_by(self) -> str:
        """What settings are ranked by, in words."""
        return self.rank.label if self.rank else f"median {self.metric.label}"

    def comparable(self, metric: Metric) -> np.ndarray:
        """``(N,)``, a figure of all runs (`Metric.comparable`)."""
        if metric not in self._comparable:
            every = self.every
            found = metric.comparable(every[metric.column], every["outcome"])
            self._comparable[metric] = found
        return self._comparable[metric]

    @cached_property
    def _comparable(self) -> dict[Metric, np.ndarray]:
        return {}

    def quartiles(self, metric: Metric, runs: Part) -> tuple[float, float, float]:
        """The first quartile, the median and the third of a figure of some runs, in which those
        that diverged, or have none, count as larger than all others.

        Returns:
            NaN where no run has it, and none diverged.
        """
        values = self.comparable(metric)[runs.rows]
        if not np.isfinite(values).any() and not (runs["outcome"] == "diverged").any():
            return (math.nan,) * 3
        low, half, high = quartiles(values).tolist()
        return low, half, high

    def behind(self) -> str:
        """How many runs these figures are of."""
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
        """What is not among the runs, in few words."""
        failed = f"{counted(self.failed, 'job')} failed" if self.failed else "none failed"
        waiting = f"; {counted(self.missing, 'job')} not ended yet" if self.missing else ""
        return failed + waiting


def counted(count: int, what: str) -> str:
    """A number of things."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def having(runs: pd.DataFrame, values: Mapping[str, Any]) -> pd.DataFrame:
    """The runs with these values of keys; one that is missing has no value."""
    for key, value in values.items():
        runs = runs[runs[key].isna() if pd.isna(value) else runs[key] == value]
    return runs
