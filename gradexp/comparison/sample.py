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
from gradexp.comparison.ranking import DEFAULT_CRITERION, Criterion

LR, MOMENTUM, BUDGET = "optimizer.lr", "optimizer.momentum", "steps"
OPTIMIZER = "optimizer"


class RunSubset:
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

    def where(self, chosen: np.ndarray) -> RunSubset:
        """Returns the rows selected by a boolean mask or by their positions."""
        return RunSubset(self._runs, self._columns, self.rows[chosen])

    def frame(self) -> pd.DataFrame:
        """Returns the rows as a table."""
        return self._runs.iloc[self.rows]


Setting: TypeAlias = tuple[dict[str, Any], RunSubset]
"""The values of the compared config keys, and the runs that have these values."""


@dataclass(frozen=True)
class Sample:
    """The runs of a comparison, divided into settings and their repeats.

    Args:
        runs: one row for each run that ended; at least one.
        failed: the number of jobs that failed; `runs` does not contain them.
        unfinished: the number of jobs of the sweeps that have not ended.
        duplicates: the number of runs left out because they are the same as another one.
        without_minimum: the number of runs left out because the minimum of their surface is not
            known and the metric needs it.
        setting_keys: the config keys that are compared.
        repeat_keys: the other keys in which runs differ, such as seeds and starts: each setting is
            repeated with several of their values.
        metric: the metric that runs are compared by.
        criterion_name: the criterion that settings are ranked by, a key of `CRITERIA`; it is used
            if the metric is a hitting time.
        older_format: the number of runs made by a version of gradexp with other rules for ending a
            run.
    """

    runs: pd.DataFrame
    failed: int
    unfinished: int
    duplicates: int
    without_minimum: int
    setting_keys: tuple[str, ...]
    repeat_keys: tuple[str, ...]
    metric: Metric
    criterion_name: str = DEFAULT_CRITERION
    older_format: int = 0

    @property
    def counts_evaluations(self) -> bool:
        """Whether a step of some runs took several gradient evaluations."""
        return "metrics.evaluations" in self.runs

    @property
    def surface_keys(self) -> tuple[str, ...]:
        """The keys, of the setting or its repeats, that define the surface."""
        keys = (*self.setting_keys, *self.repeat_keys)
        return tuple(key for key in keys if key.partition(".")[0] == "surface")

    @property
    def solver_keys(self) -> tuple[str, ...]:
        """The keys of the setting that do not define the surface."""
        return tuple(key for key in self.setting_keys if key not in self.surface_keys)

    @property
    def spans_surfaces(self) -> bool:
        """Whether surfaces and solvers both vary, and the metric is a hitting time."""
        return bool(self.surface_keys and self.solver_keys and self.metric.is_hitting_time)

    @cached_property
    def hitting_times(self) -> HittingTimes:
        """The hitting time of each run, for a metric that is one."""
        return hitting_times(self.all_runs, self.metric.column, self.loosest_column)

    @cached_property
    def loosest_column(self) -> str | None:
        """The column of the metric at its largest recorded tolerance, or None."""
        start = self.metric.column.rpartition("_to_")[0] + "_to_"
        start += self.metric.name.partition("_to_")[2].partition(".")[0] + "."
        columns = [name for name in map(str, self.runs) if name.startswith(start)]
        return max(columns, key=lambda name: float(name.removeprefix(start)), default=None)

    @cached_property
    def all_runs(self) -> RunSubset:
        """All runs."""
        columns = {str(name): self.runs[name].to_numpy() for name in self.runs}
        return RunSubset(self.runs, columns, np.arange(len(self.runs)))

    def groups(self, keys: Sequence[str], among: RunSubset | None = None) -> list[Setting]:
        """Groups all runs, or those in `among`, by the values of keys, in ascending order."""
        among = among or self.all_runs
        if not keys:
            return [({}, among)]
        codes = np.stack([self._code(key)[among.rows] for key in keys])
        order = np.lexsort(codes[::-1])
        ends = np.flatnonzero((np.diff(codes[:, order]) != 0).any(axis=0)) + 1
        parts = np.split(order, ends)
        columns = [among[key] for key in keys]
        groups = []
        for rows in parts:
            values = [column[rows[0]] for column in columns]
            plain = [value.item() if isinstance(value, np.generic) else value for value in values]
            groups.append((dict(zip(keys, plain, strict=True)), among.where(rows)))
        return groups

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

        For a hitting time they are ordered by `criterion`, and ties by the median loss gap, or by
        the median loss if no minimum is known. For another metric they are ordered by its median. A
        run that diverged counts as worse than any other in these medians.
        """
        knows_minimum = self.runs["metrics.loss_gap"].notna().any()
        loss = Metric("loss_gap" if knows_minimum else "final_loss")
        values = self.comparable_values(loss if self.metric.is_hitting_time else self.metric)

        def sort_key(setting: Setting) -> tuple[float, ...]:
            rows = setting[1].rows
            if self.criterion is None:
                return (median(values[rows]),)
            hits = self.hitting_times.take(rows)
            return (*self.criterion.sort_key(hits), median(values[rows]))

        return sorted(self.groups(self.setting_keys), key=sort_key)

    @cached_property
    def criterion(self) -> Criterion | None:
        """The criterion that settings are ranked by; None if the metric is not a hitting time."""
        if not self.metric.is_hitting_time:
            return None
        columns = (f"metrics.{self.metric.unit}", BUDGET)
        largest = (self.runs[column].max() for column in columns if column in self.runs)
        return Criterion(self.criterion_name, self.metric.unit, float(max(largest)))

    def ranking_label(self) -> str:
        """Returns the name of the value that settings are ranked by."""
        return self.criterion.label if self.criterion else f"median {self.metric.label}"

    def comparable_values(self, metric: Metric) -> np.ndarray:
        """Returns a metric of all runs, ``(N,)``, as `Metric.comparable_values` does."""
        if metric not in self._comparable_values:
            runs = self.all_runs
            values = metric.comparable_values(runs[metric.column], runs["outcome"])
            self._comparable_values[metric] = values
        return self._comparable_values[metric]

    @cached_property
    def _comparable_values(self) -> dict[Metric, np.ndarray]:
        return {}

    def quartiles(self, metric: Metric, runs: RunSubset) -> tuple[float, float, float]:
        """Returns the first quartile, the median and the third quartile of a metric of some runs.

        Runs that diverged, or have no value, count as larger than all others. All three are NaN if
        no run has a value and none diverged.
        """
        values = self.comparable_values(metric)[runs.rows]
        if not np.isfinite(values).any() and not (runs["outcome"] == "diverged").any():
            return (math.nan,) * 3
        low, half, high = quartiles(values).tolist()
        return low, half, high

    def summary(self) -> str:
        """Returns how many runs and settings are compared, and how many were left out and why."""
        over = f" over {', '.join(self.repeat_keys)}" if self.repeat_keys else ""
        runs, settings = len(self.runs), len(self.settings)
        compared = f"{pluralize(runs, 'run')} of {pluralize(settings, 'setting')}{over}"
        left_out = (
            (self.failed, "job", "failed, left out"),
            (self.unfinished, "job", "not ended yet"),
            (self.duplicates, "duplicate run", "left out"),
            (self.older_format, "run", "from an older gradexp version with other stopping rules"),
            (self.without_minimum, "run", "of surfaces without a known minimum, left out"),
        )
        others = (f"{pluralize(count, noun)} {what}" for count, noun, what in left_out if count)
        return "; ".join([compared, *others])

    def missing_summary(self) -> str:
        """Returns how many jobs failed or have not ended, in a few words."""
        failed = f"{pluralize(self.failed, 'job')} failed" if self.failed else "none failed"
        unfinished = pluralize(self.unfinished, "job")
        return failed + (f"; {unfinished} not ended yet" if self.unfinished else "")


def pluralize(count: int, noun: str) -> str:
    """Returns a count with its noun, in the plural unless it is 1."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def rows_with(runs: pd.DataFrame, values: Mapping[str, Any]) -> pd.DataFrame:
    """Returns the runs that have these values of keys; NaN or None stands for a missing value."""
    for key, value in values.items():
        runs = runs[runs[key].isna() if pd.isna(value) else runs[key] == value]
    return runs
