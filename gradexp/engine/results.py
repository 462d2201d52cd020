"""Gathers what runs came to, and makes the trace of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gradexp.engine.memory import plain
from gradexp.engine.problem import Problem
from gradexp.engine.rows import Recording, root
from gradexp.engine.runs import NEVER, Notes, has_diverged, is_stationary
from gradexp.engine.trace import End, Ran, Trace
from gradexp.numbers import map_numbers, norm

_PART = 2**20
"""Runs that are judged at a time: what that needs besides does not grow with their number."""


class Results:
    """What is known of each run of a problem at its end."""

    def __init__(self, problem: Problem, recording: Recording | None) -> None:
        self._problem, self.recording = problem, recording
        self._reached: list[tuple[slice, int]] = []
        dim, batch = problem.start.shape
        tolerances = len(problem.record.tolerances)
        gaps = tolerances if bool(problem.least.value) else 0
        device = problem.start.device
        self._reals = plain((dim + 4, batch), problem.start.dtype, device)
        self._counts = plain((3 + tolerances + gaps, batch), torch.int64, device)
        self._point = self._reals[:dim]

    def put(self, place: slice | Tensor, notes: Notes, which: slice) -> None:
        """Takes what is noted of the runs `which` of a chunk; `place` says where they stand in the
        problem."""
        self._reals[:, place] = notes.reals[:, which]
        self._counts[:, place] = notes.counts[:, which].to(torch.int64)

    def note_end(self, columns: slice, step: int) -> None:
        """Notes the last step that was recorded of a chunk."""
        self._reached.append((columns, step))

    def trace(self, engine: Ran) -> Trace:
        """The trace of the whole problem."""
        problem, recording = self._problem, self.recording
        dim, tolerances = len(self._point), len(problem.record.tolerances)
        path_length, loss, square, best_loss = self._reals[dim:]
        steps, reversals, best_step = self._counts[:3]
        first = self._counts[3:]
        if tolerances:
            first.masked_fill_(first == NEVER, -1)
        step = torch.empty(0, dtype=torch.int64, device=loss.device)
        if recording:
            step = recording.close(self._reached, steps, loss, square, self._point)
        end, displacement = torch.empty_like(steps), torch.empty_like(loss)
        for begun in range(0, problem.batch, _PART):
            part = slice(begun, begun + _PART)
            end[part] = self._ends(part, loss[part], square[part])
            square[part] = root(square[part])
            displacement[part] = norm(self._point[:, part] - problem.start[:, part])
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
            gap_steps=first[tolerances:] if bool(problem.least.value) else None,
            gradient_steps=first[:tolerances],
            engine=engine,
        )

    def _ends(self, part: slice, loss: Tensor, square: Tensor) -> Tensor:
        """Why the runs of a part ended, whose losses and squared gradient norms these are."""

        def of_part(number: Any, name: str) -> Any:
            return number[part] if isinstance(number, Tensor) and number.numel() > 1 else number

        problem = replace(self._problem, stop=map_numbers(self._problem.stop, of_part))
        ended = torch.where(is_stationary(problem, square), int(End.STATIONARY), int(End.BUDGET))
        diverged = has_diverged(problem, self._point[:, part], loss)
        return torch.where(diverged, int(End.DIVERGED), ended)
