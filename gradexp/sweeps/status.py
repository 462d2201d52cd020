"""The status of a sweep's jobs, read from their folders, and the table of their results."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from gradexp.errors import UserError
from gradexp.results import outcome_row, write_table


class Entry(NamedTuple):
    """A job that will be run."""

    number: int
    overrides: dict[str, Any]
    """the values that its overrides set, by config key"""
    folder: Path


class SweepStatus:
    """The jobs of a sweep and the results of those that have ended.

    Results are read from the job folders, so any launcher may run the jobs, on any machine.

    Args:
        folder: the sweep's folder.
        jobs: the least number of jobs that there will be, if known.
    """

    def __init__(self, folder: Path, jobs: int = 0) -> None:
        self.folder = folder
        self._jobs = jobs
        self.entries: dict[int, Entry] = {}
        self.rows: dict[int, dict[str, Any]] = {}
        """the table's rows for the jobs that have ended, by job number"""

    def expect(self, entries: Iterable[Entry]) -> None:
        """Adds jobs that will be run."""
        self.entries.update((entry.number, entry) for entry in entries)

    @property
    def jobs(self) -> int:
        """The number of jobs, including those that are known to follow."""
        return max(self._jobs, len(self.entries))

    def update(self) -> bool:
        """Reads the results of the jobs that have ended since the last call.

        Returns:
            Whether there were any.
        """
        before = len(self.rows)
        for number, entry in list(self.entries.items()):  # another thread may add entries
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
        """Returns the keys whose values are not the same in all jobs."""
        jobs = [entry.overrides for entry in self.entries.values()]
        keys = dict.fromkeys(key for job in jobs for key in job)
        return [key for key in keys if any(job.get(key) != jobs[0].get(key) for job in jobs)]

    def write(self) -> None:
        """Writes the table, which has one row per job that has ended."""
        rows = [self.rows[number] for number in sorted(self.rows)]
        write_table(self.folder, rows, self.jobs)


def _row(entry: Entry, sweep: Path) -> dict[str, Any] | None:
    """Returns the row of a job, or None if it has not ended."""
    try:
        ended = outcome_row(entry.folder)
    except UserError:  # its record is damaged, so it will be run again
        return None
    if ended is None:
        return None
    folder = os.path.relpath(entry.folder, sweep)
    return {"job": entry.number, "folder": folder, **entry.overrides, **ended}
