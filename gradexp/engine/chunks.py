"""Runs a problem chunk by chunk: what a batch needs at once depends on the chunk, not on the
number of runs.

Where nothing is recorded along the way, runs that have ended leave their chunk, and what is left of
several chunks at the same step goes on as one: a batch costs what its live runs cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor

from gradexp.engine.problem import Problem
from gradexp.engine.recording import Recorder, Recording
from gradexp.engine.runs import Notes
from gradexp.engine.trace import EngineKind, Trace
from gradexp.numbers import LANES


class Chunk(Protocol):
    """Runs that advance together."""

    shortest: int
    """looks of the first block"""
    longest: int
    """looks of a block, at most"""

    def advance(self, first: int, looks: int, recorder: Recorder | None, columns: slice) -> None:
        """Makes `looks` looks from step `first` on, each with a move after it but for the last
        step's, and records them."""

    def steps(self) -> Tensor:
        """The moves made by each run, ``(B,)``."""

    def notes(self) -> Notes:
        """What is noted of the runs now."""

    def state(self) -> list[Tensor]:
        """The points ``(dim, B)``, and each field of what the optimizer remembers, ``(n, B)``:
        valid until the chunk goes on."""

    def gather(self, parts: Sequence[tuple[Self, Tensor]]) -> None:
        """Goes on with these lanes of these chunks, of which it may be one, one after the other;
        the last lane is repeated to a multiple of `LANES`."""


Make = Callable[[Problem, slice], Chunk]


def run_in_chunks(problem: Problem, make: Make, size: int, engine: EngineKind) -> Trace:
    """The trace of a problem whose chunks of `size` runs are made by `make`."""
    recording = Recording(problem, -(-problem.batch // LANES) * LANES)
    chunks = [
        slice(first, min(first + size, problem.batch)) for first in range(0, problem.batch, size)
    ]
    if recording.rows:
        for number, columns in enumerate(chunks):

            def tell(step: int, done: int = number) -> None:
                problem.progress((done * problem.steps + step) // len(chunks))

            run_chunk(make(problem, columns), problem.steps, columns, recording, tell)
    else:
        _Compaction(problem, recording, size).run(make, chunks)
    return recording.trace(engine)


def run_chunk(
    chunk: Chunk, steps: int, columns: slice, recording: Recording, tell: Callable[[int], None]
) -> None:
    """Runs one chunk to its end: every run of it has its column in the rows, where there are any.

    Args:
        chunk: at its start.
        steps: the most that a run makes.
        columns: of the problem, which are the chunk's.
        recording: what takes the rows, and the runs at their ends.
        tell: told the number of steps made.
    """
    count = columns.stop - columns.start
    step, going = 0, True
    while going:
        end = recording.end_of_block(step, chunk.longest, steps + 1)
        chunk.advance(step, end - step, recording.rows, columns)
        step = end
        recording.look(step, columns, chunk.notes(), count)
        tell(min(step, steps))
        going = bool((chunk.steps()[:count] == step).any())
    recording.put(columns, chunk.notes(), slice(0, count))
    recording.note_end(columns, step - 1)


class _ActiveChunk(NamedTuple):
    """A chunk on its way."""

    chunk: Chunk
    place: slice | Tensor
    """where its runs stand in the problem"""
    runs: int
    """how many they are"""
    going: Tensor
    """the lanes of those that go on"""


class _Compaction:
    """Takes chunks from one look at who goes on to the next, at steps that double.

    Where half of a full chunk or less goes on, it waits there for what is left of others.
    """

    def __init__(self, problem: Problem, recording: Recording, size: int) -> None:
        self._problem, self._recording, self._size = problem, recording, size
        self._waiting: dict[int, list[_ActiveChunk]] = {}
        self._made = 0

    def run(self, make: Make, chunks: Sequence[slice]) -> None:
        """Runs all chunks to their end."""
        device = self._problem.start.device
        unit = 0
        for columns in chunks:
            chunk = make(self._problem, columns)
            unit = unit or chunk.shortest
            count = columns.stop - columns.start
            lot = _ActiveChunk(chunk, columns, count, torch.arange(count, device=device))
            self._advance(lot, 0, unit, last=columns is chunks[-1])
        while self._waiting:
            step = min(self._waiting)
            self._advance(self._merged(step), step, unit, last=True)

    def _advance(self, lot: _ActiveChunk, step: int, unit: int, last: bool) -> None:
        """Takes a lot on from a step, until it is small enough to wait for others, or ends.

        Args:
            lot: goes on at this step.
            step: the one of its next look.
            unit: looks before the first time that a chunk may wait.
            last: whether no new chunk will be made, which would use this one's memory.
        """
        while True:
            until = min(2 * step + unit, self._problem.steps + 1)
            while step < until:
                lot, step = self._block(lot, step, until)
                if not len(lot.going):
                    return
            if len(lot.going) > self._size // 2:
                continue
            self._waiting.setdefault(step, []).append(lot if last else self._gathered([lot]))
            if sum(len(lot.going) for lot in self._waiting[step]) < self._size:
                return
            lot = self._merged(step)

    def _block(self, lot: _ActiveChunk, step: int, until: int) -> tuple[_ActiveChunk, int]:
        """Makes one block of a lot; more than half of it then goes on, or none."""
        chunk, place, count, before = lot
        end = self._recording.end_of_block(step, chunk.longest, until)
        chunk.advance(step, end - step, None, slice(0, 0))
        self._recording.look(end, place, chunk.notes(), count)
        going = (chunk.steps()[:count] == end).nonzero()[:, 0]
        last = self._problem.steps
        ended = len(before) - len(going)
        self._made += len(before) * (min(end, last) - step) + ended * (last - min(end, last))
        self._problem.progress(self._made // self._problem.batch)
        lot = lot._replace(going=going)
        if not len(going):
            self._recording.put(place, chunk.notes(), slice(0, count))
        elif len(going) <= count // 2:
            lot = self._gathered([lot])
        return lot, end

    def _merged(self, step: int) -> _ActiveChunk:
        """What waits at a step, as one."""
        lots = self._waiting.pop(step)
        return lots[0] if len(lots) == 1 else self._gathered(lots)

    def _gathered(self, lots: Sequence[_ActiveChunk]) -> _ActiveChunk:
        """Those of the lots that go on, in the first one's chunk; the others' numbers are kept."""
        for chunk, place, count, _ in lots:
            self._recording.put(place, chunk.notes(), slice(0, count))
        places = [
            going + place.start if isinstance(place, slice) else place[going]
            for _, place, _, going in lots
        ]
        chunk, place = lots[0].chunk, torch.cat(places)
        chunk.gather([(lot.chunk, lot.going) for lot in lots])
        return _ActiveChunk(chunk, place, len(place), torch.arange(len(place), device=place.device))
