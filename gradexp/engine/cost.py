"""Predicts how long a problem takes to run eagerly and compiled.

The constants were measured on two CPU cores and on an NVIDIA H200. They decide between seconds and
minutes, so an error of a factor of two does no harm. The prediction depends on the problem alone,
so that the same config always leads to the same choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from gradexp.engine.problem import Problem


class _Machine(NamedTuple):
    """Time constants of eager steps and of compilation on one kind of device."""

    step: float
    """seconds that a step takes at least"""
    operation: float
    """additional seconds per step for each operation of the surface"""
    number: float
    """additional seconds per step for each operation on one number"""
    build: float
    """seconds that tracing and compiling take at least"""


_MACHINES = {
    "cpu": _Machine(step=30e-6, operation=5.3e-6, number=0.6e-9, build=2.0),
    "cuda": _Machine(step=22e-6, operation=1.6e-6, number=6e-12, build=5.0),  # with CUDA graphs
}

_OTHERS = 20
"""The number of operations of a step apart from those of the surface."""

_BUILD_OPERATION = 0.02
"""Seconds that each operation of the surface adds to tracing and compiling."""

_FASTER = 10.0
"""How many times faster than an eager step a compiled step is at least."""


@dataclass(frozen=True)
class Cost:
    """The predicted duration of a problem, in seconds."""

    eager: float
    """running eagerly"""
    compiled: float
    """compiling and running compiled"""
    building: float
    """compiling alone"""

    def __str__(self) -> str:
        return f"about {self.eager:.2g} s eagerly, about {self.compiled:.2g} s compiled"


class Forecast(NamedTuple):
    """How a batch would be run, and how long that would take."""

    engine: str
    """the kind of engine that would run it, one of `EngineKind`"""
    seconds: float
    """seconds to run it without compiling, if no run ends early"""
    building: float
    """seconds to compile it, which happens once for all batches of equal structure"""


def predict(problem: Problem, runs: int) -> Cost:
    """Predicts how long a number of runs like those of a problem would take."""
    operations = _operations(problem)
    dim = problem.start.shape[0]
    machine = _MACHINES[problem.start.device.type]
    step = machine.step + machine.operation * operations
    step += machine.number * (operations + _OTHERS) * dim * runs
    eager = step * (problem.steps + 1)
    building = machine.build + _BUILD_OPERATION * operations
    return Cost(eager, building + eager / _FASTER, building)


def _operations(problem: Problem) -> int:
    """Counts the operations of the surface's value in its autograd graph."""
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
