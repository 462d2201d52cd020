"""What a problem is likely to cost, eagerly and compiled.

The constants were measured on two cores; they decide between seconds and minutes, so a factor of
two does no harm. The prediction is made of the problem alone: the same config makes the same
choice, whatever was run before.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gradexp.engine.problem import Problem

_STEP, _OPERATION = 30e-6, 5.3e-6
"""Seconds of an eager step whatever its batch: at least, and for each operation of the surface."""

_NUMBER, _OTHERS = 0.6e-9, 20
"""Seconds an operation on one number, and the operations of a step that are not the surface's."""

_BUILD, _BUILD_OPERATION = 2.0, 0.02
"""Seconds to trace and compile: at least, and for each operation of the surface."""

_FASTER = 10.0
"""How many times as fast as an eager step a compiled one is at least."""


@dataclass(frozen=True)
class Cost:
    """Seconds that a problem would take."""

    eager: float
    compiled: float

    def __str__(self) -> str:
        return f"about {self.eager:.2g} s eagerly, about {self.compiled:.2g} s compiled"


def predict(problem: Problem) -> Cost:
    """What a problem would cost, compiling included."""
    operations = _operations(problem)
    dim, batch = problem.start.shape
    step = _STEP + _OPERATION * operations + _NUMBER * (operations + _OTHERS) * dim * batch
    eager = step * (problem.steps + 1)
    return Cost(eager, _BUILD + _BUILD_OPERATION * operations + eager / _FASTER)


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
