"""A chunk of runs that a compiled program advances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from gradexp.engine.codegen.block import Block
from gradexp.engine.problem import Problem
from gradexp.engine.recording import Recorder
from gradexp.engine.runs import Notes
from gradexp.numbers import LANES, padded


class NativeChunk:
    """Runs in the buffers of a compiled program (see `gradexp.engine.chunks.Chunk`)."""

    def __init__(
        self, block: Block, spare: dict[str, Tensor], problem: Problem, columns: slice
    ) -> None:
        """
        Args:
            block: the program.
            spare: the buffers of a finished chunk, to be reused. If it is empty, or its width does
                not fit, new buffers are put into it.
            problem: the problem whose runs they are.
            columns: the range of those runs in the problem.
        """
        self._block, self._last = block, problem.steps
        width = -(-(columns.stop - columns.start) // LANES) * LANES
        if not spare or spare["reals"].shape[1] != width:
            spare.update(block.buffers(width))
        self._buffers = dict(spare)
        block.fill(self._buffers, problem, columns)
        self._choose_lengths()

    def _choose_lengths(self) -> None:
        """Sets the number of steps in the first block, and the largest number in any block.

        Blocks are long enough to make the overhead of each negligible. The first ones are shorter,
        as many runs may end early. The upper limit keeps Ctrl-C responsive, and the tables of a
        block's steps small enough for the cache.
        """
        work = self._buffers["reals"].shape[1] * self._block.places.point.rows
        if self._block.device.type == "cpu":
            self.shortest, self.longest = max(32, 2**17 // work), min(2**16, max(64, 2**27 // work))
        else:
            self.shortest, self.longest = 64, min(2**18, max(64, 2**34 // work))

    def advance(self, first: int, looks: int, recorder: Recorder | None, columns: slice) -> None:
        self._block.advance(self._buffers, first, looks, self._last, recorder, columns.start)

    def steps(self) -> Tensor:
        return self._block.steps(self._buffers)

    def notes(self) -> Notes:
        return self._block.notes(self._buffers)

    def state(self) -> list[Tensor]:
        return self._block.state(self._buffers)

    def gather(self, parts: Sequence[tuple[Self, Tensor]]) -> None:
        def gathered(name: str) -> Tensor:
            kept = [chunk._buffers[name].index_select(1, lanes) for chunk, lanes in parts]
            return padded(torch.cat(kept, dim=1))

        self._buffers = {name: gathered(name) for name in self._buffers}
        self._choose_lengths()
