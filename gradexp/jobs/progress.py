"""A progress bar for runs that take longer than a second."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import Progress

_PATIENCE = 1.0
"""The time until the bar appears, in seconds."""


class StepProgress:
    """A progress bar on standard error, if that is a terminal. It disappears at the end.

    Args:
        steps: the number of steps of the run.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._console = Console(stderr=True)
        self._started = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> StepProgress:
        return self

    def advance(self, step: int) -> None:
        """Shows that `step` steps are done."""
        if self._bar is None:
            waited = time.monotonic() - self._started
            if waited < _PATIENCE or not self._console.is_terminal:
                return
            self._bar = Progress(console=self._console, transient=True)
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
