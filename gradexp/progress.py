"""A progress bar for runs that take longer than a second."""

from __future__ import annotations

import time
from types import TracebackType

from rich.progress import Progress

_PATIENCE = 1.0
"""Seconds that pass before the bar appears."""


class StepProgress:
    """Shows how many of `steps` were made; on the standard error, gone when done."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._started = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> StepProgress:
        return self

    def advance(self, step: int) -> None:
        """Tells it that `step` steps were made."""
        if self._bar is None:
            if time.monotonic() - self._started < _PATIENCE:
                return
            from rich.console import Console

            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("steps", total=self._steps)
            self._bar.start()
        self._bar.update(self._task, completed=step)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
