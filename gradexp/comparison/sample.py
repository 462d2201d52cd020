"""The runs that are compared: those of some sweeps, with what tells them apart."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from gradexp.comparison.arrivals import Arrivals, arrivals, expected_steps, quantiles
from gradexp.mistakes import Mistake, nearest
from gradexp.results import is_override, jobs_of, read_runs, swept_keys

LR, MOMENTUM = "optimizer.lr", "optimizer.momentum"

_ARRIVALS = ("metrics.steps_to_gap.", "metrics.steps_to_gradient.")

_STARTS = ("init", "init.point", "init.center", "init.angle", "init.index")
"""Keys of starts; how far away or how widely one begins is a setting."""

_EXPRESSIONS = "such as: optimizer.lr < 0.01 and outcome == 'converged'"

_FIGURES = ("metrics.", "theory.", "run.")


class Part:
    """Some rows of a table of runs, by whose columns arrays come: a thousandth of a millisecond
    each, of which pandas takes two tenths, for each of thousands of settings.

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
        """Whether it is the step at which something was reached, which not every run does."""
        return self.column.startswith(_ARRIVALS)

    @property
    def needs_minimum(self) -> bool:
        """Whether it is measured from the surface's minimum."""
        return self.column.startswith((_ARRIVALS[0], "metrics.loss_gap"))

    @property
    def label(self) -> str:
        """Its name for a person."""
        for prefix, what in zip(_ARRIVALS, ("a loss gap", "a gradient norm"), strict=True):
            if self.column.startswith(prefix):
                return f"steps to {what} of {float(self.column.removeprefix(prefix)):g}"
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
        """The settings with their runs, the best first: by how soon half of the runs arrive, then
        how soon one does with restarts, then the median loss gap, or loss; or by the median of
        another metric."""
        known = self.runs["metrics.loss_gap"].notna().any()
        column = "metrics.loss_gap" if known else "metrics.final_loss"
        left = self.runs[column if self.metric.is_arrival else self.metric.column].to_numpy(float)
        better = np.isfinite(left) & (self.runs["outcome"] != "diverged").to_numpy()
        left = np.where(better, left, np.inf)

        def score(setting: Setting) -> tuple[float, ...]:
            rows = setting[1].rows
            rest = float(np.median(left[rows]))
            if not self.metric.is_arrival:
                return (rest,)
            some = self.arrivals.take(rows)
            return (quantiles(some, (0.5,))[0], expected_steps(some), rest)

        return sorted(self.groups(self.setting), key=score)

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


def gather(
    folders: Sequence[Path],
    by: Sequence[str] = (),
    metric: str | None = None,
    where: str | None = None,
) -> Sample:
    """The runs of sweeps.

    Args:
        folders: of sweeps and runs.
        by: the config keys that are compared; all that differ but for seeds and starts, if none.
        metric: a figure of ``run.json``, such as ``steps_to_gap.1e-06`` or ``final_loss``; the
            steps to the least tolerance that any run reached, if None.
        where: an expression of config keys and figures that is true for the runs to compare.

    Raises:
        Mistake: a folder holds no runs, a name is not known, or no runs are left.
    """
    runs, missing, doubled = _joined(folders)
    by = [_whole_key(key, runs) for key in by]
    if where is not None:
        runs = _chosen(runs, where)
    failed = int((runs["outcome"] == "failed").sum())
    ended = runs[runs["outcome"] != "failed"]
    if ended.empty:
        what = f"all {failed} jobs failed" if failed else "no run is left"
        raise Mistake("--where" if where else "", where or "", f"{what}; there is none to compare")
    chosen = _metric(ended, metric)
    unknown = 0
    if chosen.needs_minimum:
        known = ended["run.minimum"].notna()
        unknown, ended = int((~known).sum()), ended[known]
        if ended.empty:
            raise Mistake("--metric", metric or "", "no minimum is known of any of these surfaces")
    swept = swept_keys(ended)
    for key in by:
        if key not in ended.columns or not is_override(key):
            raise Mistake("--by", key, f"no run was told it; {nearest(key, swept)}")
    setting = tuple(by) or tuple(key for key in swept if not _is_repeat(key))
    repeats = tuple(key for key in swept if key not in setting)
    return Sample(ended, failed, missing, doubled, unknown, setting, repeats, chosen)


def _whole_key(key: str, runs: pd.DataFrame) -> str:
    """A config key that tables head by its last part, as ``lr``."""
    keys = _by_last_part(runs).get(key, [])
    return keys[0] if len(keys) == 1 and key not in runs.columns else key


def _by_last_part(runs: pd.DataFrame) -> dict[str, list[str]]:
    """The config keys by their last part."""
    found: dict[str, list[str]] = {}
    for key in filter(is_override, runs.columns):
        found.setdefault(key.rpartition(".")[2], []).append(key)
    return found


def _is_repeat(key: str) -> bool:
    """Whether a key says where a run begins, or what chance makes of it."""
    return key in _STARTS or key.rpartition(".")[2] == "seed"


class _Joined(NamedTuple):
    """The runs of some folders."""

    runs: pd.DataFrame
    missing: int
    """jobs that have not ended"""
    doubled: int
    """runs that are left out, for they are the same as one of another folder"""


def _joined(folders: Sequence[Path]) -> _Joined:
    """The runs of all folders; what one of them was not told is filled in from its configs."""
    once = list({folder.resolve(): folder for folder in folders}.values())
    tables = [(folder, read_runs(folder)) for folder in once]
    tables.sort(key=lambda table: -len(table[1]))  # where a run is double, the larger one has it
    keys = dict.fromkeys(key for _, runs in tables for key in runs.columns if is_override(key))
    wanted = [*keys, *(key for key in (LR, MOMENTUM) if key not in keys)]
    for folder, runs in tables:
        untold = [key for key in wanted if key not in runs.columns]
        if untold:
            _fill_in(folder, runs, untold)
        whole = os.path.realpath(folder)  # that of each of thousands takes a second
        runs["folder"] = [os.path.normpath(f"{whole}/{run}") for run in runs["folder"]]
    joined = pd.concat([runs for _, runs in tables], ignore_index=True)
    source = pd.Series(np.repeat(range(len(tables)), [len(runs) for _, runs in tables]))
    apart = ~joined.duplicated("folder")  # one of a sweep that is given, too
    identity = joined.get("run.identity", pd.Series(None, joined.index, dtype=object))
    first = source.where(apart).groupby(identity).transform("min")
    twice = apart & first.notna() & (first != source)
    joined = joined[apart & ~twice].reset_index(drop=True)
    only_filled = [key for key in wanted if key not in keys and bool(joined[key].isna().all())]
    lacking = [
        name
        for name in joined.columns
        if name.startswith(_ARRIVALS) and not all(name in runs for _, runs in tables)
    ]  # that one of them did not record says nothing of what it reached
    joined = joined.drop(columns=[*only_filled, *lacking])
    for key in (key for key in joined.columns if is_override(key)):
        joined[key] = _one_kind(joined[key])
    own = [number for number in range(len(tables)) if (~twice & (source == number)).any()]
    some = [tables[number] for number in own]  # what a copy of a sweep lacks, the sweep lacks
    missing = sum(max((jobs_of(folder) or 0) - len(runs), 0) for folder, runs in some)
    return _Joined(joined, missing, int(twice.sum()))


def _one_kind(column: pd.Series) -> pd.Series:
    """The values of a key as numbers, or all as texts."""
    kinds = {type(value) for value in column if not pd.isna(value)}
    if len(kinds) < 2 or all(issubclass(k, int | float) and k is not bool for k in kinds):
        return column
    return column.map(lambda value: value if pd.isna(value) else str(value))


def _fill_in(folder: Path, runs: pd.DataFrame, keys: Sequence[str]) -> None:
    """Adds what runs were not told: as one of them has it, of each choice of config groups."""
    groups = [key for key in runs.columns if is_override(key) and "." not in key]
    chosen = [key for key in groups if not pd.api.types.is_numeric_dtype(runs[key])]
    ended = runs[runs["outcome"] != "failed"]
    parts = ended.groupby(chosen, dropna=False) if chosen else [((), ended)]
    for key in keys:
        runs[key] = None
    for _, part in parts:
        if part.empty:
            continue
        hidden = folder / part["folder"].iloc[0] / ".hydra"
        if not (hidden / "config.yaml").exists():  # it was not to be written
            continue
        config = OmegaConf.load(hidden / "config.yaml")
        choices = OmegaConf.load(hidden / "hydra.yaml").hydra.runtime.choices
        for key in keys:
            value = choices.get(key, OmegaConf.select(config, key, default=None))
            plain = value is None or isinstance(value, int | float | str | bool)
            runs.loc[part.index, key] = value if plain else str(value)
    for key in keys:
        runs[key] = runs[key].infer_objects()


def _chosen(runs: pd.DataFrame, where: str) -> pd.DataFrame:
    """The runs for which an expression is true.

    Raises:
        Mistake: it cannot be evaluated.
    """
    short: dict[str, str] = {}
    for prefix in reversed(_FIGURES):
        short |= {n.removeprefix(prefix): n for n in runs.columns if n.startswith(prefix)}
    last = _by_last_part(runs)
    short |= {name: keys[0] for name, keys in last.items() if len(keys) == 1 and name not in short}
    short |= {name: name for name in runs.columns}  # config keys before figures of their name
    names = sorted(short, key=len, reverse=True)
    pattern = r"(?<![\w.`'\"])(" + "|".join(map(re.escape, names)) + r")(?![\w.`'\"])"
    quoted = re.sub(pattern, lambda match: f"`{short[match[1]]}`", where)
    try:
        kept = runs.eval(quoted, engine="python")
    except pd.errors.UndefinedVariableError as error:
        name = str(error).partition("'")[2].partition("'")[0]
        known = [one for one in short if not one.startswith(_FIGURES)]
        raise Mistake("--where", where, f"{name}: no such key; {nearest(name, known)}") from None
    except Exception:
        raise Mistake("--where", where, f"cannot be read; {_EXPRESSIONS}") from None
    if not isinstance(kept, pd.Series) or not pd.api.types.is_bool_dtype(kept):
        raise Mistake("--where", where, f"is not true or false for each run; {_EXPRESSIONS}")
    return runs[kept]


def _metric(runs: pd.DataFrame, name: str | None) -> Metric:
    """The metric of that name.

    Raises:
        Mistake: there is none.
    """
    known = [column for column in runs.columns if column.startswith("metrics.")]
    if name is not None:
        for column in known:
            short = column.removeprefix("metrics.")
            if name in (column, short) or _same_tolerance(name.removeprefix("metrics."), short):
                return Metric(column)
        short_names = [column.removeprefix("metrics.") for column in known]
        raise Mistake("--metric", name, f"no such figure; {nearest(name, short_names)}")
    for prefix in _ARRIVALS:
        reached = [
            column for column in known if column.startswith(prefix) and runs[column].notna().any()
        ]
        if reached:
            return Metric(min(reached, key=lambda column: float(column.removeprefix(prefix))))
    gap = "metrics.loss_gap"
    return Metric(gap if runs[gap].notna().any() else "metrics.final_loss")


def _same_tolerance(name: str, other: str) -> bool:
    """Whether two names are the same but for how a tolerance is written."""
    (one, _, tolerance), (two, _, its) = name.partition("."), other.partition(".")
    try:
        return one == two and float(tolerance) == float(its)
    except ValueError:
        return False
