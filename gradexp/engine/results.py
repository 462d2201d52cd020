"""Gathers what runs came to, and makes the trace of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gradexp.engine.memory import plain
from gradexp.engine.problem import Problem
from gradexp.engine.rows import Recording, root
from gradexp.engine.runs import NEVER, Runs, has_diverged, is_stationary
from gradexp.engine.trace import End, Ran, Trace
from gradexp.numbers import map_numbers

_PART = 2**20
"""Runs that are judged at a time: what that needs besides does not grow with their number."""


class Results:
    """What is known of each run of a problem at its end."""

    def __init__(self, problem: Problem, recording: Recording | None) -> None:
        self._problem, self.recording = problem, recording
        self._reached: list[tuple[slice, int]] = []
        batch, dtype, device = problem.batch, problem.start.dtype, problem.start.device
        tolerances = len(problem.record.tolerances)
        gaps = tolerances if bool(problem.least.value) else 0
        self._reals = {
            name: plain((batch,), dtype, device)
            for name in ("loss", "gradient_square", "best_loss", "path_length")
        }
        self._counts = {
            name: plain((batch,), torch.int64, device)
            for name in ("steps", "best_step", "reversals")
        }
        self._point = plain(tuple(problem.start.shape), dtype, device)
        self._first = {
            name: plain((count, batch), torch.int64, device)
            for name, count in (("gradient_steps", tolerances), ("gap_steps", gaps))
        }

    def put(self, place: slice | Tensor, runs: Runs, which: slice) -> None:
        """Takes the runs `which` of a chunk; `place` says where they stand in the problem."""
        for name, to in (*self._reals.items(), *self._counts.items()):
            to[place] = getattr(runs, name)[which].to(to.dtype)
        self._point[:, place] = runs.point[:, which]
        for name, to in self._first.items():
            for row, steps in zip(to, getattr(runs, name), strict=True):
                row[place] = steps[which].to(row.dtype)

    def note_end(self, columns: slice, step: int) -> None:
        """Notes the last step that was recorded of a chunk."""
        self._reached.append((columns, step))

    def trace(self, engine: Ran) -> Trace:
        """The trace of the whole problem."""
        problem, recording = self._problem, self.recording
        loss, square = self._reals["loss"], self._reals["gradient_square"]
        step = torch.empty(0, dtype=torch.int64, device=loss.device)
        if recording:
            step = recording.close(self._reached, self._counts["steps"], loss, square, self._point)
        end = torch.empty_like(self._counts["steps"])
        for first in range(0, problem.batch, _PART):
            part = slice(first, first + _PART)
            end[part] = self._ends(part)
            square[part] = root(square[part])
        gradient_steps, gap_steps = (
            torch.where(steps == NEVER, -1, steps) for steps in self._first.values()
        )
        return Trace(
            step=step,
            loss=recording.loss if recording else None,
            gradient_norm=recording.gradient_norm if recording else None,
            point=recording.point if recording else None,
            end=end,
            steps=self._counts["steps"],
            final_loss=loss,
            final_gradient_norm=square,
            final_point=self._point,
            best_loss=self._reals["best_loss"],
            best_step=self._counts["best_step"],
            path_length=self._reals["path_length"],
            reversals=self._counts["reversals"],
            gap_steps=gap_steps if bool(problem.least.value) else None,
            gradient_steps=gradient_steps,
            engine=engine,
        )

    def _ends(self, part: slice) -> Tensor:
        """Why these runs ended."""

        def of_part(number: Any, name: str) -> Any:
            return number[part] if isinstance(number, Tensor) and number.numel() > 1 else number

        problem = replace(self._problem, stop=map_numbers(self._problem.stop, of_part))
        loss, square = (self._reals[name][part] for name in ("loss", "gradient_square"))
        end = torch.full_like(self._counts["steps"][part], int(End.BUDGET))
        end[is_stationary(problem, square)] = int(End.STATIONARY)
        end[has_diverged(problem, self._point[:, part], loss)] = int(End.DIVERGED)
        return end
