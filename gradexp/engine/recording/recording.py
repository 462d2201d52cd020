"""Gathers what runs came to, and makes the trace of it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gradexp.engine.problem import Problem
from gradexp.engine.recording.looks import Looks
from gradexp.engine.recording.memory import allocate
from gradexp.engine.recording.rows import RecordedRows, root
from gradexp.engine.runs import NEVER, Notes, is_at_rest, is_within
from gradexp.engine.trace import End, EngineKind, Trace
from gradexp.numbers import extremes, like, map_numbers, norm, numbers, of_runs
from gradexp.surfaces.scale import diameter

_PARTS = {"cpu": 2**16, "cuda": 2**20}
"""Runs that are judged at a time: on a CPU as many as fit a cache."""

FALLEN = 1e-3
"""A run may recur whose best loss fell by less than this in the second half of its steps, as a part
of what is above the least loss, or of how far the last loss is above the best."""

STILL = 1
"""So may one whose last move was no longer than so many units in the last place of the diameter of
the domain."""


class Recording:
    """Takes what is recorded of the runs of a problem, step by step and at their ends."""

    def __init__(self, problem: Problem, width: int) -> None:
        """
        Args:
            problem: whose runs they are.
            width: numbers in a row: the runs, and those that fill up the last one's lanes.
        """
        self._problem = problem
        self.rows = RecordedRows(problem, width) if problem.record.what != "metrics" else None
        """of every recorded step, where there are any"""
        self._reached: list[tuple[slice, int]] = []
        dim, batch = problem.start.shape
        tolerances = len(problem.record.tolerances)
        gaps = tolerances if bool(problem.limits.minimum) else 0
        dtype, device = problem.start.dtype, problem.start.device
        self._reals = allocate((dim + 4, batch), dtype, device)
        self._left = [allocate((batch,), dtype, device) for _ in problem.limits.released]
        self._counts = allocate((3 + tolerances + gaps, batch), torch.int64, device)
        self._end = allocate((batch,), torch.int64, device)
        self._may_recur = allocate((batch,), torch.bool, device)
        self._still = (STILL * torch.finfo(dtype).eps * diameter(problem.surface)) ** 2
        self._has_own_limits = batch > 1 and any(
            isinstance(limit, Tensor) and limit.numel() > 1
            for limit in numbers(problem.limits).values()
        )
        if self._has_own_limits and device.type != "cpu":  # once, not for each chunk
            limits = map_numbers(problem.limits, partial(_to, device))
            self._problem = replace(problem, limits=limits)
        noisy = problem.noise.constant_part() != 0
        self._noisy = torch.as_tensor(noisy, device=device) if noisy is not False else None
        self._looks = Looks(problem)

    def end_of_block(self, step: int, longest: int, end: int) -> int:
        """See `Looks.end_of_block`."""
        return self._looks.end_of_block(step, longest, end)

    def look(self, step: int, place: slice | Tensor, notes: Notes, count: int) -> None:
        """See `Looks.take`."""
        self._looks.take(step, place, notes, count)

    def put(self, place: slice | Tensor, notes: Notes, which: slice) -> None:
        """Takes what is noted of the runs `which` of a chunk; `place` says where they stand in the
        problem."""
        reals, before = notes.reals[:, which], notes.before[which]
        kept = len(self._reals)
        self._reals[:, place] = reals[:kept]
        self._counts[:, place] = notes.counts[:, which].to(torch.int64)
        _, loss, square, best, move_square, *left = reals[kept - 4 :]
        for row, value in zip(self._left, left, strict=True):
            row[place] = value
        # Here, while a CPU still has all of it in its cache.
        some = self._problem
        if self._has_own_limits:
            some = replace(some, limits=of_runs(some.limits, place))
        recurs = _stays(some, before, best, loss).logical_or_(move_square <= self._still)
        if _none_ended(some, reals[: kept - 4], loss, square):
            self._end[place] = int(End.BUDGET)
        else:
            end = _ends(some, reals[: kept - 4], loss, square, move_square, tuple(left))
            self._end[place] = end.to(torch.int64)
            recurs.logical_and_(end == End.BUDGET)
        if self._noisy is not None:
            recurs &= ~(self._noisy[place] if self._noisy.numel() > 1 else self._noisy)
        self._may_recur[place] = recurs

    def note_end(self, columns: slice, step: int) -> None:
        """Notes the last step that was recorded of a chunk."""
        self._reached.append((columns, step))

    def trace(self, engine: EngineKind) -> Trace:
        """The trace of the whole problem."""
        problem, rows = self._problem, self.rows
        dim, tolerances = len(problem.start), len(problem.record.tolerances)
        point = self._reals[:dim]
        path_length, loss, square, best_loss = self._reals[dim:]
        steps, reversals, best_step = self._counts[:3]
        first, end = self._counts[3:], self._end
        if tolerances:
            first.masked_fill_(first == NEVER, -1)
        displacement = allocate(loss.shape, loss.dtype, loss.device)
        size = _PARTS[loss.device.type]
        parts = [slice(begun, begun + size) for begun in range(0, problem.batch, size)]
        for part in parts:
            displacement[part] = norm(point[:, part] - problem.start[:, part])
        if bool((end == End.STATIONARY).any()):  # those that never moved have made no step
            unmoved = (end == End.STATIONARY) & (path_length == 0) & (displacement == 0)
            steps.masked_fill_(unmoved, 0)
        step = torch.empty(0, dtype=torch.int64, device=loss.device)
        if rows:
            step = rows.close(self._reached, steps, loss, square, point)
        for part in parts:
            square[part] = root(square[part])
        return Trace(
            step=step,
            loss=rows.loss if rows else None,
            gradient_norm=rows.gradient_norm if rows else None,
            point=rows.point if rows else None,
            end=end,
            steps=steps,
            final_loss=loss,
            final_gradient_norm=square,
            final_point=point,
            best_loss=best_loss,
            best_step=best_step,
            path_length=path_length,
            displacement=displacement,
            reversals=reversals,
            gap_steps=first[tolerances:] if bool(problem.limits.minimum) else None,
            gradient_steps=first[:tolerances],
            engine=engine,
            may_recur=self._may_recur,
            left=self._left[0] if self._left else None,
            late=self._looks.late(end == End.BUDGET),
        )


def _to(device: torch.device, number: Any, name: str) -> Any:
    """A number on a device, where it is a tensor."""
    return number.to(device) if isinstance(number, Tensor) else number


def _none_ended(problem: Problem, point: Tensor, loss: Tensor, square: Tensor) -> bool:
    """Whether the limits, the same for all runs, say of none of them that it rests or has diverged:
    on a CPU that is known in a tenth of the time that it takes to say it of each."""
    limits = problem.limits
    if square.device.type != "cpu" or any(isinstance(x, Tensor) for x in numbers(limits).values()):
        return False
    ends = ((point, limits.coordinate), (loss, limits.loss))
    if not all(
        -most <= low and high <= most for part, most in ends for low, high in [extremes(part)]
    ):
        return False
    return bool(extremes(square)[0] > limits.gradient_square)


def _ends(
    problem: Problem,
    point: Tensor,
    loss: Tensor,
    square: Tensor,
    move_square: Tensor,
    left: tuple[Tensor, ...],
) -> Tensor:
    """Why runs ended, from what is noted of them."""
    rests = is_at_rest(problem, square, move_square, left)
    inside = is_within(problem, point, loss)
    # On a CPU a choice takes ten times as long as arithmetic on bytes.
    rests, outside = rests.logical_and_(inside).to(torch.int8), inside.logical_not().to(torch.int8)
    return rests.mul_(int(End.STATIONARY)).add_(outside, alpha=int(End.DIVERGED))


def _stays(problem: Problem, before: Tensor, best: Tensor, last: Tensor) -> Tensor:
    """Whether the best losses all but did not fall in the second half of the steps."""
    (least,) = problem.limits.minimum or (0.0,)
    if isinstance(least, Tensor):  # not known of each run
        least = like(least, (best,)).nan_to_num(nan=0.0)
    high = torch.maximum((best - least).abs_(), last - best)
    return before - best <= high.mul_(FALLEN)
