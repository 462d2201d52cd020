"""Work in several processes: all of it is done, once, whatever becomes of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

import pytest
import torch

from gradexp.processes import workers as processes
from gradexp.processes.workers import ForkedWorker, done_by, worthwhile

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

    with ForkedWorker(partial(ready.append, True), do) as worker:
        assert worker.do(tmp_path / "file") is None
    assert (int((tmp_path / "file").read_text()) == os.getpid()) is not can_fork
    assert not ready
    with ForkedWorker(lambda: None, do) as worker:
        reason = worker.do(tmp_path / "no such folder" / "file")
    assert reason is not None
    assert reason.startswith("FileNotFoundError: ")


@forks
def test_what_another_process_cannot_do_or_send_is_done_here() -> None:
    class Odd(Exception):
        def __init__(self, one: int, two: int) -> None:  # it cannot be made again
            super().__init__(one)

    here = os.getpid()

    def do(item: int) -> Any:
        if os.getpid() != here and item % 4 == 0:
            raise OSError("the disk is full")
        return {1: lambda: item, 2: Odd(1, 2)}.get(item % 4, item)

    made = done_by(3, range(40), do)
    assert [made[item] for item in range(0, 40, 4)] == list(range(0, 40, 4))
    assert made[1]() == 1
    assert isinstance(made[2], Odd)


@forks
def test_why_it_could_not_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})

    def fail() -> None:
        raise ImportError("no such library")

    def do(item: int) -> None:
        """Nothing."""

    with ForkedWorker(fail, do) as worker:
        assert worker.do(1) == "ImportError: no such library"
    with ForkedWorker(lambda: os.kill(os.getpid(), signal.SIGKILL), do) as worker:
        assert worker.do(1) == "the process that was to do it is gone"
    before = multiprocessing.active_children()
    with ForkedWorker(lambda: None, lambda item: None):
        (other,) = set(multiprocessing.active_children()) - set(before)
    assert not other.is_alive()


@forks
def test_processes_end_with_the_one_that_forked_them() -> None:
    script = """
import os, signal, time
from gradexp.processes.workers import ForkedWorker, done_by, worthwhile
os.sched_getaffinity = lambda _: {0, 1}
here = os.getpid()
worker = ForkedWorker(lambda: time.sleep(600), print)
def do(item):
    if os.getpid() == here:
        os.kill(here, signal.SIGKILL)
    print(item, flush=True)
done_by(2, range(1000), do)
"""
    # Its output ends when the last process has ended that may write to it.
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert run.returncode == -signal.SIGKILL
    assert len(run.stdout.split()) < 500
    assert run.stderr == b""


@forks
def test_there_is_one_process_where_torch_cannot_differentiate_in_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert [worthwhile(items, 16) for items in (1, 31, 32, 1000)] == [1, 1, 2, 8]
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert worthwhile(1000) == 1
