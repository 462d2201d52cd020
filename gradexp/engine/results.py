"""Gathers what runs came to, and makes the trace of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gradexp.engine.late import Looks
from gradexp.engine.memory import plain
from gradexp.engine.problem import Problem
from gradexp.engine.rows import Recording, root
from gradexp.engine.runs import NEVER, Notes, is_at_rest, is_within
from gradexp.engine.trace import End, Ran, Trace
from gradexp.numbers import like, map_numbers, norm
from gradexp.surfaces.scale import diameter

_PARTS = {"cpu": 2**16, "cuda": 2**20}
"""Runs that are judged at a time: on a CPU as many as fit a cache."""

FALLEN = 1e-3
"""A run may recur whose best loss fell by less than this in the second half of its steps, as a part
of what is above the least loss, or of how far the last loss is above the best."""

STILL = 1
"""So may one whose last move was no longer than so many units in the last place of the diameter of
the domain."""


class Results:
    """What is known of each run of a problem at its end."""

    def __init__(self, problem: Problem, recording: Recording | None) -> None:
        self._problem, self.recording = problem, recording
        self._reached: list[tuple[slice, int]] = []
        dim, batch = problem.start.shape
        tolerances = len(problem.record.tolerances)
        gaps = tolerances if bool(problem.limits.minimum) else 0
        device = problem.start.device
        kept = dim + 5 + len(problem.limits.released)
        self._reals = plain((kept, batch), problem.start.dtype, device)
        self.looks = Looks(problem)
        self._before = plain((batch,), problem.start.dtype, device)
        self._counts = plain((3 + tolerances + gaps, batch), torch.int64, device)
        self._point = self._reals[:dim]

    def put(self, place: slice | Tensor, notes: Notes, which: slice) -> None:
        """Takes what is noted of the runs `which` of a chunk; `place` says where they stand in the
        problem."""
        self._reals[:, place] = notes.reals[:, which]
        self._counts[:, place] = notes.counts[:, which].to(torch.int64)
        self._before[place] = notes.before[which]

    def note_end(self, columns: slice, step: int) -> None:
        """Notes the last step that was recorded of a chunk."""
        self._reached.append((columns, step))

    def trace(self, engine: Ran) -> Trace:
        """The trace of the whole problem."""
        problem, recording = self._problem, self.recording
        dim, tolerances = len(self._point), len(problem.record.tolerances)
        path_length, loss, square, best_loss, move_square, *left = self._reals[dim:]
        steps, reversals, best_step = self._counts[:3]
        first = self._counts[3:]
        if tolerances:
            first.masked_fill_(first == NEVER, -1)
        end, displacement = torch.empty_like(steps), torch.empty_like(loss)
        may_recur = torch.empty_like(steps, dtype=torch.bool)
        size = _PARTS[loss.device.type]
        parts = [slice(begun, begun + size) for begun in range(0, problem.batch, size)]
        still = (STILL * torch.finfo(loss.dtype).eps * diameter(problem.surface)) ** 2
        for part in parts:
            some = self._part(part, len(parts))
            seen = loss[part], square[part], move_square[part], tuple(row[part] for row in left)
            end[part] = ended = _ends(some, self._point[:, part], *seen)
            displacement[part] = norm(self._point[:, part] - some.start)
            stays = _stays(some, self._before[part], best_loss[part], loss[part])
            stays.logical_or_(move_square[part] <= still)
            may_recur[part] = stays.logical_and_(ended == End.BUDGET)
        if bool((end == End.STATIONARY).any()):  # those that never moved have made no step
            unmoved = (end == End.STATIONARY) & (path_length == 0) & (displacement == 0)
            steps.masked_fill_(unmoved, 0)
        step = torch.empty(0, dtype=torch.int64, device=loss.device)
        if recording:
            step = recording.close(self._reached, steps, loss, square, self._point)
        for part in parts:
            square[part] = root(square[part])
        return Trace(
            step=step,
            loss=recording.loss if recording else None,
            gradient_norm=recording.gradient_norm if recording else None,
            point=recording.point if recording else None,
            end=end,
            steps=steps,
            final_loss=loss,
            final_gradient_norm=square,
            final_point=self._point,
            best_loss=best_loss,
            best_step=best_step,
            path_length=path_length,
            displacement=displacement,
            reversals=reversals,
            gap_steps=first[tolerances:] if bool(problem.limits.minimum) else None,
            gradient_steps=first[:tolerances],
            engine=engine,
            may_recur=may_recur,
            left=left[0] if left else None,
            late=self.looks.late(),
        )

    def _part(self, part: slice, parts: int) -> Problem:
        """The problem of the runs of a part: their starts and limits."""

        def of_part(number: Any, name: str) -> Any:
            return number[part] if isinstance(number, Tensor) and number.numel() > 1 else number

        whole = self._problem
        if parts == 1:
            return whole
        limits = map_numbers(whole.limits, of_part)
        return replace(whole, limits=limits, start=whole.start[:, part])


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
    ended = torch.where(rests, int(End.STATIONARY), int(End.BUDGET))
    return torch.where(is_within(problem, point, loss), ended, int(End.DIVERGED))


def _stays(problem: Problem, before: Tensor, best: Tensor, last: Tensor) -> Tensor:
    """Whether the best losses all but did not fall in the second half of the steps."""
    (least,) = problem.limits.minimum or (0.0,)
    high = torch.maximum((best - like(least, (best,))).abs_(), last - best)
    return before - best <= high.mul_(FALLEN)
