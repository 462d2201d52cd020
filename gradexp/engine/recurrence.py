"""Whether runs that used all their steps go round a cycle, or stand still.

A run *recurs* with period p if its state, the point and all that its optimizer remembers, comes
back to what it was after every p steps, from the middle of its steps to their end. What it takes to
know that is not kept on the way: the runs that may recur, those whose best loss all but did not
fall in the second half, are run again.

1. From the middle step on, `LONGEST` states are looked at one by one: p is the first step after
   which the state is that of the middle step.
2. At steps ever farther from there, and at the last one, the state must be the one of that step of
   the round, and the way there as long as so many rounds.

States are the same that differ by no more than `CLOSED` times the size of the cycle, or by
`ROUNDING` units in the last place: an orbit that shrinks or grows slowly is none, nor is one that
leaves a cycle and comes back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from gradexp.engine.chunks import Chunk, Make
from gradexp.engine.problem import Problem
from gradexp.engine.trace import Recurrence, Trace
from gradexp.numbers import LANES, substitute
from gradexp.surfaces.scale import diameter

LONGEST = 64
"""Steps that a round may have."""

ROUNDS = 3
"""Rounds that fit the second half of the steps at least."""

CLOSED = 1e-6
"""How far a state may be from where it was, as a part of the size of the cycle."""

ROUNDING = 32
"""Units in the last place in which states may differ: a run that goes no farther than that stands
still, as far as its precision goes."""

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
            found, states = _periods(again, one, len(runs), window)
            counts = torch.where(found > 1, found, 0)
            period[runs], first[runs] = found, made + counts.cumsum(0) - counts
            made += int(counts.sum())
            beyond = problem.steps - problem.steps // 2 + 1
            for run in counts.nonzero()[:, 0].tolist():
                once = states[: int(found[run]), :, run].cpu()
                rounds.append(once.roll(-beyond, dims=0))  # the last point of the run comes last
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
    """Whether the points of runs come back after as many steps at most, and are there again at the
    last step: what can be had quickly. The indices of those."""
    middle = problem.steps // 2
    _go_on(chunk, 0, middle)
    seen = _Window(problem, count, middle, window + 1)
    chunk.advance(middle, window + 1, seen, slice(0, count))
    points = [seen.point[..., :count]]
    units = _units(problem, points)
    period, still = _first_return(points, units)
    if bool((period > 0).any()):
        _go_on(chunk, middle + window + 1, problem.steps)
        place = (problem.steps - middle) % period.clamp(min=1)
        away = (chunk.state()[0][:, :count] - _at(points[0], place)).norm(dim=0)
        limit = torch.where(
            still, units[0], torch.maximum(CLOSED * _size(points[0], period), units[0])
        )
        period = torch.where(away <= limit, period, 0)
    return period.nonzero()[:, 0]


def _periods(problem: Problem, chunk: Chunk, count: int, window: int) -> tuple[Tensor, Tensor]:
    """The period of each run of a chunk, and its points from the middle step on, ``(window + 1,
    dim, B)``."""
    middle = problem.steps // 2
    _go_on(chunk, 0, middle)
    states = [_state(chunk, count)]
    lengths = [_length(problem, chunk, count)]
    for step in range(middle, middle + window):
        chunk.advance(step, 1, None, slice(0, 0))
        states.append(_state(chunk, count))
        lengths.append(_length(problem, chunk, count))
    kept = [torch.stack(parts) for parts in zip(*states, strict=True)]
    length = torch.stack(lengths) - lengths[0]
    units = _units(problem, kept)
    period, still = _first_return(kept, units)
    sizes = [_size(part, period) for part in kept]
    step, stride = middle + window, window
    while step < problem.steps and bool((period > 0).any()):
        end = min(problem.steps, step + stride)
        _go_on(chunk, step, end)
        rounds, place = (end - middle) // period.clamp(min=1), (end - middle) % period.clamp(min=1)
        away = [
            (now - _at(part, place)).norm(dim=0)
            for now, part in zip(_state(chunk, count), kept, strict=True)
        ]
        stays = still & (away[0] <= units[0])
        same = ~still
        for distance, size, unit in zip(away, sizes, units, strict=True):
            same &= distance <= torch.maximum(CLOSED * size, unit)
        whole = _length(problem, chunk, count)
        way = rounds * _at(length, period) + _at(length, place)
        same &= _is_as_long(whole - lengths[0], way, whole, problem)
        period = torch.where(stays | same, period, 0)
        step, stride = end, 2 * stride
    return period, kept[0]


def _go_on(chunk: Chunk, step: int, end: int) -> None:
    """Makes the moves from a step on to another."""
    while step < end:
        looks = min(chunk.longest, end - step)
        chunk.advance(step, looks, None, slice(0, 0))
        step += looks


def _state(chunk: Chunk, count: int) -> list[Tensor]:
    """The point and what the optimizer remembers, each ``(n, B)``."""
    return [part[:, :count].clone() for part in chunk.state()]


def _length(problem: Problem, chunk: Chunk, count: int) -> Tensor:
    """How long the runs' ways are so far, ``(B,)``."""
    return chunk.notes().reals[problem.start.shape[0]][:count].double()


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


def _first_return(states: list[Tensor], units: list[Tensor]) -> tuple[Tensor, Tensor]:
    """After how many steps each run is first back where it began, 0 for not at all; and whether its
    point is never farther away than rounding goes, whatever its optimizer remembers: then 1.

    Args:
        states: each ``(window + 1, n, B)``.
        units: see `_units`.
    """
    back = still = torch.ones((), dtype=torch.bool, device=states[0].device)
    for number, (part, unit) in enumerate(zip(states, units, strict=True)):
        away = (part[1:] - part[:1]).norm(dim=1)
        farthest = away.cummax(dim=0).values
        back = back & (away <= torch.maximum(CLOSED * farthest, unit))
        still = farthest[-1] <= unit if number == 0 else still
    period = torch.where(back.any(dim=0), back.to(torch.int8).argmax(dim=0) + 1, 0)
    return torch.where(still, 1, torch.where(period > 1, period, 0)), still


def _size(part: Tensor, period: Tensor) -> Tensor:
    """How far the states of a round are from its beginning, at most, ``(B,)``."""
    return _at((part - part[:1]).norm(dim=1).cummax(dim=0).values, period)


def _is_as_long(made: Tensor, way: Tensor, whole: Tensor, problem: Problem) -> Tensor:
    """Whether a way is as long as the rounds together, as far as the sum of all moves is exact."""
    rounding = problem.steps * torch.finfo(problem.start.dtype).eps * whole
    return (made - way).abs() <= CLOSED * way + rounding
