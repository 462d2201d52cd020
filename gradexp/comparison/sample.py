"""The runs that are compared, with what tells them apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from gradexp.comparison.arrivals import Arrivals, arrivals, expected_steps, middle, quantiles

LR, MOMENTUM, BUDGET = "optimizer.lr", "optimizer.momentum", "steps"

_GOALS = {"gap": "a loss gap", "gradient": "a gradient norm"}

ARRIVALS = tuple(
    f"metrics.{unit}_to_{goal}." for unit in ("evaluations", "steps") for goal in _GOALS
)
"""How the columns begin that hold when something was reached: first by the gradients that were
evaluated until then, where runs were told by these."""


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


class Metric(NamedTuple):
    """What runs are compared by; less is better."""

    column: str

    @property
    def is_arrival(self) -> bool:
        """Whether it is when something was reached, which not every run does."""
        return self.column.startswith(ARRIVALS)

    @property
    def unit(self) -> str:
        """What is counted until something is reached: steps, or evaluations of the gradient."""
        return self.column.removeprefix("metrics.").partition("_to_")[0]

    @property
    def needs_minimum(self) -> bool:
        """Whether it is measured from the surface's minimum."""
        return "_to_gap." in self.column or self.column == "metrics.loss_gap"

    @property
    def label(self) -> str:
        """Its name for a person."""
        if self.is_arrival:
            goal, _, tolerance = self.column.partition("_to_")[2].partition(".")
            return f"{self.unit} to {_GOALS[goal]} of {float(tolerance):g}"
        return self.column.removeprefix("metrics.").replace("_", " ")


@dataclass(frozen=True)
class Sample:
    """Runs, and what tells them apart.

    Args:
        runs: a row a run that ended, at least one.
        failed: how many could not be run, and are not among them.
        missing: how many jobs of the sweeps have not ended.
        doubled: how many are the same as one in another folder, and are counted once.
        unknown: how many are left out besides, of surfaces whose minimum is not known, where runs
            are compared by their gap to it.
        setting: the config keys that are compared.
        repeats: the other keys that are not the same in all runs: each setting is run for each of
            their values, such as seeds and starts.
        metric: what runs are compared by.
    """

    runs: pd.DataFrame
    failed: int
    missing: int
    doubled: int
    unknown: int
    setting: tuple[str, ...]
    repeats: tuple[str, ...]
    metric: Metric

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
    def arrivals(self) -> Arrivals:
        """When each run arrived, where that is what runs are compared by."""
        return arrivals(self.every, self.metric.column)

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
        """The settings with their runs, the best first: by the expected steps until one arrives,
        with restarts, then how soon half of the runs do, then the median loss gap, or loss; or by
        the median of another metric. A run that diverged counts as worse than any other in these
        medians."""
        known = self.runs["metrics.loss_gap"].notna().any()
        column = "metrics.loss_gap" if known else "metrics.final_loss"
        left = self.bounded(column if self.metric.is_arrival else self.metric.column)

        def score(setting: Setting) -> tuple[float, ...]:
            rows = setting[1].rows
            rest = float(np.median(left[rows]))
            if not self.metric.is_arrival:
                return (rest,)
            some = self.arrivals.take(rows)
            return (expected_steps(some), quantiles(some, (0.5,))[0], rest)

        return sorted(self.groups(self.setting), key=score)

    def bounded(self, column: str) -> np.ndarray:
        """``(N,)``, a figure of all runs, infinite for those without it and those that diverged."""
        if column not in self._bounded:
            told = self.every[column].astype(float)
            known = np.isfinite(told) & (self.every["outcome"] != "diverged")
            self._bounded[column] = np.where(known, told, np.inf)
        return self._bounded[column]

    @cached_property
    def _bounded(self) -> dict[str, np.ndarray]:
        return {}

    def quartiles(self, column: str, runs: Part) -> tuple[float, float, float]:
        """The first quartile, the median and the third of a figure of some runs, in which those
        that diverged, or have none, count as larger than all others.

        Returns:
            NaN where no run has it, and none diverged.
        """
        found = middle(self.bounded(column)[runs.rows])
        lost = math.isnan(found[1]) and bool((runs["outcome"] == "diverged").any())
        return (math.inf,) * 3 if lost else found

    def behind(self) -> str:
        """How many runs stand behind what is told of them."""
        over = f" over {', '.join(self.repeats)}" if self.repeats else ""
        told = f"{counted(len(self.runs), 'run')} of {counted(len(self.settings), 'setting')}{over}"
        left_out = (
            (self.failed, "job", "failed, left out"),
            (self.missing, "job", "not ended yet"),
            (self.doubled, "run", "again in another folder, left out"),
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
