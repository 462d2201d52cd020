"""Watches a sweep while it runs: a bar in the terminal, and the table on the disk."""

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
"""Seconds from one look at the folders to the next."""

_WRITE = 5.0
"""Seconds, at least, from one writing of the table to the next."""


class Watch:
    """Looks at the folders of a sweep's jobs from a thread of its own, whoever runs them.

    Raises:
        Exception: when the sweep is over, what kept it from reading the folders, or from writing
            the table.
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
        except Exception as failure:  # a thread's would be lost; the sweep's own goes on
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
