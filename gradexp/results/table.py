"""The table of a sweep: a row a job, its overrides by their config path, then what it came to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradexp.analysis.metric import COLUMN, by_name
from gradexp.errors import coordinates
from gradexp.results.run_folder import is_whole, read_failure, read_record

TABLE = "runs.parquet"

_PLAIN = ("job", "folder", "outcome", "because", "reached", "failure")
_JOBS = "jobs"
"""The metadata that says how many there are."""

_PARTS = ("metrics", "theory", "run")

_KEPT = ("format", "dim", "minimum", "engine", "device", "dtype", "seconds", "identity", "digest")


def outcome_row(folder: Path) -> dict[str, Any] | None:
    """What the run of a folder came to, by the table's columns; None if it has not ended.

    Raises:
        UserError: its record is damaged.
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
        **{f"{COLUMN}{name}": value for name, value in by_name(record["metrics"])},
        **{f"theory.{name}": value for name, value in by_name(record.get("theory", {}))},
        **{f"run.{name}": record.get(name) for name in _KEPT},
    }


def is_override(column: str) -> bool:
    """Whether a column of the table holds the values of a config key."""
    return column not in _PLAIN and column.partition(".")[0] not in _PARTS


def write_table(folder: Path, rows: Sequence[Mapping[str, Any]], jobs: int) -> None:
    """Writes the table of a sweep's folder; it is there whole or not at all.

    Args:
        folder: the sweep's.
        rows: of the jobs that have ended.
        jobs: how many there are.
    """
    import pyarrow  # a third of a second, and only sweeps need it
    from pyarrow import parquet

    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: _column([row.get(name) for row in rows]) for name in names}
    partial = folder / f".{TABLE}.partial"
    partial.unlink(missing_ok=True)  # nothing is written through a link that lies there
    parquet.write_table(pyarrow.table(columns, metadata={_JOBS: str(jobs)}), partial)
    os.replace(partial, folder / TABLE)


def jobs_of(folder: Path) -> int | None:
    """How many jobs a sweep has, ended or not; None where its folder does not say it."""
    from pyarrow import parquet

    path = folder / TABLE
    known = (parquet.read_schema(path).metadata or {}) if path.exists() else {}
    jobs = known.get(_JOBS.encode(), b"").decode(errors="replace")
    return int(jobs) if jobs.isdecimal() and len(jobs) < 10 else None


def _column(values: Sequence[Any]) -> list[Any]:
    """The values as one type can hold them: numbers, or else text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int} or kinds <= {bool} or kinds <= {str}:
        return list(values)
    change: type = float if kinds <= {int, float} else str
    return [None if value is None else change(value) for value in values]
