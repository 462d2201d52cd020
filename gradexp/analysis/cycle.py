"""Cycles: a run that goes round and round a few points."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradexp.engine import Trace

LONGEST = 64
"""Recorded steps that a cycle may have."""

ROUNDS = 3
"""Rounds that must be there."""

CLOSED = 1e-6
"""A round ends within this times the cycle's size of where it began. A run that spirals in or out
by a factor ρ a round misses its beginning by about (1 - ρ) times that size."""

ROUNDING = 1e3
"""Cycles are larger than so many units in the last place: smaller ones are rounding's."""


class Cycle(NamedTuple):
    """The points that a run goes round."""

    points: Tensor
    """``(P, dim)``, the recorded ones of a round, the last one last"""
    stride: int
    """steps from one to the next: the period is P where it is 1, and else divides P times it"""


def find_cycle(trace: Trace, index: int) -> Cycle | None:
    """The shortest cycle that the end of a run goes round, or None.

    The gradient norms must go round with the points. Where only every so many steps were recorded,
    a cycle may show one point: it is told from rest by its moves, of which most turn back.

    Args:
        trace: of its batch; without points nothing is found.
        index: of a run that made all its steps.
    """
    if trace.point is None or trace.gradient_norm is None or len(trace.step) < 2 * ROUNDS:
        return None
    points, norms = trace.point[..., index], trace.gradient_norm[:, index].double()
    stride = int(trace.step[1] - trace.step[0])
    if int(trace.step[-1] - trace.step[-2]) != stride:  # the last one comes besides
        points, norms = points[:-1], norms[:-1]
    end = points[-ROUNDS * LONGEST :].double()
    if not bool(end.isfinite().all()):
        return None
    away = (end - end[-1]).norm(dim=1).flip(0).cpu().numpy()
    made = int(trace.steps[index])
    turns = stride > 1 and 2 * int(trace.reversals[index]) > made
    least = ROUNDING * torch.finfo(points.dtype).eps * max(1.0, float(end[-1].norm()))
    # The size of a cycle by its period: 0 there is none, 1 shows no more than its moves.
    farthest = np.maximum.accumulate(away[1:])
    sizes = np.concatenate([[0.0, float(trace.path_length[index]) / made], farthest])[: len(away)]
    closed = (sizes > least) & (away <= CLOSED * sizes)
    shortest, longest = 1 if turns else 2, len(end) // ROUNDS
    for period in shortest + np.flatnonzero(closed[shortest : longest + 1]):
        size = float(sizes[period])
        rounds = end[-ROUNDS * period :]
        missed = (rounds[period:] - rounds[:-period]).norm(dim=1).max()
        slopes = norms[-ROUNDS * period :]
        steady = (slopes[period:] - slopes[:-period]).abs() <= CLOSED * slopes[period:]
        if float(missed) <= CLOSED * size and bool(steady.all()):
            return Cycle(end[-period:], stride)
    return None
