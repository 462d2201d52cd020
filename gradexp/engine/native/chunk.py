"""A chunk of runs in the buffers of a compiled program."""

from __future__ import annotations

from torch import Tensor

from gradexp.engine.native.block import Block
from gradexp.engine.problem import Problem
from gradexp.engine.rows import Recording
from gradexp.engine.runs import Runs


class NativeChunk:
    """Runs that a compiled program advances."""

    shortest = 32

    def __init__(self, block: Block, problem: Problem) -> None:
        self._block, self._last = block, problem.steps
        dim, width = problem.start.shape
        self._buffers = block.buffers(width)
        block.fill(self._buffers, problem)
        # A block is short enough for Ctrl-C and the progress bar, and long enough to not matter.
        self.longest = min(max(self.shortest, 2**23 // (width * dim)), 2**14)

    def advance(self, first: int, looks: int, recording: Recording | None, columns: slice) -> None:
        self._block.advance(self._buffers, first, looks, self._last, recording, columns.start)

    def runs(self) -> Runs:
        return self._block.runs(self._buffers)

    def keep(self, index: Tensor) -> None:
        self._buffers = {name: rows[:, index] for name, rows in self._buffers.items()}
