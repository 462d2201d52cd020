"""Runs a problem chunk by chunk: what a batch needs at once depends on the chunk, not on the
number of runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from gradexp.engine.problem import Problem
from gradexp.engine.results import Results
from gradexp.engine.rows import Recording
from gradexp.engine.runs import Runs
from gradexp.engine.trace import Ran, Trace
from gradexp.numbers import LANES, padded


class Chunk(Protocol):
    """Runs that advance together."""

    shortest: int
    """looks of the first block"""
    longest: int
    """looks of a block, at most"""

    def advance(self, first: int, looks: int, recording: Recording | None, columns: slice) -> None:
        """Makes `looks` looks from step `first` on, each with a move after it but for the last
        step's, and records them."""

    def steps(self) -> Tensor:
        """The moves made by each run, ``(B,)``."""

    def runs(self) -> Runs:
        """The runs now; their points ``(dim, B)``."""

    def keep(self, index: Tensor) -> None:
        """Goes on with these lanes only."""


def run_in_chunks(
    problem: Problem, make: Callable[[Problem, slice], Chunk], size: int, engine: Ran
) -> Trace:
    """The trace of a problem whose chunks of `size` runs are made by `make`."""
    recording = None
    if problem.record.what != "metrics":
        recording = Recording(problem, -(-problem.batch // LANES) * LANES)
    results = Results(problem, recording)
    firsts = range(0, problem.batch, size)
    for number, first in enumerate(firsts):

        def tell(step: int, done: int = number) -> None:
            problem.progress((done * problem.steps + step) // len(firsts))

        columns = slice(first, min(first + size, problem.batch))
        _run_chunk(problem, make, columns, results, tell)
    return results.trace(engine)


def _run_chunk(
    problem: Problem,
    make: Callable[[Problem, slice], Chunk],
    columns: slice,
    results: Results,
    tell: Callable[[int], None],
) -> None:
    """Runs one chunk to its end.

    Where nothing is recorded along the way, runs that have ended leave it as soon as they are half
    of it: from then on it costs what those cost that go on.
    """
    chunk = make(problem, columns)
    place: slice | Tensor = columns
    count = columns.stop - columns.start
    step, looks = 0, chunk.longest if results.recording else chunk.shortest
    while True:
        looks = min(looks, problem.steps + 1 - step)
        chunk.advance(step, looks, results.recording, columns)
        step += looks
        looks = min(2 * looks, chunk.longest)
        tell(min(step, problem.steps))
        going = (chunk.steps()[:count] == step).nonzero()[:, 0]
        if not len(going):
            break
        if results.recording is None and len(going) <= count // 2:
            results.put(place, chunk.runs(), slice(0, count))
            place = going + place.start if isinstance(place, slice) else place[going]
            count = len(going)
            chunk.keep(padded(going))
    results.put(place, chunk.runs(), slice(0, count))
    results.note_end(columns, step - 1)
