"""Work in several processes: all of it is done, once, whatever becomes of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import BrokenBarrierError

import pytest

from gradexp import processes
from gradexp.processes import Standby, done_by

forks = pytest.mark.skipif(not processes._FORKS, reason="this system cannot fork")


@pytest.mark.parametrize("count", [1, pytest.param(3, marks=forks)])
def test_the_results_are_in_the_order_of_the_items(count: int) -> None:
    assert done_by(count, range(100), lambda item: item**2) == [item**2 for item in range(100)]


@forks
def test_each_process_takes_what_no_other_has_taken() -> None:
    together = multiprocessing.get_context("fork").Barrier(2)

    def do(item: int) -> int:
        if item < 2:
            together.wait(timeout=60)  # the two are done at the same time, or never
        return os.getpid()

    made = done_by(2, range(8), do)
    assert len(set(made[:2])) == 2
    assert os.getpid() in made[:2]


@forks
def test_what_a_killed_process_left_is_done_here() -> None:
    here, together = os.getpid(), multiprocessing.get_context("fork").Barrier(2)

    def do(item: int) -> int:
        if item < 2:
            with suppress(BrokenBarrierError):
                together.wait(timeout=60)
            if os.getpid() != here:
                together.abort()  # for when the item is done again
                os.kill(os.getpid(), signal.SIGKILL)
        return item

    assert done_by(2, range(8), do) == list(range(8))


@forks
def test_what_is_raised_here_ends_the_others(tmp_path: Path) -> None:
    here, together = os.getpid(), multiprocessing.get_context("fork").Barrier(2)

    def do(item: int) -> None:
        (tmp_path / str(os.getpid())).touch()
        together.wait(timeout=60)
        if os.getpid() == here:
            raise KeyboardInterrupt
        signal.pause()

    with pytest.raises(KeyboardInterrupt):
        done_by(2, range(4), do)
    (other,) = {int(path.name) for path in tmp_path.iterdir()} - {here}
    with pytest.raises(ProcessLookupError):
        os.kill(other, 0)


@pytest.mark.parametrize("can_fork", [pytest.param(True, marks=forks), False])
def test_a_process_stands_by(
    can_fork: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_FORKS", can_fork)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    ready: list[bool] = []

    def do(path: Path) -> None:
        path.write_text(str(os.getpid()) if ready or not can_fork else "not ready")

    with Standby(partial(ready.append, True), do) as standby:
        assert standby.do(tmp_path / "file") is None
    assert (int((tmp_path / "file").read_text()) == os.getpid()) is not can_fork
    assert not ready
    with Standby(lambda: None, do) as standby:
        reason = standby.do(tmp_path / "no such folder" / "file")
    assert reason is not None
    assert reason.startswith("FileNotFoundError: ")


@forks
def test_a_process_that_is_not_asked_ends() -> None:
    before = multiprocessing.active_children()
    with Standby(lambda: None, lambda item: None):
        pass
    assert multiprocessing.active_children() == before
