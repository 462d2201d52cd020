"""Work in several processes, forked from this one with all that it holds.

What is written for a thousand jobs takes longer than their numbers, and Python does it on one core
at a time. A forked process needs nothing sent to it and starts in a hundredth of a second. What it
does uses one thread and no accelerator; what it gives back is sent.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import warnings
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from tempfile import TemporaryFile
from typing import Any, Generic, Self, TypeVar

from gradexp.errors import one_line

Item = TypeVar("Item")
Made = TypeVar("Made")

_FORKS = sys.platform == "linux"  # elsewhere libraries do not survive it

_PR_SET_PDEATHSIG = 1
"""Of ``prctl`` of Linux: the signal by which a process learns that its parent has ended."""

_MOST = 8
"""Processes: each copies what it writes over, a hundred megabytes or two."""


def worthwhile(items: int, each: int = 1) -> int:
    """How many processes are worth it for so many items, this one among them.

    It is this one alone where there is an accelerator: with one, torch refuses to differentiate in
    a process that was forked from one that has.

    Args:
        items: how many.
        each: items that a process must have to do for it to be worth its start.
    """
    torch = _torch()
    if not _FORKS or (torch is not None and torch.accelerator.is_available()):
        return 1
    return max(1, min(_MOST, len(os.sched_getaffinity(0)), items // each))


def _torch() -> Any:
    """torch, if anything here has imported it: that takes a second and a half."""
    return sys.modules.get("torch")


def done_by(count: int, items: Sequence[Item], do: Callable[[Item], Made]) -> list[Made]:
    """``[do(item) for item in items]``, by so many processes, this one among them.

    What another process does not get done, whether it was killed (for want of memory as a rule),
    `do` raised there, or what it gave cannot be sent, is done again here.

    Args:
        count: how many.
        items: each is done by the first process that has nothing to do.
        do: what to do with one.

    Raises:
        BaseException: what `do` raised here, or an interruption; the other processes are ended.
    """
    if count == 1:
        return [do(item) for item in items]
    made: dict[int, Made] = {}
    others: list[tuple[BaseProcess, Connection]] = []
    with TemporaryFile(buffering=0) as queue:
        queue.write(array("q", range(len(items))).tobytes())
        queue.seek(0)
        try:
            with _undisturbed():
                for _ in range(1, count):
                    others.append(_forked(_work, do, items, queue.fileno()))
            for index in _taken(queue.fileno()):
                made[index] = do(items[index])
                for _, pipe in others:  # whoever writes to a full one waits
                    while pipe.poll() and _received(pipe, made):
                        pass
            for _, pipe in others:
                while _received(pipe, made):
                    pass
        finally:
            for other in others:
                _end(*other)
    return [made[index] if index in made else do(item) for index, item in enumerate(items)]


def _taken(queue: int) -> Iterator[int]:
    """The numbers in a file that no process has taken yet: all read on from one place in it."""
    while number := os.read(queue, array("q").itemsize):
        yield array("q", number)[0]


def _work(do: Callable[[Item], Made], items: Sequence[Item], queue: int, pipe: Connection) -> None:
    """What another process does."""
    for index in _taken(queue):
        try:
            result = pickle.dumps((index, do(items[index])))
        except Exception:
            continue
        try:
            pipe.send_bytes(result)
        except OSError:  # its parent is no more
            return


def _received(pipe: Connection, made: dict[int, Made]) -> bool:
    """Whether something came through a pipe, and not its end."""
    try:
        result = pipe.recv_bytes()
    except (EOFError, OSError):  # the latter in the midst of something
        return False
    try:
        index, value = pickle.loads(result)
    except Exception:  # some exceptions cannot be made again
        return True
    made[index] = value
    return True


class ForkedWorker(Generic[Item]):
    """A function in a process of its own, which makes ready for it while this one does other work.

    Where there is no such process, it is called here.

    Args:
        prepare: makes ready.
        do: is called at most once.
    """

    def __init__(self, prepare: Callable[[], None], do: Callable[[Item], None]) -> None:
        self._do = do
        self._other: tuple[BaseProcess, Connection] | None = None
        if worthwhile(2) > 1:
            with _undisturbed():
                self._other = _forked(_stand_by, prepare, do)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._other is not None:
            _end(*self._other)

    def do(self, item: Item) -> str | None:
        """Does it, and waits until it is done; tells in one line why it could not be."""
        if self._other is None:
            return _tried(self._do, item)
        _, pipe = self._other
        try:
            pipe.send(item)
            reason: str | None = pipe.recv()
        except (EOFError, OSError):
            reason = "the process that was to do it is gone"
        return reason


def _stand_by(prepare: Callable[[], None], do: Callable[[Item], None], pipe: Connection) -> None:
    unprepared = _tried(lambda _: prepare(), None)
    try:
        item = pipe.recv()
    except EOFError:  # it is not asked for, or its parent is no more
        return
    pipe.send(unprepared or _tried(do, item))


def _tried(do: Callable[[Any], None], item: Any) -> str | None:
    try:
        do(item)
    except Exception as error:
        return one_line(error)
    return None


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Puts Ctrl-C off, so that no process is begun and not known."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _forked(work: Callable[..., None], *arguments: Any) -> tuple[BaseProcess, Connection]:
    """A process that does something, and this one's end of a pipe, whose other end it is given."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_begin, args=(here, os.getpid(), work, *arguments, there))
    with warnings.catch_warnings():
        # Other threads may hold locks: imports' and logging's are made anew, and see `_begin`.
        warnings.filterwarnings("ignore", "(?s).*fork", DeprecationWarning)
        process.start()
    there.close()
    return process, here


def _begin(others: Connection, parent: int, work: Callable[..., None], *arguments: Any) -> None:
    _die_with(parent)
    others.close()  # which would keep the pipe open when the parent is no more
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    torch = _torch()
    if torch is not None:
        torch.set_num_threads(1)  # the pool of threads stayed behind
    # A progress bar's thread, which stayed behind, may hold the lock of what stands in for these.
    stands_in = {sys.stdout: sys.__stdout__, sys.stderr: sys.__stderr__}
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        for handler in getattr(logger, "handlers", ()):
            if isinstance(handler, logging.StreamHandler) and handler.stream in stands_in:
                handler.stream = stands_in[handler.stream]
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    work(*arguments)


def _die_with(parent: int) -> None:
    """Lets this process be killed as soon as its parent has ended, whatever either is doing.

    Otherwise what a killed sweep left behind would hold the sweep's lock, and its resuming be
    refused, until it next looks for its parent.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it had ended before
        os._exit(1)


def _end(process: BaseProcess, pipe: Connection) -> None:
    pipe.close()
    process.kill()  # nothing, where it has ended
    process.join()
