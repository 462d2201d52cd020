"""The batched engine, which advances all runs of equal structure together, as tensors."""

from __future__ import annotations

import logging
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import torch

from gradexp.engine.chunks import Make, run_in_chunks
from gradexp.engine.cost import Cost, Forecast, predict
from gradexp.engine.eager import EagerChunk, block_length
from gradexp.engine.graphed import GraphedChunk
from gradexp.engine.problem import Problem
from gradexp.engine.second_passes import look_again
from gradexp.engine.trace import EngineKind, Trace
from gradexp.errors import UserError
from gradexp.numbers import LANES, Component
from gradexp.optimizers import External, Optimizer

if TYPE_CHECKING:
    from gradexp.engine.codegen import Block

log = logging.getLogger(__name__)

_EAGER_NUMBERS = 2**22
"""How many coordinates an eager chunk on the CPU holds at most for all steps of a block."""

_BYTES_A_NUMBER = 512
"""The bytes of a CUDA device's memory that are budgeted for each of these coordinates. A block uses
162 of them, including what it frees and what its graph keeps, so that a chunk takes about a third
of the memory (measured on an NVIDIA H200)."""

_COMPILED_COORDINATES = {"cpu": 2**18, "cuda": 2**24}
"""How many coordinates a compiled chunk holds at most."""


@dataclass(frozen=True)
class Batched(Component):
    """Runs a batch of any size with the optimizer's batched update rule.

    Args:
        compile: whether to compile the steps: ``always``, ``never``, or ``auto``, which compiles
            if running eagerly is likely to take longer than compiling and running compiled.
    """

    compile: Literal["auto", "always", "never"] = "auto"

    def check(self, optimizer: Optimizer | External) -> None:
        """Checks that this engine can run an optimizer.

        Raises:
            UserError: if the optimizer has no batched rule.
        """
        if isinstance(optimizer, External):
            reason = "engine=reference runs it, one run at a time"
            raise UserError(
                "_target_", optimizer.factory.__name__, f"{_lacking(optimizer)}; {reason}"
            )

    def run(self, problem: Problem) -> Trace:
        """Runs a problem and returns its trace.

        Warns:
            RuntimeWarning: if ``auto`` could not compile the steps and ran them eagerly.

        Raises:
            UserError: if the optimizer has no batched rule, or if ``compile`` is ``always`` and the
                steps cannot be compiled.
        """
        self.check(problem.optimizer)
        problem = problem.plain()
        with _at(problem.start.device):
            compiled = self._choice(problem) == "compiled"

            def run(some: Problem) -> Trace:
                return run_in_chunks(some, *self._chunks(some, ran == "compiled"))

            make, size, ran = self._chunks(problem, compiled)
            trace = run_in_chunks(problem, make, size, ran)
            return look_again(problem, trace, run, make, size)

    def _chunks(self, problem: Problem, compiled: bool) -> tuple[Make, int, EngineKind]:
        """Returns what makes the chunks of a problem, their size in runs, and the engine's kind."""
        block = self._block(problem) if compiled else None
        return _eager_chunks(problem) if block is None else _compiled_chunks(problem, block)

    def forecast(self, problem: Problem) -> Forecast:
        """Predicts how long `run` takes, and whether it compiles."""
        cost = predict(problem, problem.batch)
        choice = self._choice(problem, cost)
        if choice == "eager":
            return Forecast(choice, cost.eager, building=0.0)
        return Forecast(choice, cost.compiled - cost.building, cost.building)

    def _choice(self, problem: Problem, cost: Cost | None = None) -> Literal["eager", "compiled"]:
        """Returns how to run a problem; its cost is predicted here unless it is given."""
        if self.compile != "auto":
            return "eager" if self.compile == "never" else "compiled"
        if cost is None or problem.alone:
            cost = predict(problem, runs=1 if problem.alone else problem.batch)
        choice: Literal["eager", "compiled"] = "compiled" if cost.compiled < cost.eager else "eager"
        log.info(f"engine: {choice} ({cost})")
        return choice

    def _block(self, problem: Problem) -> Block | None:
        """Returns the compiled program of a problem, or None if it has to run eagerly.

        Raises:
            UserError: if ``compile`` is ``always`` and the steps cannot be compiled.
        """
        from gradexp.engine.codegen import CannotCompile, Unsupported, block_for

        try:
            return block_for(problem)
        except Exception as error:  # a user-defined component may fail in any way
            if not isinstance(error, CannotCompile | Unsupported):
                error = Unsupported(f"{type(error).__name__}: {error}")
            if self.compile == "always":
                raise UserError("compile", "always", f"cannot be done: {error}") from error
            message = f"engine: running eagerly, for it could not be compiled: {error}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
            return None


def _lacking(optimizer: External) -> str:
    """Returns the part of a message that says what replaces an optimizer in the batched engine."""
    factory = optimizer.factory
    rule = getattr(import_module("gradexp.optimizers"), factory.__name__, None)
    if factory.__module__.startswith("torch.optim.") and rule is not None:
        return f"in batches it is optimizer={rule.label()}"
    return "has no batched rule"


def _at(device: torch.device) -> AbstractContextManager[Any]:
    """Returns a context in which a device is the current one."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _eager_chunks(problem: Problem) -> tuple[Make, int, EngineKind]:
    dim, device = problem.start.shape[0], problem.start.device
    numbers = block_length(dim) * dim
    kept = _EAGER_NUMBERS
    if device.type == "cuda":
        kept = torch.cuda.get_device_properties(device).total_memory // _BYTES_A_NUMBER
    size = max(LANES, kept // numbers // LANES * LANES)
    make = GraphedChunk if device.type == "cuda" else EagerChunk
    return make, size, "eager"


def _compiled_chunks(problem: Problem, block: Block) -> tuple[Make, int, EngineKind]:
    from gradexp.engine.codegen import NativeChunk

    coordinates = _COMPILED_COORDINATES[problem.start.device.type]
    size = max(LANES, coordinates // problem.start.shape[0] // LANES * LANES)
    return partial(NativeChunk, block, {}), size, "compiled"
