"""Whether runs that used all their steps go round a cycle, or stand still.

A run *recurs* with period p if its state, the point and all that its optimizer remembers, comes
back to what it was after every p steps, throughout the second half of the steps. What it takes to
know that is not kept on the way: the runs that may recur, those that all but did not improve in
that half, or whose last move was all but none, are run again.

1. Of the last `LONGEST` steps every state is looked at: p is the first step after which the state
   is that of their beginning.
2. At the middle step, and at those that halve what is left, the state must have been that of the
   same step of the round, and the way from there as long as so many rounds; or the run must have
   come ever nearer: from `APPROACHED` times the size of the cycle at most, and to `FASTER` times
   that by the time that half of the way is made. So an attracting cycle is one before it is reached
   to the last bit, and orbits that shrink or grow slowly are none, nor are those that leave a cycle
   and come back.

States are the same that differ by no more than `CLOSED` times the size of the cycle, or by
`ROUNDING` units in the last place. A run whose points differ by no more than those stands still,
but for one of which every move is longer than the one before: it is leaving, however near it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from gradexp.engine.chunks import Chunk, Make
from gradexp.engine.problem import Problem
from gradexp.engine.trace import Recurrence, Trace
from gradexp.numbers import LANES, norm, substitute
from gradexp.surfaces.scale import diameter

LONGEST = 64
"""Steps that a round may have."""

ROUNDS = 3
"""Rounds that fit the second half of the steps at least."""

CLOSED = 1e-6
"""How far a state may be from where it was, as a part of the size of the cycle."""

APPROACHED = 0.02
"""How far a state may be from the cycle at the middle step, as a part of its size, if it then comes
to it."""

FASTER = 0.2
"""How much of that distance may be left when half of the steps from there is made: of what shrinks
or grows at a constant speed, it is half."""

ROUNDING = 32
"""Units in the last place in which states may differ."""

_ROOM = 2**24
"""Numbers of the states that are kept at a time."""


def find_recurrence(problem: Problem, trace: Trace, make: Make, size: int) -> Trace:
    """The trace with its `Trace.recurrence`.

    Args:
        problem: what was run.
        trace: what came of it.
        make: makes chunks of a problem.
        size: runs of a chunk, at most.
    """
    window = min(LONGEST, (problem.steps - problem.steps // 2) // ROUNDS)
    which = trace.may_recur.nonzero()[:, 0]
    if not window or not len(which):
        return trace
    device, dim = problem.start.device, problem.start.shape[0]
    period = torch.zeros(problem.batch, dtype=torch.int64, device=device)
    first, made = torch.zeros_like(period), 0
    rounds = [torch.empty(0, dim, dtype=problem.start.dtype)]
    size = max(1, min(size, _ROOM // ((LONGEST + 1) * 4 * dim)))
    never = substitute(problem.limits, gradient_square=-1.0)  # they did not rest
    again = replace(problem, limits=never)
    for chosen, chunk in _chunks(again, make, size, which):
        back = _come_back(again, chunk, len(chosen), window)
        for runs, one in _chunks(again, make, size, chosen[back]):
            found, points = _periods(again, one, len(runs), window)
            counts = torch.where(found > 1, found, 0)
            begun = counts.cumsum(0) - counts
            period[runs], first[runs] = found, made + begun
            which_run = torch.repeat_interleave(counts)
            row = torch.arange(len(which_run), device=device) - begun[which_run]
            rounds.append(points[len(points) - counts[which_run] + row, :, which_run].cpu())
            made += len(which_run)
    if not bool(period.any()):
        return trace
    return replace(trace, recurrence=Recurrence(period, first, torch.cat(rounds)))


def _chunks(
    problem: Problem, make: Make, size: int, which: Tensor
) -> Iterator[tuple[Tensor, Chunk]]:
    """The runs of some indices in chunks: their indices, and the chunk at its start."""
    for begun in range(0, len(which), size):
        chosen = which[begun : begun + size]
        yield chosen, make(problem.of_runs(chosen), slice(0, len(chosen)))


class _Window:
    """Takes the points of a few steps, in the place of a `Recording`."""

    def __init__(self, problem: Problem, count: int, first: int, steps: int) -> None:
        width = -(-count // LANES) * LANES
        dim, self.first = problem.start.shape[0], first
        self.loss, self.norm = problem.start.new_empty(2, steps, width)
        self.point = problem.start.new_empty(steps, dim, width)

    def pointers(self, column: int) -> tuple[int, int, int, int, int]:
        """See `Recording.pointers`."""
        size, width = self.loss.element_size(), self.loss.shape[1]
        before = self.first * width * size
        loss, norm, point = (part.data_ptr() for part in (self.loss, self.norm, self.point))
        return loss - before, norm - before, point - before * self.point.shape[1], width, 1

    def put(self, columns: slice, first: int, loss: Tensor, square: Tensor, point: Tensor) -> None:
        """See `Recording.put`."""
        rows = slice(first - self.first, first - self.first + len(loss))
        self.point[rows, :, : point.shape[-1]] = point.movedim(1, 0)


def _come_back(problem: Problem, chunk: Chunk, count: int, window: int) -> Tensor:
    """Whether the points of runs come back within their last steps: what can be had quickly. The
    indices of those."""
    first = problem.steps - window
    _go_on(chunk, 0, first)
    seen = _Window(problem, count, first, window + 1)
    chunk.advance(first, window + 1, seen, slice(0, count))
    points = [seen.point[..., :count]]
    back, _, _ = _returns(points, _units(problem, points))
    return back.any(dim=0).nonzero()[:, 0]


class _Seen(NamedTuple):
    """The states of runs after so many steps."""

    step: int
    state: list[Tensor]
    """the point and what the optimizer remembers, each ``(n, B)``"""
    length: Tensor
    """``(B,)``: of the ways so far"""


def _periods(problem: Problem, chunk: Chunk, count: int, window: int) -> tuple[Tensor, Tensor]:
    """The period of each run of a chunk, and its last points, ``(window + 1, dim, B)``."""
    last = problem.steps - window
    before = [_go_and_see(problem, chunk, count, step) for step in _halvings(problem, last)]
    seen = [_go_and_see(problem, chunk, count, step) for step in range(last, problem.steps + 1)]
    states = [torch.stack(parts) for parts in zip(*(one.state for one in seen), strict=True)]
    length = torch.stack([one.length for one in seen]) - seen[0].length
    units = _units(problem, states)
    back, still, farthest = _returns(states, units)
    still = still & ~_grows(states[0])
    period = torch.where(back.any(dim=0), back.to(torch.int8).argmax(dim=0) + 1, 0)
    period = torch.where(still, 1, torch.where(period > 1, period, 0))
    sizes = [_at(part, (period - 1).clamp(min=0)).where(period > 0, 0.0) for part in farthest]
    round_ = period.clamp(min=1)
    rounding = problem.steps * torch.finfo(problem.start.dtype).eps * seen[-1].length
    allowed = [torch.where(still, math.inf, APPROACHED * size) for size in sizes]
    for one in before:
        place = (one.step - last) % round_
        rounds = (last + place - one.step) // round_
        same = torch.ones_like(still)
        apart = torch.zeros_like(rounding)
        for number, (part, size, unit, now) in enumerate(
            zip(states, sizes, units, one.state, strict=True)
        ):
            away = norm(now - _at(part, place)).double()
            near = away <= torch.maximum(allowed[number], torch.maximum(CLOSED * size, unit))
            same &= near | (still & (number > 0))  # what a run at rest remembers may still fade
            if one is before[0]:
                allowed[number] = FASTER * torch.minimum(away, allowed[number])
            apart = torch.maximum(apart, away / size) if number == 0 else apart
        made = seen[0].length - one.length
        way = rounds * _at(length, period) - _at(length, place)
        as_long = (made - way).abs() <= (CLOSED + 4 * apart) * way.abs() + rounding
        period = torch.where(same & (still | as_long), period, 0)
    return period, states[0]


def _grows(points: Tensor) -> Tensor:
    """Whether every move of runs is longer than the one before, ``(B,)``: rounding makes no such
    moves.

    Args:
        points: ``(window + 1, dim, B)``.
    """
    moves = norm((points[1:] - points[:-1]).movedim(1, 0))
    return (moves[1:] > moves[:-1]).all(dim=0) & (len(moves) > ROUNDS)


def _halvings(problem: Problem, last: int) -> list[int]:
    """The middle step, and those that halve what is left, up to `last`."""
    steps, left = [], problem.steps - problem.steps // 2
    while problem.steps - left < last:
        steps.append(problem.steps - left)
        left //= 2
    return steps


def _go_and_see(problem: Problem, chunk: Chunk, count: int, step: int) -> _Seen:
    """The states after so many steps: the chunk goes on to there."""
    _go_on(chunk, int(chunk.steps()[0]), step)
    notes = chunk.notes()
    state = [part[:, :count].clone() for part in chunk.state()]
    return _Seen(step, state, notes.reals[problem.start.shape[0], :count].double())


def _go_on(chunk: Chunk, step: int, end: int) -> None:
    """Makes the moves from a step on to another."""
    while step < end:
        looks = min(chunk.longest, end - step)
        chunk.advance(step, looks, None, slice(0, 0))
        step += looks


def _at(rows: Tensor, row: Tensor) -> Tensor:
    """One row for each run: of ``(R, B)`` or ``(R, n, B)``."""
    index = row.reshape([1] * (rows.dim() - 1) + [-1]).expand(1, *rows.shape[1:])
    return rows.gather(0, index)[0]


def _units(problem: Problem, states: list[Tensor]) -> list[Tensor]:
    """How far apart states may be by rounding, ``(B,)`` for each of their parts: that of a point
    goes with the diameter of the domain, too, since that of what moves it does."""
    largest = [part.abs().amax(dim=(0, 1)) for part in states]
    largest[0] = largest[0].clamp(min=diameter(problem.surface))
    return [ROUNDING * torch.finfo(size.dtype).eps * size for size in largest]


def _returns(states: list[Tensor], units: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
    """After which steps runs are back where they began; and which stand still: whose point is never
    farther away than rounding goes, whatever their optimizer remembers.

    Args:
        states: each ``(window + 1, n, B)``.
        units: see `_units`.

    Returns:
        ``(window, B)``; ``(B,)``; and for each part of the states how far it has been from its
        beginning at most after 1, 2, … steps, ``(window, B)``.
    """
    distances = []
    back = still = torch.ones((), dtype=torch.bool, device=states[0].device)
    for number, (part, unit) in enumerate(zip(states, units, strict=True)):
        away = norm((part[1:] - part[:1]).movedim(1, 0))
        farthest = away.cummax(dim=0).values
        distances.append(farthest)
        back = back & (away <= torch.maximum(CLOSED * farthest, unit))
        still = farthest[-1] <= unit if number == 0 else still
    return back, still, distances
