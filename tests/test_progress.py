"""The progress bar."""

import io
import itertools

import pytest
from rich.console import Console

from gradexp.jobs import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("waited", "terminal", "shown"), [
    (2.0, True, True), (0.5, True, False), (2.0, False, False),
])  # fmt: skip
def test_bar_comes_after_a_second_and_only_to_a_terminal(
    waited: float, terminal: bool, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.chain([0.0], itertools.repeat(waited))
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr("gradexp.jobs.progress.time.monotonic", lambda: next(clock))
    with progress.StepProgress(100) as bar:
        monkeypatch.setattr(bar, "_console", Console(file=stream, force_terminal=terminal))
        bar.advance(50)
    assert ("50%" in stream.getvalue()) == shown
