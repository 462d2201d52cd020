"""Work in several processes, forked from this one with all that it holds.

What is written for a thousand jobs takes longer than their numbers, and Python does it on one core
at a time. A forked process needs nothing sent to it and starts in a hundredth of a second; what it
gives back is sent, and so has to be small. What it does uses neither CUDA nor more than one thread.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import warnings
from array import array
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from tempfile import TemporaryFile
from typing import Any, Generic, Self, TypeVar

import torch

from gradexp.mistakes import one_line

Item = TypeVar("Item")
Made = TypeVar("Made")

_FORKS = sys.platform == "linux"  # elsewhere libraries do not survive it

_MOST = 8
"""Processes: each copies what it writes over, a hundred megabytes or two."""


def processes(items: int, each: int = 1) -> int:
    """How many processes are worth it for so many items, this one among them.

    Args:
        items: how many.
        each: items that a process must have to do for it to be worth its start.
    """
    if not _FORKS:
        return 1
    return max(1, min(_MOST, len(os.sched_getaffinity(0)), items // each))


def done_by(count: int, items: Sequence[Item], do: Callable[[Item], Made]) -> list[Made]:
    """``[do(item) for item in items]``, by so many processes, this one among them.

    Args:
        count: how many.
        items: each is done by the first process that has nothing to do.
        do: gives something that can be pickled.

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
            for _ in range(1, count):
                others.append(_forked(_work, do, items, queue.fileno(), os.getpid()))
            for index in _taken(queue.fileno()):
                made[index] = do(items[index])
                for _, pipe in others:  # whoever writes to a full one waits
                    while pipe.poll() and _received(pipe, made):
                        pass
            for _, pipe in others:
                while _received(pipe, made):
                    pass
        finally:
            for process, pipe in others:
                process.kill()  # nothing, where it has ended
                process.join()
                pipe.close()
    # What another process had begun when it was killed, for want of memory as a rule, is done here.
    return [made[index] if index in made else do(item) for index, item in enumerate(items)]


def _taken(queue: int) -> Iterator[int]:
    """The numbers in a file that no process has taken yet: all read on from one place in it."""
    while number := os.read(queue, array("q").itemsize):
        yield array("q", number)[0]


def _work(
    do: Callable[[Item], Made], items: Sequence[Item], queue: int, parent: int, pipe: Connection
) -> None:
    """What another process does; it ends when its parent does."""
    for index in _taken(queue):
        pipe.send((index, do(items[index])))
        if os.getppid() != parent:
            return


def _received(pipe: Connection, made: dict[int, Made]) -> bool:
    """Whether something came through a pipe, and not its end."""
    try:
        index, result = pipe.recv()
    except (EOFError, OSError):  # the latter in the midst of something
        return False
    made[index] = result
    return True


class Standby(Generic[Item]):
    """A function in a process of its own, which makes ready for it while this one does other work.

    Where there is no such process it is all done here, when it is asked for.

    Args:
        prepare: makes ready.
        do: is called at most once.
    """

    def __init__(self, prepare: Callable[[], None], do: Callable[[Item], None]) -> None:
        self._do = do
        self._other = _forked(_stand_by, prepare, do) if processes(2) > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._other is not None:
            process, pipe = self._other
            pipe.close()
            process.kill()
            process.join()

    def do(self, item: Item) -> str | None:
        """Does it, and waits until it is done; tells in one line why it could not be."""
        if self._other is None:
            return _tried(self._do, item)
        _, pipe = self._other
        pipe.send(item)
        try:
            reason: str | None = pipe.recv()
        except EOFError:
            reason = "the process that was at it is gone"
        return reason


def _stand_by(prepare: Callable[[], None], do: Callable[[Item], None], pipe: Connection) -> None:
    prepare()
    try:
        item = pipe.recv()
    except EOFError:  # it is not asked for, or its parent is no more
        return
    pipe.send(_tried(do, item))


def _tried(do: Callable[[Item], None], item: Item) -> str | None:
    try:
        do(item)
    except Exception as error:
        return one_line(error)
    return None


def _forked(work: Callable[..., None], *arguments: Any) -> tuple[BaseProcess, Connection]:
    """A process that does something, and this one's end of a pipe, whose other end it is given."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_begin, args=(here, work, *arguments, there))
    with warnings.catch_warnings():  # that other threads may hold locks: none that is taken here
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    there.close()
    return process, here


def _begin(others: Connection, work: Callable[..., None], *arguments: Any) -> None:
    others.close()  # which would keep the pipe open when the parent is no more
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    torch.set_num_threads(1)  # the pool of threads stayed behind
    work(*arguments)
