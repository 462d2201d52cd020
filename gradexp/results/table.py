"""The table of a sweep: a row for each job, with its overrides by config path and its results."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradexp.analysis.metric import COLUMN_PREFIX, flatten
from gradexp.errors import coordinates
from gradexp.results.run_folder import is_whole, read_failure, read_record

TABLE = "runs.parquet"

_PLAIN = ("job", "folder", "outcome", "because", "reached", "failure")
_JOBS = "jobs"
"""The key of the table's metadata under which the number of jobs is stored."""

_PARTS = ("metrics", "theory", "run")

_KEPT = ("format", "dim", "minimum", "engine", "device", "dtype", "seconds", "identity", "digest")


def outcome_row(folder: Path) -> dict[str, Any] | None:
    """Returns the results of a job by the table's columns; None if it has not ended.

    Raises:
        UserError: if the record of its run is damaged.
    """
    if not is_whole(folder):
        reason = read_failure(folder)
        return None if reason is None else {"outcome": "failed", "failure": reason}
    record = read_record(folder)
    evidence = record["evidence"]
    return {
        "outcome": record["outcome"],
        "because": evidence["because"],
        "reached": coordinates(evidence["nearest"]["point"]) if evidence["reached"] else None,
        **{f"{COLUMN_PREFIX}{name}": value for name, value in flatten(record["metrics"])},
        **{f"theory.{name}": value for name, value in flatten(record.get("theory", {}))},
        **{f"run.{name}": record.get(name) for name in _KEPT},
    }


def is_override(column: str) -> bool:
    """Whether a column of the table holds the values of a config key."""
    return column not in _PLAIN and column.partition(".")[0] not in _PARTS


def write_table(folder: Path, rows: Sequence[Mapping[str, Any]], jobs: int) -> None:
    """Writes the table of a sweep. The file is never there incomplete.

    Args:
        folder: the sweep's folder.
        rows: a row for each job that has ended.
        jobs: the number of all jobs.
    """
    import pyarrow  # takes 0.3 s, and only sweeps need it
    from pyarrow import parquet

    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: _column([row.get(name) for row in rows]) for name in names}
    partial = folder / f".{TABLE}.partial"
    partial.unlink(missing_ok=True)  # so that nothing is written through a link
    parquet.write_table(pyarrow.table(columns, metadata={_JOBS: str(jobs)}), partial)
    os.replace(partial, folder / TABLE)


def jobs_of(folder: Path) -> int | None:
    """Returns the number of jobs of a sweep, ended or not; None if its table does not say it."""
    from pyarrow import parquet

    path = folder / TABLE
    known = (parquet.read_schema(path).metadata or {}) if path.exists() else {}
    jobs = known.get(_JOBS.encode(), b"").decode(errors="replace")
    return int(jobs) if jobs.isdecimal() and len(jobs) < 10 else None


def _column(values: Sequence[Any]) -> list[Any]:
    """Returns the values converted to one type: numbers if all are numbers, otherwise strings.

    Missing values stay None.
    """
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int} or kinds <= {bool} or kinds <= {str}:
        return list(values)
    change: type = float if kinds <= {int, float} else str
    return [None if value is None else change(value) for value in values]
