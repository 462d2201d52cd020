"""Collects the runs to compare from the folders of sweeps and runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gradexp.analysis.metric import (
    COLUMN_PREFIX,
    HITTING_TIME_PREFIXES,
    Metric,
    default_metric,
    find_metric,
)
from gradexp.comparison.expressions import InvalidExpression, UnknownName, select_rows
from gradexp.comparison.ranking import CRITERIA, DEFAULT_CRITERION
from gradexp.comparison.sample import BUDGET, LR, MOMENTUM, Sample
from gradexp.config.gate.environment import guarded_environment
from gradexp.errors import UserError, nearest
from gradexp.files.yaml import read_config
from gradexp.results import FORMAT, is_override, jobs_of, read_runs, swept_keys

_STARTS = ("init", "init.point", "init.center", "init.angle", "init.index")
"""Config keys of the start. Its distance or spread (``init.radius``, ``init.std``) is a setting."""

_INCIDENTAL = ("engine", "record", "log", "device")
"""Groups and keys that say how runs are computed and stored, but not what is computed."""

_CLASS = "._target_"

_EXPRESSIONS = "such as: optimizer.lr < 0.01 and outcome == 'converged'"

_FIGURES = ("metrics.", "theory.", "run.")


def gather(
    folders: Sequence[Path],
    by: Sequence[str] = (),
    metric: str | None = None,
    where: str | None = None,
    rank: str | None = None,
) -> Sample:
    """Returns the runs of sweeps, divided into settings and repeats.

    Args:
        folders: the folders of sweeps and of single runs.
        by: the config keys to compare; if empty, all keys that differ between runs, except for
            seeds and starts.
        metric: a metric of ``run.json``, such as ``steps_to_gap.1e-06`` or ``final_loss``; if None,
            the one that `gradexp.analysis.metric.default_metric` chooses: as a rule the steps to a
            small tolerance, or the gradient evaluations if a step of some run took several.
        where: an expression of config keys and metrics that selects the runs to compare.
        rank: the criterion that settings are ranked by, a key of
            `gradexp.comparison.ranking.CRITERIA`; PAR10 if None.

    Raises:
        UserError: If a folder holds no runs, a name is not known, or no runs are left.
    """
    if rank is not None and rank not in CRITERIA:
        raise UserError("--rank", rank, f"must be one of {', '.join(CRITERIA)}")
    runs, missing, doubled, untold, incidental = _joined(folders)
    by = [_whole_key(key, runs) for key in by]
    if where is not None:
        runs = _chosen(runs, where)
    failed = int((runs["outcome"] == "failed").sum())
    ended = runs[runs["outcome"] != "failed"]
    if ended.empty:
        what = f"all {failed} jobs failed" if failed else "no run is left"
        raise UserError(
            "--where" if where else "", where or "", f"{what}; there is none to compare"
        )
    ended = _with_evaluations(_with_classes(ended))
    chosen = _metric(ended, metric)
    if rank is not None and not chosen.is_hitting_time:
        reason = f"ranks by when runs arrived, and they are compared by {chosen.label}"
        raise UserError("--rank", rank, f"{reason}: choose a --metric such as steps_to_gap.1e-06")
    unknown = 0
    if chosen.needs_minimum:
        known = ended["run.minimum"].notna()
        unknown, ended = int((~known).sum()), ended[known]
        if ended.empty:
            raise UserError(
                "--metric", metric or "", "no minimum is known of any of these surfaces"
            )
    swept = [
        key
        for key in swept_keys(ended)
        if key not in incidental
        and not key.endswith(_CLASS)
        and (key not in untold or not (key == BUDGET or _follows(ended, key)))
    ]
    for key in by:
        if key not in ended.columns or not is_override(key):
            raise UserError("--by", key, f"is a key that no run sets; {nearest(key, swept)}")
    setting = tuple(by) or tuple(key for key in swept if not _is_repeat(key))
    repeats = tuple(key for key in swept if key not in setting)
    if "run.identity" in ended:  # equal for runs that differ only in a seed that is not used
        same = [*setting, "run.identity"]
        again = ended["run.identity"].notna() & ended.duplicated(same)
        again |= _same_but_for_a_seed(ended, setting, repeats)
        doubled, ended = doubled + int(again.sum()), ended[~again]
        repeats = tuple(key for key in repeats if ended[key].nunique(dropna=False) > 1)
    written = ended.get("run.format", pd.Series(None, ended.index, dtype=object))
    older = int((written != FORMAT).sum())
    left_out = failed, missing, doubled, unknown
    return Sample(ended, *left_out, setting, repeats, chosen, rank or DEFAULT_CRITERION, older)


def _same_but_for_a_seed(
    runs: pd.DataFrame, setting: Sequence[str], repeats: Sequence[str]
) -> pd.Series:
    """Marks runs identical in trace and metrics to an earlier run that differs only in seeds.

    This happens, for example, when the noise is lost in rounding. Runs that never moved or that
    diverged are not marked, since their metrics do not tell where they started.
    """
    others = [key for key in repeats if key.rpartition(".")[2] != "seed"]
    metrics = [name for name in runs if str(name).startswith("metrics.")]
    if not {"run.digest", "metrics.path_length", "metrics.displacement"} <= set(runs):
        return pd.Series(False, runs.index)
    same = runs.duplicated([*setting, *others, "outcome", "run.digest", *metrics])
    return same & (runs["metrics.path_length"] > 0) & runs["metrics.displacement"].notna()


def _whole_key(key: str, runs: pd.DataFrame) -> str:
    """Returns the full config key for its last part, such as ``lr``; other keys as they are."""
    keys = _by_last_part(runs).get(key, [])
    return keys[0] if len(keys) == 1 and key not in runs.columns else key


def _by_last_part(runs: pd.DataFrame) -> dict[str, list[str]]:
    """Returns the config keys by their last part."""
    found: dict[str, list[str]] = {}
    for key in filter(is_override, runs.columns):
        found.setdefault(key.rpartition(".")[2], []).append(key)
    return found


def _follows(runs: pd.DataFrame, key: str) -> bool:
    """Returns whether the choice of a key's group determines its value.

    An example is the momentum, which some optimizers have and others lack.
    """
    group = key.partition(".")[0]
    return group != key and group in runs and bool((runs.groupby(group)[key].nunique() < 2).all())


def _is_repeat(key: str) -> bool:
    """Returns whether a key sets the start or a random seed."""
    return key in _STARTS or key.rpartition(".")[2] == "seed"


class _Joined(NamedTuple):
    """The runs of several folders in one table."""

    runs: pd.DataFrame
    missing: int
    """number of jobs that have not ended"""
    doubled: int
    """number of runs left out because another folder has the same run"""
    untold: tuple[str, ...]
    """keys that no run overrides, filled in from the configs"""
    incidental: tuple[str, ...]
    """keys of `_INCIDENTAL` that are constant within each folder, though folders may differ"""


def _joined(folders: Sequence[Path]) -> _Joined:
    """Joins the runs of all folders; keys that a folder did not set are read from its configs."""
    once = list({folder.resolve(): folder for folder in folders}.values())
    tables = [(folder, read_runs(folder)) for folder in once]
    # A run that is in two folders is kept from the one with more hitting times, or the larger one.
    tables.sort(key=lambda table: (-len(_hitting_times(table[1])), -len(table[1])))
    keys = dict.fromkeys(key for _, runs in tables for key in runs.columns if is_override(key))
    wanted = [*keys, *(key for key in (LR, MOMENTUM, BUDGET) if key not in keys)]
    for folder, runs in tables:
        untold = [key for key in wanted if key not in runs.columns]
        if untold:
            _fill_in(folder, runs, untold)
        whole = os.path.realpath(folder)  # resolving each of 10,000 paths takes a second
        runs["folder"] = [os.path.normpath(f"{whole}/{run}") for run in runs["folder"]]
    joined = pd.concat([runs for _, runs in tables], ignore_index=True)
    source = pd.Series(np.repeat(range(len(tables)), [len(runs) for _, runs in tables]))
    apart = ~joined.duplicated("folder")  # a run may be given beside its sweep
    identity = joined.get("run.identity", pd.Series(None, joined.index, dtype=object))
    first = source.where(apart).groupby(identity).transform("min")
    twice = apart & first.notna() & (first != source)
    joined = joined[apart & ~twice].reset_index(drop=True)
    only_filled = [key for key in wanted if key not in keys and bool(joined[key].isna().all())]
    own = [number for number in range(len(tables)) if (~twice & (source == number)).any()]
    some = [tables[number] for number in own]  # a copied sweep lacks the same jobs: count once
    lacking = [
        name
        for name in _hitting_times(joined)
        if not all(name.replace("evaluations", "steps", 1) in runs for _, runs in some)
    ]  # a folder that did not record a tolerance may still have reached it
    joined = joined.drop(columns=[*only_filled, *lacking])
    for key in (key for key in joined.columns if is_override(key)):
        joined[key] = _one_kind(joined[key])
    missing = sum(max((jobs_of(folder) or 0) - len(runs), 0) for folder, runs in some)
    never = tuple(key for key in wanted if key not in keys)
    incidental = tuple(
        key
        for key in keys
        if key.partition(".")[0] in _INCIDENTAL
        and all(runs[key].nunique(dropna=False) < 2 for _, runs in tables)
    )
    return _Joined(joined, missing, int(twice.sum()), never, incidental)


def _hitting_times(runs: pd.DataFrame) -> list[str]:
    """Returns the columns of the steps, or gradient evaluations, to a tolerance."""
    names = map(str, runs.columns)
    return [
        name for name in names if name.removeprefix(COLUMN_PREFIX).startswith(HITTING_TIME_PREFIXES)
    ]


def _one_kind(column: pd.Series) -> pd.Series:
    """Returns the values of a key unchanged if they are of one kind, else all as strings."""
    kinds = {type(value) for value in column if not pd.isna(value)}
    if len(kinds) < 2 or all(issubclass(k, int | float) and k is not bool for k in kinds):
        return column
    return column.map(lambda value: value if pd.isna(value) else str(value))


def _fill_in(folder: Path, runs: pd.DataFrame, keys: Sequence[str]) -> None:
    """Adds columns for keys that the runs did not set, in place.

    The values are read from the config of one run for each combination of config group choices.
    """
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
        if not (hidden / "config.yaml").exists():  # the run did not save its config
            continue
        config = read_config(hidden / "config.yaml")
        about = read_config(hidden / "hydra.yaml")
        try:
            with guarded_environment():
                choices = OmegaConf.select(about, "hydra.runtime.choices")
                found = {key: OmegaConf.select(config, key, default=None) for key in keys}
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0]
            raise UserError("", hidden, f"{hidden}: is damaged ({reason})") from None
        if not isinstance(choices, DictConfig):
            raise UserError("", hidden, f"{hidden / 'hydra.yaml'}: is damaged")
        for key in keys:
            value = choices.get(key, found[key])
            plain = value is None or isinstance(value, int | float | str | bool)
            runs.loc[part.index, key] = value if plain else str(value)
    for key in keys:
        runs[key] = runs[key].infer_objects()


def _chosen(runs: pd.DataFrame, where: str) -> pd.DataFrame:
    """Returns the runs for which an expression is true.

    Raises:
        UserError: If the expression cannot be evaluated.
    """
    short: dict[str, str] = {}
    for prefix in reversed(_FIGURES):
        short |= {n.removeprefix(prefix): n for n in runs.columns if n.startswith(prefix)}
    last = _by_last_part(runs)
    short |= {name: keys[0] for name, keys in last.items() if len(keys) == 1 and name not in short}
    short |= {name: name for name in runs.columns}  # a config key takes precedence over a metric
    try:
        kept = select_rows(runs, where, short)
    except UnknownName as error:
        name = str(error)
        known = [one for one in short if not one.startswith(_FIGURES)]
        named = (key for key in map(str, runs) if is_override(key) or key == "outcome")
        is_value = any(name in set(runs[key].dropna().astype(str)) for key in named)
        advice = f"a word is quoted, as '{name}'" if is_value else nearest(name, known)
        raise UserError("--where", where, f"{name}: no such key; {advice}") from None
    except InvalidExpression as error:
        raise UserError("--where", where, f"{error}; {_EXPRESSIONS}") from None
    return runs[kept]


def _with_classes(runs: pd.DataFrame) -> pd.DataFrame:
    """Replaces group choices that accept any class, such as ``torch`` and ``own``, by the class."""
    for key in (str(name) for name in runs if str(name).endswith(_CLASS)):
        group = key.removesuffix(_CLASS)
        classes = runs[key]
        if group in runs:
            several = runs.groupby(group, dropna=False)[key].transform("nunique") > 1
            own = classes.notna() & ~classes.astype(str).str.startswith("gradexp.")
            classes = classes.where(own | several, runs[group])
        runs = runs.assign(**{group: classes})
    return runs


def _with_evaluations(runs: pd.DataFrame) -> pd.DataFrame:
    """Fills in the gradient evaluations of all runs, or drops them if every step took one."""
    counted = [name for name in map(str, runs) if name.startswith("metrics.evaluations")]
    if not counted or not (runs["metrics.evaluations"] > runs["metrics.steps"]).any():
        return runs.drop(columns=counted)
    one_each = runs["metrics.evaluations"].isna()
    steps = [n for n in map(str, runs) if n == "metrics.steps" or n.startswith("metrics.steps_to_")]
    names = {name: name.replace("steps", "evaluations", 1) for name in steps}
    return runs.assign(
        **{name: runs[step].where(one_each, runs.get(name)) for step, name in names.items()}
    )


def _metric(runs: pd.DataFrame, name: str | None) -> Metric:
    """Returns the metric of a name, or the usual one if it is None.

    Raises:
        UserError: If there is no such metric, or neither more nor less of it is better.
    """
    columns = {
        c.removeprefix(COLUMN_PREFIX): c for c in map(str, runs) if c.startswith(COLUMN_PREFIX)
    }
    if name is None:
        there = {short: runs[c].to_numpy() for short, c in columns.items() if runs[c].notna().any()}
        keys = [k for k in map(str, runs) if k == "surface" or k.startswith("surface.")]
        groups = runs.groupby(keys, dropna=False).ngroup().to_numpy() if keys else None
        return default_metric(there, "loss_gap" in there, groups)
    found = find_metric(name, columns)
    if found is None:
        raise UserError("--metric", name, f"no such metric; {nearest(name, columns)}")
    if not Metric(found).smaller_is_better:
        raise UserError("--metric", name, "ranks nothing: neither more nor less of it is better")
    return Metric(found)
