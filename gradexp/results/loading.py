"""Loads the files of sweeps and runs as pandas and xarray tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gradexp.errors import UserError, machine_failure
from gradexp.results.run_folder import is_whole, read_run
from gradexp.results.table import TABLE, is_override, outcome_row

if TYPE_CHECKING:  # importing them takes a second
    import pandas as pd
    import xarray as xr


class Loaded(NamedTuple):
    """The runs of a folder and their traces."""

    runs: pd.DataFrame
    """a row for each run, with the columns of ``runs.parquet``"""
    traces: xr.Dataset
    """``loss`` and ``gradient_norm`` over the swept keys and ``step``, and ``point``, which also
    has the dimension ``coordinate``, as far as they were recorded; NaN after a run's end"""


def load(folder: str | Path) -> Loaded:
    """Loads the runs of a sweep, or one run, with their traces.

    If the runs form a complete grid, the swept keys are dimensions of the traces. Otherwise there
    is one dimension ``job``, and each swept key is a coordinate along it, by which runs can be
    selected too.

    Args:
        folder: the folder of a sweep or of a run; the sweep may still be running.

    Raises:
        UserError: if it is neither, if something in it is damaged, or if several folders are given.

    Example::

        runs, traces = gradexp.load("multirun/2026-01-31/12-00-00-000000")
        traces.loss.sel({"optimizer.lr": 1e-3, "optimizer.momentum": 0.9}).plot(yscale="log")
    """
    if not isinstance(folder, str | Path):
        raise UserError("", "", f"load takes one folder, not a {type(folder).__name__}")
    folder = Path(folder)
    runs = read_runs(folder)
    return Loaded(runs, _traces(folder, runs))


def read_runs(folder: Path) -> pd.DataFrame:
    """Returns the table of a sweep's runs, or a table with one row for a single run.

    For a sweep that was killed or is still running, it includes complete runs that the sweep's own
    table lacks.

    Raises:
        UserError: if the folder is neither a sweep's nor a run's, or something in it is damaged.
    """
    import pandas as pd

    if is_whole(folder):
        return _typed(pd.DataFrame([{"job": 0, "folder": ".", **_run(folder)}]))
    table = _table(folder / TABLE)
    known = set(table["folder"]) if len(table) else set()
    anywhere = (folder / "multirun.yaml").exists()  # otherwise any folder, perhaps a huge one
    paths = folder.rglob("run.json") if anywhere else folder.glob("*/run.json")
    found = {path.parent.relative_to(folder).as_posix() for path in paths}
    late = [
        {"job": number, "folder": name, **_run(folder / name)}
        for name in sorted(found - known)
        if (number := _job_number(folder / name)) is not None
    ]
    if late:
        table = pd.concat([table, pd.DataFrame(late)], ignore_index=True)
        table = table.sort_values("job", ignore_index=True)
    if len(table):
        return _typed(table)
    if (folder / "multirun.yaml").exists():
        raise UserError("", folder, f"{folder}: none of the sweep's jobs has ended")
    there = "holds neither a sweep nor a run" if folder.is_dir() else "no such folder"
    raise UserError("", folder, f"{folder}: {there}")


def _job_number(folder: Path) -> int | None:
    """Returns the number of a job, from its folder's name or the Hydra config in the folder.

    None if the folder is not a job's.
    """
    from omegaconf import OmegaConf

    from gradexp.files.yaml import read_config

    if folder.name.isdecimal():
        return int(folder.name)
    path = folder / ".hydra" / "hydra.yaml"
    number = OmegaConf.select(read_config(path), "hydra.job.num") if path.is_file() else None
    return number if isinstance(number, int) else None


_COLUMNS = ("job", "folder", "outcome")
_MOST_ROWS = 10**6
_PLAIN = {int, float, str, bool, type(None), np.bool_, np.int64, np.float64}


def _table(path: Path) -> pd.DataFrame:
    """Reads the table of a sweep; returns an empty table if there is no file.

    Raises:
        UserError: if it is damaged.
    """
    import pandas as pd
    from pyarrow import parquet

    if not path.exists():
        return pd.DataFrame()
    try:
        if not path.is_file():
            raise ValueError("it is not a plain file")
        if parquet.read_metadata(path).num_rows > _MOST_ROWS:
            raise ValueError(f"it has more than {_MOST_ROWS:,} rows")
        table = _typed(pd.read_parquet(path))
    except Exception as error:  # pyarrow raises many kinds, and columns may hold anything
        if machine_failure(error) is not None:
            raise
        reason = str(error).splitlines()[0]
        raise UserError("", path, f"{path}: is damaged ({reason}); {_AGAIN}") from None
    for name in table.columns:
        if not set(map(type, table[name])) <= _PLAIN:
            raise UserError("", path, f"{path}: has no plain values in {name}; {_AGAIN}")
    missing = [name for name in _COLUMNS if name not in table]
    if not missing and (table["outcome"] != "failed").any() and "metrics.steps" not in table:
        missing = ["metrics.steps"]
    if missing and len(table.columns):
        raise UserError("", path, f"{path}: has no column {missing[0]}; {_AGAIN}")
    if len(table) and not all(_is_inside(folder) for folder in table["folder"]):
        raise UserError("", path, f"{path}: names folders outside of the sweep's; {_AGAIN}")
    return table


_AGAIN = "gradexp resume makes it again"


def _is_inside(folder: Any) -> bool:
    """Whether a job's folder, as written in the table, is inside the sweep's."""
    return (
        isinstance(folder, str)
        and not os.path.isabs(folder)
        and Path(os.path.normpath(folder)).parts[:1] != ("..",)
    )


def _typed(runs: pd.DataFrame) -> pd.DataFrame:
    """Returns the table with metrics and predictions as floats, even if a column has no values."""
    figures = [name for name in runs.columns if name.startswith(("metrics.", "theory."))]
    figures += [name for name in ("run.dim", "run.minimum") if name in runs]
    return runs.astype(dict.fromkeys(figures, float))


def swept_keys(runs: pd.DataFrame) -> list[str]:
    """Returns the config keys whose values are not the same in all runs."""
    keys = [name for name in runs.columns if is_override(name)]
    return [key for key in keys if runs[key].nunique(dropna=False) > 1]


def _run(folder: Path) -> dict[str, Any]:
    """Returns a complete run as a row of the table: its overrides and results by column."""
    return {**_overrides(folder), **(outcome_row(folder) or {})}


def _overrides(folder: Path) -> dict[str, Any]:
    """Returns the values of a run's overrides, by config path."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import ListConfig

    from gradexp.files.yaml import read_config

    path = folder / ".hydra" / "overrides.yaml"
    told = read_config(path)
    if not isinstance(told, ListConfig):
        raise UserError("", path, f"{path}: is damaged (it is not a list)")
    parsed = OverridesParser.create().parse_overrides([str(one) for one in told])
    values = {
        one.get_key_element().lstrip("+"): one.value() for one in parsed if not one.is_delete()
    }
    plain = (int, float, str, bool, type(None))
    return {key: value if isinstance(value, plain) else str(value) for key, value in values.items()}


def _traces(folder: Path, runs: pd.DataFrame) -> xr.Dataset:
    import pandas as pd
    import xarray as xr

    parts = {
        index: read_run(folder / runs["folder"][index])[0]
        for index in runs.index[runs["outcome"] != "failed"]
    }
    step = _grid([part["step"] for part in parts.values()])
    arrays: dict[str, Any] = {}
    for name in dict.fromkeys(name for part in parts.values() for name in part if name != "step"):
        having = {index: part for index, part in parts.items() if name in part}
        if not having:
            continue
        width = max(part[name][0].size for part in having.values())
        dtypes = (part[name].dtype for part in having.values())
        dtype = np.result_type(*dtypes, np.float16)  # counts too: missing values are NaN
        shape = (len(runs), len(step), *([width] if name == "point" else []))
        values = np.full(shape, np.nan, dtype)
        for index, part in having.items():
            kept = np.isin(part["step"], step)
            at = np.searchsorted(step, part["step"][kept])
            row = values[runs.index.get_loc(index)]
            if name == "point":
                row[at, : part[name].shape[1]] = part[name][kept]
            else:
                row[at] = part[name][kept]
        arrays[name] = (("job", "step", *(["coordinate"] if name == "point" else [])), values)
    found = xr.Dataset(arrays, {"job": runs["job"].to_numpy(), "step": step})
    swept = {key: runs[key] for key in swept_keys(runs)}
    if not swept:
        return found
    sizes = [column.nunique(dropna=False) for column in swept.values()]
    frame = pd.DataFrame(swept)
    whole = np.prod(sizes, dtype=float) == len(runs) and not frame.duplicated().any()
    if whole and not frame.isna().any(axis=None):  # a missing value cannot be a coordinate
        index = pd.MultiIndex.from_frame(frame)
        order = [*swept, "step", *(["coordinate"] if "coordinate" in found.dims else [])]
        coordinates = xr.Coordinates.from_pandas_multiindex(index, "job")
        return found.drop_vars("job").assign_coords(coordinates).unstack("job").transpose(*order)
    found = found.assign_coords({key: ("job", column) for key, column in swept.items()})
    for key in swept:
        found = found.set_xindex(key)
    return found


def _grid(steps: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the steps at which runs were recorded, as one ascending array.

    If only every n-th step was recorded, a run's last step may fall between the recorded steps of
    other runs. It is then left out; its values are in the table.
    """
    regular = []
    for some in steps:
        stride = int(some[1] - some[0]) if len(some) > 1 else 1
        alone = len(steps) == 1 or some[-1] % stride == 0
        regular.append(some if alone else some[:-1])
    return np.unique(np.concatenate(regular)) if regular else np.empty(0, np.int64)
