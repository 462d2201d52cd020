"""Runs a problem chunk by chunk, so that memory depends on the chunk's size, not on the batch's.

If no steps are recorded, runs that have ended are removed from their chunk, and the remaining runs
of several chunks at the same step are merged into one. The cost of a batch is then that of its
active runs.
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
    """Runs that advance together, one block of looks and moves at a time (see `engine.runs`)."""

    shortest: int
    """how many looks the first block has"""
    longest: int
    """how many looks a block has at most"""

    def advance(self, first: int, looks: int, recorder: Recorder | None, columns: slice) -> None:
        """Makes one block of looks and moves, and records them.

        Each look is followed by a move, except at the problem's last step.

        Args:
            first: the step of the first look.
            looks: the number of looks.
            recorder: takes the rows; None if no steps are recorded.
            columns: the columns of the recorder that belong to this chunk.
        """

    def steps(self) -> Tensor:
        """Returns the number of moves made by each run, ``(B,)``."""

    def notes(self) -> Notes:
        """Returns the current metrics of the runs."""

    def state(self) -> list[Tensor]:
        """Returns the points ``(dim, B)`` and each field of the optimizer's state ``(n, B)``.

        The tensors are valid until the chunk advances.
        """

    def gather(self, parts: Sequence[tuple[Self, Tensor]]) -> None:
        """Replaces the runs of this chunk by selected runs of some chunks, concatenated.

        The last run is repeated until their number is a multiple of `LANES`.

        Args:
            parts: chunks, of which this one may be one, each with the indices of its runs to keep.
        """


Make = Callable[[Problem, slice], Chunk]


def run_in_chunks(problem: Problem, make: Make, size: int, engine: EngineKind) -> Trace:
    """Runs a problem and returns its trace.

    Args:
        problem: the problem to run.
        make: makes the chunk of a slice of the problem's runs.
        size: the number of runs of a chunk.
        engine: the kind of engine, as the trace reports it.
    """
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
    """Runs one chunk to its end, without removing runs that have ended.

    Args:
        chunk: the chunk, at its start.
        steps: the maximum number of steps.
        columns: the indices of the chunk's runs in the problem.
        recording: takes the recorded steps and the final metrics.
        tell: called after each block with the number of steps made.
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
    """A chunk that still has active runs."""

    chunk: Chunk
    place: slice | Tensor
    """the indices of its runs in the problem"""
    runs: int
    """the number of its runs, without padding"""
    going: Tensor
    """the indices in the chunk of the runs that are still active"""


class _Compaction:
    """Runs chunks, and merges those that have few active runs left.

    Chunks pause at certain steps, each about twice the one before. A chunk whose active runs are at
    most half as many as a full chunk holds waits there, to be merged with the remains of others.
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
        """Advances a chunk until it ends or has so few active runs that it waits for others.

        Args:
            lot: the chunk.
            step: the step of its next look.
            unit: the number of looks before a chunk may wait for the first time.
            last: whether no new chunk will be made; a new chunk would reuse this one's memory.
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
        """Advances a chunk by one block, and returns it with the step of its next look.

        If at most half of its runs are still active afterwards, those that have ended are removed.
        """
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
        """Returns the chunks that wait at a step, merged into one."""
        lots = self._waiting.pop(step)
        return lots[0] if len(lots) == 1 else self._gathered(lots)

    def _gathered(self, lots: Sequence[_ActiveChunk]) -> _ActiveChunk:
        """Moves the active runs of some chunks into the first of them.

        The metrics of all runs are recorded before, because those that have ended are dropped.
        """
        for chunk, place, count, _ in lots:
            self._recording.put(place, chunk.notes(), slice(0, count))
        places = [
            going + place.start if isinstance(place, slice) else place[going]
            for _, place, _, going in lots
        ]
        chunk, place = lots[0].chunk, torch.cat(places)
        chunk.gather([(lot.chunk, lot.going) for lot in lots])
        return _ActiveChunk(chunk, place, len(place), torch.arange(len(place), device=place.device))
