"""Distributes work over several processes, which are forked from this one and copy its memory.

Writing the files of a thousand jobs takes longer than computing their numbers, and a Python process
writes them on only one core. A forked process starts in 0.01 s, and needs no data sent to it. It
uses one thread and no accelerator, and sends its results back.
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

_FORKS = sys.platform == "linux"  # on other systems some libraries do not survive a fork

_PR_SET_PDEATHSIG = 1
"""The operation of Linux's ``prctl`` that sets the signal a process gets when its parent ends."""

_MOST = 8
"""The most processes. Each copies the memory that it modifies, 100 to 200 MB."""


def worthwhile(items: int, each: int = 1) -> int:
    """Returns how many processes, including this one, are worthwhile for a number of items.

    If there is an accelerator, the result is 1, because torch then refuses to differentiate in a
    process forked from one that has already done so.

    Args:
        items: the number of items.
        each: the fewest items per process for which starting it is worthwhile.
    """
    torch = _torch()
    if not _FORKS or (torch is not None and torch.accelerator.is_available()):
        return 1
    return max(1, min(_MOST, len(os.sched_getaffinity(0)), items // each))


def _torch() -> Any:
    """Returns torch if it has been imported, else None: importing it takes 1.5 s."""
    return sys.modules.get("torch")


def done_by(count: int, items: Sequence[Item], do: Callable[[Item], Made]) -> list[Made]:
    """Returns ``[do(item) for item in items]``, computed by several processes.

    An item that another process does not finish is computed again in this one. This happens if
    that process was killed (usually for lack of memory), if `do` raised an exception there, or if
    the result cannot be sent.

    Args:
        count: the number of processes, including this one.
        items: each is taken by the next process that is free.
        do: the function to apply to an item.

    Raises:
        BaseException: if `do` raises it in this process, or on an interruption. The other processes
            are ended first.
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
                for _, pipe in others:  # a process that writes to a full pipe would wait
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
    """Yields the numbers in a file that no process has taken yet.

    All processes share one position in the file.
    """
    while number := os.read(queue, array("q").itemsize):
        yield array("q", number)[0]


def _work(do: Callable[[Item], Made], items: Sequence[Item], queue: int, pipe: Connection) -> None:
    """Computes items in another process, and sends the results through a pipe."""
    for index in _taken(queue):
        try:
            result = pickle.dumps((index, do(items[index])))
        except Exception:
            continue
        try:
            pipe.send_bytes(result)
        except OSError:  # the parent has ended
            return


def _received(pipe: Connection, made: dict[int, Made]) -> bool:
    """Receives one result through a pipe; returns False at the end of the pipe."""
    try:
        result = pipe.recv_bytes()
    except (EOFError, OSError):  # OSError: the process ended in the middle of a result
        return False
    try:
        index, value = pickle.loads(result)
    except Exception:  # some results, such as certain exceptions, cannot be unpickled
        return True
    made[index] = value
    return True


class ForkedWorker(Generic[Item]):
    """A forked process that prepares to call a function while this one does other work.

    If a process is not worthwhile, the function is called in this one.

    Args:
        prepare: called first in the new process; not called in this one.
        do: the function, which is called at most once.
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
        """Calls the function with an item, and waits until it returns.

        Returns:
            Why it failed, in one line, or None if it did not.
        """
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
    except EOFError:  # the function is not needed, or the parent has ended
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
    """Defers Ctrl-C, so that no process is started without being recorded."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _forked(work: Callable[..., None], *arguments: Any) -> tuple[BaseProcess, Connection]:
    """Starts a process that does some work.

    Args:
        work: the function to call there.
        *arguments: its arguments; the other end of the pipe is added as the last one.

    Returns:
        The process, and this process's end of a pipe to it.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_begin, args=(here, os.getpid(), work, *arguments, there))
    with warnings.catch_warnings():
        # Python warns that other threads may hold locks. Those of imports and of logging are
        # replaced in the new process; for those of the output see `_begin`.
        warnings.filterwarnings("ignore", "(?s).*fork", DeprecationWarning)
        process.start()
    there.close()
    return process, here


def _begin(others: Connection, parent: int, work: Callable[..., None], *arguments: Any) -> None:
    _die_with(parent)
    others.close()  # otherwise the pipe would stay open after the parent has ended
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    torch = _torch()
    if torch is not None:
        torch.set_num_threads(1)  # the threads of torch's pool are not in this process
    # A progress bar replaces the standard streams. Its thread is not in this process, but may have
    # held the lock of the replacements.
    stands_in = {sys.stdout: sys.__stdout__, sys.stderr: sys.__stderr__}
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        for handler in getattr(logger, "handlers", ()):
            if isinstance(handler, logging.StreamHandler) and handler.stream in stands_in:
                handler.stream = stands_in[handler.stream]
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    work(*arguments)


def _die_with(parent: int) -> None:
    """Makes the system kill this process as soon as its parent has ended.

    Otherwise, after a sweep was killed, this process would still hold the sweep's lock until it
    noticed that its parent is gone. Resuming the sweep would be refused meanwhile.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent had ended already
        os._exit(1)


def _end(process: BaseProcess, pipe: Connection) -> None:
    pipe.close()
    process.kill()  # does nothing if the process has ended
    process.join()
