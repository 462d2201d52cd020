"""The batched engine: all runs of one structure advance together, as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from gradexp.engine.chunks import run_in_chunks
from gradexp.engine.eager import EagerChunk
from gradexp.engine.native import Block, NativeChunk
from gradexp.engine.problem import Problem
from gradexp.engine.trace import Trace
from gradexp.mistakes import Mistake
from gradexp.numbers import LANES, Component
from gradexp.optimizers import External, Optimizer


@dataclass(frozen=True)
class Batched(Component):
    """Advances a batch of any size with the optimizer's own rule.

    Args:
        compile: whether to compile the loop: ``never``, or ``auto``, which does not compile yet.
    """

    compile: Literal["auto", "always", "never"] = "auto"

    def check(self, optimizer: Optimizer | External) -> None:
        """Checks that this engine can run an optimizer.

        Raises:
            Mistake: it has no batched rule.
        """
        if isinstance(optimizer, External):
            reason = "has no batched rule; engine=reference runs it, one run at a time"
            raise Mistake("_target_", optimizer.factory.__name__, reason)

    def run(self, problem: Problem) -> Trace:
        """The trace of the batch, on the CPU.

        Raises:
            Mistake: the optimizer has no batched rule.
        """
        self.check(problem.optimizer)
        problem = problem.plain()
        block = self._compiled(problem)
        if block is None:
            size = max(LANES, 2**22 // (16 * problem.start.shape[0]) // LANES * LANES)
            return run_in_chunks(problem, EagerChunk, size, threads=1, compiled=False)
        threads = torch.get_num_threads()
        size = min(max(-(-problem.batch // (4 * threads)), 512), 2**14)
        size = -(-size // LANES) * LANES
        return run_in_chunks(problem, lambda part: NativeChunk(block, part), size, threads, True)

    def _compiled(self, problem: Problem) -> Block | None:
        if self.compile != "always":
            return None
        from gradexp.engine.native import block_for

        return block_for(problem.lanes(0, 1))
