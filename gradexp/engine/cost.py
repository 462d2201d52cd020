"""What a problem is likely to cost, eagerly and compiled.

The constants were measured on two cores and on an NVIDIA H200; they decide between seconds and
minutes, so a factor of two does no harm. The prediction is made of the problem alone: the same
config makes the same choice, whatever was run before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from gradexp.engine.problem import Problem


class _Machine(NamedTuple):
    """What an eager step takes, and compiling."""

    step: float
    """seconds, whatever its batch: at least"""
    operation: float
    """and for each operation of the surface"""
    number: float
    """seconds an operation on one number"""
    build: float
    """seconds to trace and compile: at least"""


_MACHINES = {
    "cpu": _Machine(step=30e-6, operation=5.3e-6, number=0.6e-9, build=2.0),
    "cuda": _Machine(step=22e-6, operation=1.6e-6, number=6e-12, build=5.0),  # as a graph
}

_OTHERS = 20
"""Operations of a step that are not the surface's."""

_BUILD_OPERATION = 0.02
"""Seconds that each operation of the surface adds to tracing and compiling."""

_FASTER = 10.0
"""How many times as fast as an eager step a compiled one is at least."""


@dataclass(frozen=True)
class Cost:
    """Seconds that a problem would take."""

    eager: float
    compiled: float
    """compiling included"""
    building: float
    """compiling alone"""

    def __str__(self) -> str:
        return f"about {self.eager:.2g} s eagerly, about {self.compiled:.2g} s compiled"


class Forecast(NamedTuple):
    """What running a batch would come to."""

    engine: str
    """what would run it: as a trace says it"""
    seconds: float
    """where no run ends early"""
    building: float
    """seconds to compile it, which is done once for all batches of its structure"""


def predict(problem: Problem, runs: int) -> Cost:
    """What so many runs like those of a problem would cost, compiling included."""
    operations = _operations(problem)
    dim = problem.start.shape[0]
    machine = _MACHINES[problem.start.device.type]
    step = machine.step + machine.operation * operations
    step += machine.number * (operations + _OTHERS) * dim * runs
    eager = step * (problem.steps + 1)
    building = machine.build + _BUILD_OPERATION * operations
    return Cost(eager, building + eager / _FASTER, building)


def _operations(problem: Problem) -> int:
    """Operations of the surface's value, as autograd counts them."""
    lanes = problem.lanes(0, 1)
    with torch.enable_grad():
        value = lanes.surface.value(lanes.start.detach().requires_grad_())
    found, waiting = set(), [value.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting += [following for following, _ in node.next_functions]
    return len(found)
