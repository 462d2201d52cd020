"""The batched engine: all runs of one structure advance together, as tensors."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import torch

from gradexp.engine.problem import Problem
from gradexp.engine.recorder import Recorder
from gradexp.engine.trace import Trace
from gradexp.mistakes import Mistake
from gradexp.numbers import Component, in_lanes, padded, substitute, total
from gradexp.optimizers import External, Optimizer
from gradexp.surfaces import value_and_gradient

_LOOK_EVERY = 16
"""Steps between two looks at whether any run still moves; on CUDA a look waits for the device."""


@dataclass(frozen=True)
class Batched(Component):
    """Advances a batch of any size with the optimizer's own rule.

    Args:
        compile: whether to compile the loop: ``never``, or ``auto``, which does not compile yet.
    """

    compile: Literal["auto", "never"] = "auto"

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
        lanes = _in_lanes(problem)
        assert isinstance(lanes.optimizer, Optimizer)
        return _advance(lanes, lanes.optimizer).first(problem.start.shape[1])


def _in_lanes(problem: Problem) -> Problem:
    """The problem with its batch padded, and each of its numbers a tensor of the batch's shape."""
    start = problem.start
    parts = {
        name: in_lanes(getattr(problem, name), start.shape[1], start.dtype, start.device)
        for name in ("surface", "optimizer", "schedule", "noise", "stop")
    }
    return dataclasses.replace(problem, start=padded(start), **parts)


def _advance(problem: Problem, optimizer: Optimizer) -> Trace:
    recorder = Recorder(problem)
    point = problem.start
    state = optimizer.init(point)
    for step in range(problem.steps + 1):
        loss, gradient = value_and_gradient(problem.surface, point)
        ended = recorder.observe(step, point, loss, total(gradient.square()).sqrt())
        if step % _LOOK_EVERY == 0:
            problem.progress(step)
            if bool(ended.all()):
                break
        if step == problem.steps:
            break
        lr = problem.schedule.learning_rate(optimizer.lr, step)
        gradient = problem.noise.disturb(gradient, step)
        moved, state = substitute(optimizer, lr=lr).update(point, gradient, state, step)
        point = torch.where(ended, point, moved)
    return recorder.trace()
