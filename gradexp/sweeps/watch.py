"""Watches a sweep while it runs: shows a progress bar, and keeps the sweep's table up to date."""

from __future__ import annotations

import math
import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from gradexp.sweeps.status import SweepStatus

_LOOK = 0.5
"""Time between two checks of the job folders, in seconds."""

_WRITE = 5.0
"""Minimum time between two writes of the table, in seconds."""


class Watch:
    """A context manager that checks the job folders of a sweep in a thread of its own.

    It works with any launcher, because it only reads the folders.

    Args:
        status: the status of the sweep, which is updated.

    Raises:
        Exception: on leaving the context, if the folders could not be read or the table could not
            be written.
    """

    def __init__(self, status: SweepStatus) -> None:
        self._status = status
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._failure: Exception | None = None

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._failure is not None and error is None:
            raise self._failure

    def _watch(self) -> None:
        try:
            self._look()
        except Exception as failure:  # raised on leaving the context; the sweep itself continues
            self._failure = failure

    def _look(self) -> None:
        console = Console(stderr=True)
        columns = (
            TextColumn("jobs"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        written = -math.inf
        changed = False
        shown = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        with shown as bar:
            task = bar.add_task("jobs", total=None)
            while not self._over.wait(_LOOK):
                changed |= self._status.update()
                jobs, ended = self._status.jobs, len(self._status.rows)
                bar.update(task, total=jobs or None, completed=ended)
                if changed and time.monotonic() - written > _WRITE:
                    self._status.write()
                    written, changed = time.monotonic(), False
        if self._status.update() or changed:
            self._status.write()
