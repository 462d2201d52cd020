"""Runs a problem chunk by chunk: what a batch needs at once depends on the chunk, not on the
number of runs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock
from typing import Protocol

import torch
from torch import Tensor

from gradexp.engine.problem import Problem
from gradexp.engine.results import Results
from gradexp.engine.rows import Recording
from gradexp.engine.runs import Runs
from gradexp.engine.trace import Ran, Trace
from gradexp.numbers import padded


class Chunk(Protocol):
    """Runs that advance together."""

    shortest: int
    """looks of the first block"""
    longest: int
    """looks of a block, at most"""

    def advance(self, first: int, looks: int, recording: Recording | None, columns: slice) -> None:
        """Makes `looks` looks from step `first` on, each with a move after it but for the last
        step's, and records them."""

    def runs(self) -> Runs:
        """The runs now; their points ``(dim, B)``."""

    def keep(self, index: Tensor) -> None:
        """Goes on with these lanes only."""


def run_in_chunks(
    problem: Problem, make: Callable[[Problem], Chunk], size: int, threads: int, engine: Ran
) -> Trace:
    """The trace of a problem whose chunks of `size` runs are made by `make`."""
    recording = None
    if problem.record.what != "metrics":
        recording = Recording(problem, padded(torch.empty(1, problem.batch)).shape[1])
    results = Results(problem, recording)
    firsts = range(0, problem.batch, size)
    stopping, lock = Event(), Lock()
    made = dict.fromkeys(firsts, 0)

    def tell(first: int, step: int) -> None:
        with lock:
            made[first] = step
            problem.progress(sum(made.values()) // len(made))

    def one(first: int) -> None:
        columns = slice(first, min(first + size, problem.batch))
        _run_chunk(problem, make, columns, results, tell, stopping)
        if len(firsts) > 1:  # it may have ended early
            tell(first, problem.steps)

    if threads == 1 or len(firsts) == 1:
        for first in firsts:
            one(first)
    else:
        with ThreadPoolExecutor(threads) as pool:
            try:
                for _ in pool.map(one, firsts):
                    pass
            except BaseException:
                stopping.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return results.trace(engine)


def _run_chunk(
    problem: Problem,
    make: Callable[[Problem], Chunk],
    columns: slice,
    results: Results,
    tell: Callable[[int, int], None],
    stopping: Event,
) -> None:
    """Runs one chunk to its end.

    Where nothing is recorded along the way, runs that have ended leave it as soon as they are half
    of it: from then on it costs what those cost that go on.
    """
    chunk = make(problem.lanes(columns.start, columns.stop))
    place: slice | Tensor = columns
    count = columns.stop - columns.start
    step, looks = 0, chunk.shortest
    while not stopping.is_set():
        looks = min(looks, problem.steps + 1 - step)
        chunk.advance(step, looks, results.recording, columns)
        step += looks
        looks = min(2 * looks, chunk.longest)
        tell(columns.start, min(step, problem.steps))
        runs = chunk.runs()
        going = runs.steps[:count] == step
        alive = int(going.sum())
        if not alive:
            break
        if results.recording is None and alive <= count // 2:
            if isinstance(place, slice):
                place = torch.arange(place.start, place.stop)
            results.put(place[~going.cpu()], runs, (~going).nonzero()[:, 0])
            place, count = place[going.cpu()], alive
            chunk.keep(padded(going.nonzero()[:, 0]))
    results.put(place, chunk.runs(), slice(0, count))
    results.note_end(columns, step - 1)
