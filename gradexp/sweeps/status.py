"""What became of the jobs of a sweep, as their folders tell; and the table of it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from gradexp.errors import UserError
from gradexp.results import outcome_row, write_table


class Entry(NamedTuple):
    """A job that is to be run."""

    number: int
    overrides: dict[str, Any]
    """its values by their config path"""
    folder: Path


class SweepStatus:
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
        rows = [self.rows[number] for number in sorted(self.rows)]
        write_table(self.folder, rows, self.jobs)


def _row(entry: Entry, sweep: Path) -> dict[str, Any] | None:
    """What a job came to, or None as long as it has not ended."""
    try:
        ended = outcome_row(entry.folder)
    except UserError:  # its record is damaged: it is made again
        return None
    if ended is None:
        return None
    folder = os.path.relpath(entry.folder, sweep)
    return {"job": entry.number, "folder": folder, **entry.overrides, **ended}
