"""What became of the jobs of a sweep, as their folders tell; and the table of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gradexp.analysis import coordinates
from gradexp.results import is_whole, read_failure, read_record

TABLE = "runs.parquet"


class Entry(NamedTuple):
    """A job that is to be run."""

    number: int
    overrides: dict[str, Any]
    """its values by their config path"""
    folder: Path


class Ledger:
    """The jobs of a sweep, in the order of their numbers.

    Whatever launcher runs them, wherever: what they came to is read from their folders.

    Args:
        folder: the sweep's.
        jobs: how many there will be at least, where that is known.
    """

    def __init__(self, folder: Path, jobs: int = 0) -> None:
        self.folder = folder
        self._jobs = jobs
        self.entries: dict[int, Entry] = {}
        self.rows: dict[int, dict[str, Any]] = {}
        """of the jobs that have ended, by number"""

    def expect(self, entries: Iterable[Entry]) -> None:
        """Puts jobs down that are to be run."""
        self.entries.update((entry.number, entry) for entry in entries)

    @property
    def jobs(self) -> int:
        """How many jobs there are, and are known to come."""
        return max(self._jobs, len(self.entries))

    def update(self) -> bool:
        """Reads what has ended since; true where something has."""
        before = len(self.rows)
        for number, entry in list(self.entries.items()):  # others add to them
            if number not in self.rows:
                row = _row(entry, self.folder)
                if row is not None:
                    self.rows[number] = row
        return len(self.rows) > before

    @property
    def failed(self) -> list[int]:
        """The numbers of the jobs that failed."""
        return [number for number, row in sorted(self.rows.items()) if "failure" in row]

    def swept(self) -> list[str]:
        """The keys that are not the same in every job."""
        jobs = [entry.overrides for entry in self.entries.values()]
        keys = dict.fromkeys(key for job in jobs for key in job)
        return [key for key in keys if any(job.get(key) != jobs[0].get(key) for job in jobs)]

    def write(self) -> None:
        """Writes the table: a row a job that has ended."""
        import pyarrow  # a third of a second, and only sweeps need it
        from pyarrow import parquet

        rows = [self.rows[number] for number in sorted(self.rows)]
        names = list(dict.fromkeys(name for row in rows for name in row))
        columns = {name: _column([row.get(name) for row in rows]) for name in names}
        partial = self.folder / f".{TABLE}.partial"
        parquet.write_table(pyarrow.table(columns), partial)
        os.replace(partial, self.folder / TABLE)


def _row(entry: Entry, sweep: Path) -> dict[str, Any] | None:
    """What a job came to, or None as long as it has not ended."""
    whole = is_whole(entry.folder)
    reason = None if whole else read_failure(entry.folder)
    if not whole and reason is None:
        return None
    folder = os.path.relpath(entry.folder, sweep)
    row = {"job": entry.number, "folder": folder, **entry.overrides}
    if reason is not None:
        return {**row, "outcome": "failed", "failure": reason}
    record = read_record(entry.folder)
    evidence = record["evidence"]
    row["outcome"] = record["outcome"]
    row["because"] = evidence["because"]
    row["reached"] = coordinates(evidence["nearest"]["point"]) if evidence["reached"] else None
    row.update(_flat("metrics", record["metrics"]))
    kept = ("engine", "device", "dtype", "seconds", "identity", "digest")
    row.update((f"run.{name}", record[name]) for name in kept)
    return row


def _flat(path: str, node: Any) -> dict[str, Any]:
    """A nested mapping as plain values by their path."""
    if not isinstance(node, dict):
        return {path: node}
    found: dict[str, Any] = {}
    for name, value in node.items():
        found.update(_flat(f"{path}.{name}", value))
    return found


def _column(values: Sequence[Any]) -> list[Any]:
    """The values as one type can hold them: numbers, or else text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int} or kinds <= {bool} or kinds <= {str}:
        return list(values)
    change: type = float if kinds <= {int, float} else str
    return [None if value is None else change(value) for value in values]
