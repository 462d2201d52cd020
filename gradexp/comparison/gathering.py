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

_EXECUTION = ("engine", "record", "log", "device")
"""Groups and keys that say how runs are computed and stored, but not what is computed."""

_CLASS_SUFFIX = "._target_"

_EXAMPLE = "example: optimizer.lr < 0.01 and outcome == 'converged'"

_RESULT_PREFIXES = ("metrics.", "theory.", "run.")


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
    runs, unfinished, duplicates, filled_in_keys, execution_keys = _join(folders)
    by = [_full_key(key, runs) for key in by]
    if where is not None:
        runs = _select(runs, where)
    failed = int((runs["outcome"] == "failed").sum())
    runs = runs[runs["outcome"] != "failed"]
    if runs.empty:
        reason = "no run matches" if where else "no run has ended"
        reason = f"all {failed} jobs failed" if failed else reason
        reason += "; there are no runs to compare"
        raise UserError("--where" if where else "", where or "", reason)
    runs = _with_evaluations(_with_classes(runs))
    compared_metric = _choose_metric(runs, metric)
    if rank is not None and not compared_metric.is_hitting_time:
        reason = "needs a hitting time, such as --metric steps_to_gap.1e-06; "
        raise UserError("--rank", rank, f"{reason}the metric is {compared_metric.label}")
    without_minimum = 0
    if compared_metric.needs_minimum:
        has_minimum = runs["run.minimum"].notna()
        without_minimum, runs = int((~has_minimum).sum()), runs[has_minimum]
        if runs.empty:
            reason = "none of these surfaces has a known minimum"
            raise UserError("--metric", metric or "", reason)
    swept = [
        key
        for key in swept_keys(runs)
        if key not in execution_keys
        and not key.endswith(_CLASS_SUFFIX)
        and not (key in filled_in_keys and (key == BUDGET or _determined_by_group(runs, key)))
    ]
    for key in by:
        if key not in runs.columns or not is_override(key):
            raise UserError("--by", key, f"no run sets this key; {nearest(key, swept)}")
    setting_keys = tuple(by) or tuple(key for key in swept if not _is_repeat(key))
    repeat_keys = tuple(key for key in swept if key not in setting_keys)
    if "run.identity" in runs:  # equal for runs that differ only in a seed that is not used
        is_duplicate = runs["run.identity"].notna()
        is_duplicate &= runs.duplicated([*setting_keys, "run.identity"])
        is_duplicate |= _seed_duplicates(runs, setting_keys, repeat_keys)
        duplicates, runs = duplicates + int(is_duplicate.sum()), runs[~is_duplicate]
        repeat_keys = tuple(key for key in repeat_keys if runs[key].nunique(dropna=False) > 1)
    formats = runs.get("run.format", pd.Series(None, runs.index, dtype=object))
    return Sample(
        runs,
        failed,
        unfinished,
        duplicates,
        without_minimum,
        setting_keys,
        repeat_keys,
        compared_metric,
        criterion_name=rank or DEFAULT_CRITERION,
        older_format=int((formats != FORMAT).sum()),
    )


def _seed_duplicates(
    runs: pd.DataFrame, setting_keys: Sequence[str], repeat_keys: Sequence[str]
) -> pd.Series:
    """Marks runs identical in trace and metrics to an earlier run that differs only in seeds.

    This happens, for example, when the noise is lost in rounding. Runs that never moved or that
    diverged are not marked, since their metrics do not tell where they started.
    """
    others = [key for key in repeat_keys if key.rpartition(".")[2] != "seed"]
    metrics = [name for name in runs if str(name).startswith("metrics.")]
    if not {"run.digest", "metrics.path_length", "metrics.displacement"} <= set(runs):
        return pd.Series(False, runs.index)
    same = runs.duplicated([*setting_keys, *others, "outcome", "run.digest", *metrics])
    return same & (runs["metrics.path_length"] > 0) & runs["metrics.displacement"].notna()


def _full_key(key: str, runs: pd.DataFrame) -> str:
    """Returns the full config key for its last part, such as ``lr``; other keys as they are."""
    keys = _keys_by_last_part(runs).get(key, [])
    return keys[0] if len(keys) == 1 and key not in runs.columns else key


def _keys_by_last_part(runs: pd.DataFrame) -> dict[str, list[str]]:
    """Returns the config keys by their last part."""
    found: dict[str, list[str]] = {}
    for key in filter(is_override, runs.columns):
        found.setdefault(key.rpartition(".")[2], []).append(key)
    return found


def _determined_by_group(runs: pd.DataFrame, key: str) -> bool:
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
    unfinished: int
    """number of jobs that have not ended"""
    duplicates: int
    """number of runs left out because another folder has the same run"""
    filled_in_keys: tuple[str, ...]
    """keys that no run overrides, filled in from the configs"""
    execution_keys: tuple[str, ...]
    """keys of `_EXECUTION` that are constant within each folder, though folders may differ"""


def _join(folders: Sequence[Path]) -> _Joined:
    """Joins the runs of all folders; keys that a folder did not set are read from its configs."""
    distinct = list({folder.resolve(): folder for folder in folders}.values())
    tables = [(folder, read_runs(folder)) for folder in distinct]
    # A run that is in two folders is kept from the one with more hitting times, or the larger one.
    tables.sort(key=lambda table: (-len(_hitting_time_columns(table[1])), -len(table[1])))
    keys = dict.fromkeys(key for _, runs in tables for key in runs.columns if is_override(key))
    wanted = [*keys, *(key for key in (LR, MOMENTUM, BUDGET) if key not in keys)]
    for folder, runs in tables:
        absent = [key for key in wanted if key not in runs.columns]
        if absent:
            _fill_in(folder, runs, absent)
        path = os.path.realpath(folder)  # resolving each of 10,000 paths takes a second
        runs["folder"] = [os.path.normpath(f"{path}/{run}") for run in runs["folder"]]
    joined = pd.concat([runs for _, runs in tables], ignore_index=True)
    source = pd.Series(np.repeat(range(len(tables)), [len(runs) for _, runs in tables]))
    first_mention = ~joined.duplicated("folder")  # a run may be given together with its sweep
    identity = joined.get("run.identity", pd.Series(None, joined.index, dtype=object))
    first_source = source.where(first_mention).groupby(identity).transform("min")
    is_copy = first_mention & first_source.notna() & (first_source != source)
    joined = joined[first_mention & ~is_copy].reset_index(drop=True)
    without_value = [key for key in wanted if key not in keys and bool(joined[key].isna().all())]
    # A copied sweep lacks the same jobs as the original: count them once.
    used = [n for n in range(len(tables)) if (~is_copy & (source == n)).any()]
    used_tables = [tables[n] for n in used]
    # A folder that did not record a tolerance may still have reached it.
    not_recorded_by_all = [
        name
        for name in _hitting_time_columns(joined)
        if not all(name.replace("evaluations", "steps", 1) in runs for _, runs in used_tables)
    ]
    joined = joined.drop(columns=[*without_value, *not_recorded_by_all])
    for key in (key for key in joined.columns if is_override(key)):
        joined[key] = _with_one_type(joined[key])
    unfinished = sum(max((jobs_of(folder) or 0) - len(runs), 0) for folder, runs in used_tables)
    filled_in_keys = tuple(key for key in wanted if key not in keys)
    execution_keys = tuple(
        key
        for key in keys
        if key.partition(".")[0] in _EXECUTION
        and all(runs[key].nunique(dropna=False) < 2 for _, runs in tables)
    )
    return _Joined(joined, unfinished, int(is_copy.sum()), filled_in_keys, execution_keys)


def _hitting_time_columns(runs: pd.DataFrame) -> list[str]:
    """Returns the columns of the steps, or gradient evaluations, to a tolerance."""
    names = map(str, runs.columns)
    return [
        name for name in names if name.removeprefix(COLUMN_PREFIX).startswith(HITTING_TIME_PREFIXES)
    ]


def _with_one_type(column: pd.Series) -> pd.Series:
    """Returns the values of a key unchanged if they are of one type, else all as strings."""
    types = {type(value) for value in column if not pd.isna(value)}
    if len(types) < 2 or all(issubclass(t, int | float) and t is not bool for t in types):
        return column
    return column.map(lambda value: value if pd.isna(value) else str(value))


def _fill_in(folder: Path, runs: pd.DataFrame, keys: Sequence[str]) -> None:
    """Adds columns for keys that the runs did not set, in place.

    The values are read from the config of one run for each combination of config group choices.
    """
    groups = [key for key in runs.columns if is_override(key) and "." not in key]
    choices = [key for key in groups if not pd.api.types.is_numeric_dtype(runs[key])]
    ended = runs[runs["outcome"] != "failed"]
    parts = ended.groupby(choices, dropna=False) if choices else [((), ended)]
    for key in keys:
        runs[key] = None
    for _, part in parts:
        if part.empty:
            continue
        hidden = folder / part["folder"].iloc[0] / ".hydra"
        if not (hidden / "config.yaml").exists():  # the run did not save its config
            continue
        config = read_config(hidden / "config.yaml")
        hydra_config = read_config(hidden / "hydra.yaml")
        try:
            with guarded_environment():
                group_choices = OmegaConf.select(hydra_config, "hydra.runtime.choices")
                values = {key: OmegaConf.select(config, key, default=None) for key in keys}
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0]
            raise UserError("", hidden, f"{hidden}: is damaged ({reason})") from None
        if not isinstance(group_choices, DictConfig):
            raise UserError("", hidden, f"{hidden / 'hydra.yaml'}: is damaged")
        for key in keys:
            value = group_choices.get(key, values[key])
            is_scalar = value is None or isinstance(value, int | float | str | bool)
            runs.loc[part.index, key] = value if is_scalar else str(value)
    for key in keys:
        runs[key] = runs[key].infer_objects()


def _select(runs: pd.DataFrame, where: str) -> pd.DataFrame:
    """Returns the runs for which an expression is true.

    Raises:
        UserError: If the expression cannot be evaluated.
    """
    # Full config keys take precedence over metrics, and these over the last parts of keys.
    columns: dict[str, str] = {}
    for prefix in reversed(_RESULT_PREFIXES):
        columns |= {n.removeprefix(prefix): n for n in runs.columns if n.startswith(prefix)}
    for name, keys in _keys_by_last_part(runs).items():
        if len(keys) == 1 and name not in columns:
            columns[name] = keys[0]
    columns |= {name: name for name in runs.columns}
    try:
        selected = select_rows(runs, where, columns)
    except UnknownName as error:
        name = str(error)
        known = [one for one in columns if not one.startswith(_RESULT_PREFIXES)]
        keys_and_outcome = (key for key in map(str, runs) if is_override(key) or key == "outcome")
        is_value = any(name in set(runs[key].dropna().astype(str)) for key in keys_and_outcome)
        advice = f"quote strings: '{name}'" if is_value else nearest(name, known)
        raise UserError("--where", where, f"{name}: no such key; {advice}") from None
    except InvalidExpression as error:
        raise UserError("--where", where, f"{error}; {_EXAMPLE}") from None
    return runs[selected]


def _with_classes(runs: pd.DataFrame) -> pd.DataFrame:
    """Replaces group choices that accept any class, such as ``torch`` and ``own``, by the class."""
    for key in (str(name) for name in runs if str(name).endswith(_CLASS_SUFFIX)):
        group = key.removesuffix(_CLASS_SUFFIX)
        classes = runs[key]
        if group in runs:
            several = runs.groupby(group, dropna=False)[key].transform("nunique") > 1
            own = classes.notna() & ~classes.astype(str).str.startswith("gradexp.")
            classes = classes.where(own | several, runs[group])
        runs = runs.assign(**{group: classes})
    return runs


def _with_evaluations(runs: pd.DataFrame) -> pd.DataFrame:
    """Fills in the gradient evaluations of all runs, or drops them if every step took one."""
    evaluations = [name for name in map(str, runs) if name.startswith("metrics.evaluations")]
    if not evaluations or not (runs["metrics.evaluations"] > runs["metrics.steps"]).any():
        return runs.drop(columns=evaluations)
    one_each = runs["metrics.evaluations"].isna()
    steps = [n for n in map(str, runs) if n == "metrics.steps" or n.startswith("metrics.steps_to_")]
    names = {name: name.replace("steps", "evaluations", 1) for name in steps}
    return runs.assign(
        **{name: runs[step].where(one_each, runs.get(name)) for step, name in names.items()}
    )


def _choose_metric(runs: pd.DataFrame, name: str | None) -> Metric:
    """Returns the metric of a name, or the default one if it is None.

    Raises:
        UserError: If there is no such metric, or it cannot rank runs.
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
        raise UserError("--metric", name, "cannot rank runs: neither smaller nor larger is better")
    return Metric(found)
