"""Finds out which runs that made all their steps are on a cycle or stand still.

A run is *periodic* with period p if its state, the point and the optimizer's state, returns to the
same value every p steps, throughout the second half of the steps. What is needed to decide this is
not recorded during a run. The runs that may be periodic, because their best loss hardly fell in the
second half of the steps or because their last move was almost zero, are therefore run again.

1. All states in a window at the end of the run, of at most `LONGEST` steps, are compared with the
   first of them: p is the number of steps after which this state returns for the first time.
2. At the middle step of the run, and at the steps that halve the remaining number again and again,
   the state must equal that of the same phase of the cycle. It may also approach the cycle: its
   distance is then at most `APPROACHED` times the cycle's size at the middle step, and at most
   `FASTER` times that distance at the later ones. In both cases, the path from there must be as
   long as the number of cycles requires.

An attracting cycle thus counts as one before it is reached to the last bit. Orbits that shrink or
grow slowly do not count, nor do runs that leave a cycle and come back.

Two states are equal if they differ by at most `CLOSED` times the size of the cycle or by at most
`ROUNDING` units in the last place. A run stands still if its points differ by no more than such
units, unless every move is longer than the one before: then it is leaving, however close it is.
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
"""The maximum number of steps of a cycle."""

ROUNDS = 3
"""How many cycles the second half of the steps must contain at least."""

CLOSED = 1e-6
"""How far a state may be from that of a period before, as a fraction of the size of the cycle."""

APPROACHED = 0.02
"""How far a state may be from the cycle at the middle step, as a fraction of the size of the cycle,
if it approaches the cycle later."""

FASTER = 0.2
"""What fraction of that distance may be left when half of the remaining steps are made. For a
distance that changes at a constant rate, it is one half."""

ROUNDING = 32
"""How many units in the last place states may differ by."""

_ROOM = 2**24
"""How many elements of states are kept at a time."""


def find_recurrence(problem: Problem, trace: Trace, make: Make, size: int) -> Trace:
    """Returns the trace with `Trace.recurrence`.

    Args:
        problem: the problem that was run.
        trace: its trace.
        make: makes the chunk of a slice of a problem's runs.
        size: the maximum number of runs of a chunk.
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
    never = substitute(problem.limits, gradient_square=-1.0)  # none of them had come to rest
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
    """Yields chunks of the runs with the given indices: the indices and the chunk at its start."""
    for begun in range(0, len(which), size):
        chosen = which[begun : begun + size]
        yield chosen, make(problem.of_runs(chosen), slice(0, len(chosen)))


class _Window:
    """A `Recorder` that keeps the points of a few successive steps."""

    def __init__(self, problem: Problem, count: int, first: int, steps: int) -> None:
        width = -(-count // LANES) * LANES
        dim, self.first = problem.start.shape[0], first
        self.loss, self.norm = problem.start.new_empty(2, steps, width)
        self.point = problem.start.new_empty(steps, dim, width)

    def pointers(self, column: int) -> tuple[int, int, int, int, int]:
        """See `Recorder.pointers`."""
        size, width = self.loss.element_size(), self.loss.shape[1]
        before = self.first * width * size
        loss, norm, point = (part.data_ptr() for part in (self.loss, self.norm, self.point))
        return loss - before, norm - before, point - before * self.point.shape[1], width, 1

    def put(self, columns: slice, first: int, loss: Tensor, square: Tensor, point: Tensor) -> None:
        """See `Recorder.put`."""
        rows = slice(first - self.first, first - self.first + len(loss))
        self.point[rows, :, : point.shape[-1]] = point.movedim(1, 0)


def _come_back(problem: Problem, chunk: Chunk, count: int, window: int) -> Tensor:
    """Returns the indices of the runs whose points return within the window at the end of the run.

    This quick test excludes most runs from the full one in `_periods`.
    """
    first = problem.steps - window
    _go_on(chunk, 0, first)
    seen = _Window(problem, count, first, window + 1)
    chunk.advance(first, window + 1, seen, slice(0, count))
    points = [seen.point[..., :count]]
    back, _, _ = _returns(points, _units(problem, points))
    return back.any(dim=0).nonzero()[:, 0]


class _Seen(NamedTuple):
    """The states of runs after a number of steps."""

    step: int
    state: list[Tensor]
    """the point and the fields of the optimizer's state, each ``(n, B)``"""
    length: Tensor
    """``(B,)``: the path length so far"""


def _periods(problem: Problem, chunk: Chunk, count: int, window: int) -> tuple[Tensor, Tensor]:
    """Returns the period of each run of a chunk (0 if it has none) and the points of the window.

    Returns:
        ``(B,)``, int64, and ``(window + 1, dim, B)``.
    """
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
            same &= near | (still & (number > 0))  # momentum may still decay at rest
            if one is before[0]:
                allowed[number] = FASTER * torch.minimum(away, allowed[number])
            apart = torch.maximum(apart, away / size) if number == 0 else apart
        made = seen[0].length - one.length
        way = rounds * _at(length, period) - _at(length, place)
        as_long = (made - way).abs() <= (CLOSED + 4 * apart) * way.abs() + rounding
        period = torch.where(same & (still | as_long), period, 0)
    return period, states[0]


def _grows(points: Tensor) -> Tensor:
    """Returns for which runs every move is longer than the one before, ``(B,)``.

    Rounding errors do not cause such moves.

    Args:
        points: the points of the window, ``(window + 1, dim, B)``.
    """
    moves = norm((points[1:] - points[:-1]).movedim(1, 0))
    return (moves[1:] > moves[:-1]).all(dim=0) & (len(moves) > ROUNDS)


def _halvings(problem: Problem, last: int) -> list[int]:
    """Returns the steps before `last` at which 1/2, 1/4, 1/8, … of all steps remain."""
    steps, left = [], problem.steps - problem.steps // 2
    while problem.steps - left < last:
        steps.append(problem.steps - left)
        left //= 2
    return steps


def _go_and_see(problem: Problem, chunk: Chunk, count: int, step: int) -> _Seen:
    """Advances a chunk to a step and returns the states of its runs there."""
    _go_on(chunk, int(chunk.steps()[0]), step)
    notes = chunk.notes()
    state = [part[:, :count].clone() for part in chunk.state()]
    return _Seen(step, state, notes.reals[problem.start.shape[0], :count].double())


def _go_on(chunk: Chunk, step: int, end: int) -> None:
    """Advances a chunk from one step to another."""
    while step < end:
        looks = min(chunk.longest, end - step)
        chunk.advance(step, looks, None, slice(0, 0))
        step += looks


def _at(rows: Tensor, row: Tensor) -> Tensor:
    """Selects one row for each run from rows ``(R, B)`` or ``(R, n, B)``."""
    index = row.reshape([1] * (rows.dim() - 1) + [-1]).expand(1, *rows.shape[1:])
    return rows.gather(0, index)[0]


def _units(problem: Problem, states: list[Tensor]) -> list[Tensor]:
    """Returns how far states may differ by rounding, ``(B,)`` for each of their parts.

    For points, this is at least `ROUNDING` · ε times the diameter of the domain, because the
    rounding error of what moves them is of that size.
    """
    largest = [part.abs().amax(dim=(0, 1)) for part in states]
    largest[0] = largest[0].clamp(min=diameter(problem.surface))
    return [ROUNDING * torch.finfo(size.dtype).eps * size for size in largest]


def _returns(states: list[Tensor], units: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Compares the states of a window with the first of them.

    Args:
        states: the parts of the states, each ``(window + 1, n, B)``.
        units: the rounding errors of the parts, see `_units`.

    Returns:
        - whether the state has returned after 1, 2, … steps, ``(window, B)``;
        - whether a run stands still, ``(B,)``: its points differ by rounding only, whatever its
          optimizer's state does;
        - for each part of the states, its largest distance from the first one within 1, 2, …
          steps, ``(window, B)``.
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
