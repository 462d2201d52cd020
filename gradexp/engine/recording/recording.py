"""Collects the recorded steps and final metrics of a problem's runs, and makes their trace."""

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
"""How many runs are processed at a time; on a CPU, as many as fit the cache."""

FALLEN = 1e-3
"""A run may be periodic if its best loss fell by at most this in the second half of its steps, as a
fraction of the best loss minus the surface's minimum, or of the last loss minus the best."""

STILL = 1
"""A run may also be periodic if its last move was at most this many ε · D long, where ε is the
machine precision and D the diameter of the domain."""


class Recording:
    """Takes the recorded steps of a problem's runs and their final metrics."""

    def __init__(self, problem: Problem, width: int) -> None:
        """
        Args:
            problem: the problem that is run.
            width: the length of a row: the number of runs, padded to a multiple of the lanes.
        """
        self._problem = problem
        self.rows = RecordedRows(problem, width) if problem.record.what != "metrics" else None
        """the recorded steps; None if there are none"""
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
        noisy = problem.noise.size_at_zero_gradient() != 0
        self._noisy = torch.as_tensor(noisy, device=device) if noisy is not False else None
        self._looks = Looks(problem)

    def end_of_block(self, step: int, longest: int, end: int) -> int:
        """Returns the end of a block of steps, see `Looks.end_of_block`."""
        return self._looks.end_of_block(step, longest, end)

    def look(self, step: int, place: slice | Tensor, notes: Notes, count: int) -> None:
        """Samples the runs of a chunk if a sample is due, see `Looks.take`."""
        self._looks.take(step, place, notes, count)

    def put(self, place: slice | Tensor, notes: Notes, which: slice) -> None:
        """Stores the metrics of runs, and determines from them why the runs ended.

        Args:
            place: the indices of the runs in the problem.
            notes: the metrics of their chunk.
            which: the columns of the metrics that belong to these runs.
        """
        reals, before = notes.reals[:, which], notes.before[which]
        kept = len(self._reals)
        self._reals[:, place] = reals[:kept]
        self._counts[:, place] = notes.counts[:, which].to(torch.int64)
        _, loss, square, best, move_square, *left = reals[kept - 4 :]
        for row, value in zip(self._left, left, strict=True):
            row[place] = value
        # What follows is done here, and not for all runs at the end, because the metrics of the
        # chunk are still in the CPU's cache.
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
        """Notes the last step of a chunk, whose later rows `trace` then fills."""
        self._reached.append((columns, step))

    def trace(self, engine: EngineKind) -> Trace:
        """Returns the trace of the problem."""
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
        if bool((end == End.STATIONARY).any()):  # a run that never moved has made no step
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
    """Moves a tensor to a device; other numbers are returned as they are."""
    return number.to(device) if isinstance(number, Tensor) else number


def _none_ended(problem: Problem, point: Tensor, loss: Tensor, square: Tensor) -> bool:
    """Returns whether it is certain that no run is at rest or has diverged.

    This is a quick test for limits that are the same for all runs, on the CPU only, where it takes
    a tenth of the time that `_ends` takes. If it returns False, any run may have ended.
    """
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
    """Returns the `End` of each run from its metrics, ``(B,)``, int8."""
    rests = is_at_rest(problem, square, move_square, left)
    inside = is_within(problem, point, loss)
    # On a CPU, torch.where takes ten times as long as arithmetic on bytes.
    rests, outside = rests.logical_and_(inside).to(torch.int8), inside.logical_not().to(torch.int8)
    return rests.mul_(int(End.STATIONARY)).add_(outside, alpha=int(End.DIVERGED))


def _stays(problem: Problem, before: Tensor, best: Tensor, last: Tensor) -> Tensor:
    """Returns which runs hardly improved their best loss in the second half of the steps.

    Args:
        problem: the problem.
        before: the best losses of the first half, ``(B,)``.
        best: the best losses of all steps, ``(B,)``.
        last: the final losses, ``(B,)``.
    """
    (least,) = problem.limits.minimum or (0.0,)
    if isinstance(least, Tensor):  # NaN for runs whose minimum is unknown
        least = like(least, (best,)).nan_to_num(nan=0.0)
    high = torch.maximum((best - least).abs_(), last - best)
    return before - best <= high.mul_(FALLEN)
