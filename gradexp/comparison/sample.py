"""The runs that are compared: those of some sweeps, with what tells them apart."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from gradexp.comparison.arrivals import Arrivals, arrivals, expected_steps, quantiles
from gradexp.mistakes import Mistake, nearest
from gradexp.results import is_override, read_runs, swept_keys

LR, MOMENTUM = "optimizer.lr", "optimizer.momentum"

_ARRIVALS = ("metrics.steps_to_gap.", "metrics.steps_to_gradient.")

_STARTS = ("init", "init.point", "init.center", "init.angle", "init.index")
"""Keys of starts; how far away or how widely one begins is a setting."""

_FIGURES = ("metrics.", "theory.", "run.")


Setting: TypeAlias = tuple[dict[str, Any], pd.DataFrame]
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
        unknown: how many are left out besides, of surfaces whose minimum is not known, where runs
            are compared by their gap to it.
        setting: the config keys that are compared.
        repeats: the other keys that are not the same in all runs: each setting is run for each of
            their values, such as seeds and starts.
        metric: what runs are compared by.
    """

    runs: pd.DataFrame
    failed: int
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
        return arrivals(self.runs, self.metric.column)

    def places(self, keys: Sequence[str]) -> list[tuple[dict[str, Any], np.ndarray]]:
        """In which rows the runs are, by the values of keys, in their order."""
        if not keys:
            return [({}, np.arange(len(self.runs)))]
        grouped = self.runs.groupby(list(keys), dropna=False)
        number = grouped.ngroup().to_numpy()
        order = np.argsort(number, kind="stable")
        rows = np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
        columns = [self.runs[key].to_numpy() for key in keys]
        found = []
        for some in rows:
            values = [column[some[0]] for column in columns]
            plain = [value.item() if isinstance(value, np.generic) else value for value in values]
            found.append((dict(zip(keys, plain, strict=True)), some))
        return found

    def groups(self, keys: Sequence[str]) -> Iterator[Setting]:
        """The runs by the values of keys, in their order."""
        for values, rows in self.places(keys):
            yield values, self.runs.iloc[rows]

    @cached_property
    def settings(self) -> list[Setting]:
        """The settings with their runs, the best first: by how soon half of the runs arrive, then
        how soon one does with restarts, then the median loss gap, or loss; or by the median of
        another metric."""
        known = self.runs["metrics.loss_gap"].notna().any()
        column = "metrics.loss_gap" if known else "metrics.final_loss"
        left = self.runs[column if self.metric.is_arrival else self.metric.column].to_numpy(float)
        left = np.where(np.isfinite(left), left, np.inf)  # worse than any that is known

        def score(found: tuple[dict[str, Any], np.ndarray]) -> tuple[float, ...]:
            rest = float(np.median(left[found[1]]))
            if not self.metric.is_arrival:
                return (rest,)
            some = self.arrivals.take(found[1])
            return (quantiles(some, (0.5,))[0], expected_steps(some), rest)

        ordered = sorted(self.places(self.setting), key=score)
        return [(values, self.runs.iloc[rows]) for values, rows in ordered]

    def behind(self) -> str:
        """How many runs stand behind what is told of them."""
        over = f" over {', '.join(self.repeats)}" if self.repeats else ""
        told = f"{counted(len(self.runs), 'run')} of {counted(len(self.settings), 'setting')}{over}"
        if self.failed:
            told += f"; {counted(self.failed, 'job')} failed, left out"
        if self.unknown:
            told += (
                f"; {counted(self.unknown, 'run')} of surfaces without a known minimum, left out"
            )
        return told


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
    runs = _joined(folders)
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
    return Sample(ended, failed, unknown, setting, repeats, chosen)


def _is_repeat(key: str) -> bool:
    """Whether a key says where a run begins, or what chance makes of it."""
    return key in _STARTS or key.rpartition(".")[2] == "seed"


def _joined(folders: Sequence[Path]) -> pd.DataFrame:
    """The runs of all folders; what one of them was not told is filled in from its configs."""
    tables = [(folder, read_runs(folder)) for folder in folders]
    keys = dict.fromkeys(key for _, runs in tables for key in runs.columns if is_override(key))
    wanted = [*keys, *(key for key in (LR, MOMENTUM) if key not in keys)]
    for folder, runs in tables:
        missing = [key for key in wanted if key not in runs.columns]
        if missing:
            _fill_in(folder, runs, missing)
        runs["folder"] = [str((folder / run).resolve()) for run in runs["folder"]]
    joined = pd.concat([runs for _, runs in tables], ignore_index=True)
    joined = joined.drop_duplicates("folder", ignore_index=True)  # a run counts once
    only_filled = [key for key in wanted if key not in keys and bool(joined[key].isna().all())]
    lacking = [
        name
        for name in joined.columns
        if name.startswith(_ARRIVALS) and not all(name in runs for _, runs in tables)
    ]  # that one of them did not record says nothing of what it reached
    joined = joined.drop(columns=[*only_filled, *lacking])
    for key in (key for key in joined.columns if is_override(key)):
        joined[key] = _one_kind(joined[key])
    return joined


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
    short |= {name: name for name in runs.columns}  # config keys before figures of their name
    names = sorted(short, key=len, reverse=True)
    pattern = r"(?<![\w.`'\"])(" + "|".join(map(re.escape, names)) + r")(?![\w.`'\"])"
    quoted = re.sub(pattern, lambda match: f"`{short[match[1]]}`", where)
    try:
        kept = runs.eval(quoted, engine="python")
    except Exception as error:
        reason = f"cannot be evaluated ({error}); it may name {', '.join(swept_keys(runs))}"
        raise Mistake("--where", where, f"{reason}, outcome and figures such as steps") from None
    if not isinstance(kept, pd.Series) or not pd.api.types.is_bool_dtype(kept):
        raise Mistake("--where", where, "is not true or false for each run; equality is ==")
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
