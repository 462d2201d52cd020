"""Keeps what was asked for while a batch of runs advances."""

from __future__ import annotations

import torch
from torch import Tensor

from gradexp.engine.problem import Problem
from gradexp.engine.trace import End, Trace
from gradexp.numbers import Number


def _there(number: Number, problem: Problem) -> Tensor:
    """The number as a tensor where the runs are."""
    return torch.as_tensor(number, dtype=problem.start.dtype, device=problem.start.device)


class Recorder:
    """Sees every step of a batch, decides which runs have ended, and makes the trace."""

    def __init__(self, problem: Problem) -> None:
        self._record = problem.record
        largest = torch.finfo(problem.start.dtype).max
        self._resting = _there(problem.stop.gradient, problem)
        self._farthest = _there(problem.stop.divergence, problem).clamp(max=largest)
        self._steps = problem.steps
        self._grid = problem.record.steps(problem.steps)
        minimum = problem.surface.minimum
        self._minimum = None if minimum is None else _there(minimum, problem)
        first = problem.start[0]
        count = torch.zeros_like(first, dtype=torch.int64)
        self._made = count
        self._best_loss = torch.full_like(first, torch.inf)
        self._best_step = count
        self._tolerances = torch.tensor(
            problem.record.tolerances, dtype=first.dtype, device=first.device
        )[:, None]
        # first steps by quantity (gradient norm, loss gap), tolerance and run
        self._first_steps = count.new_full((1, len(self._tolerances), 1), -1)
        self._rows: list[tuple[int, Tensor, Tensor, Tensor]] = []

    def observe(self, step: int, point: Tensor, loss: Tensor, gradient_norm: Tensor) -> Tensor:
        """Takes note of one step.

        Args:
            step: counted from 0.
            point: ``(dim, B)``.
            loss: ``(B,)``.
            gradient_norm: ``(B,)``.

        Returns:
            Which runs have ended, ``(B,)``. It follows from the point alone: a run that is held
            where it is stays ended.
        """
        size = torch.maximum(loss.abs(), point.abs().amax(dim=0))
        self._diverged = ~(size <= self._farthest)  # true of infinity and NaN, too
        ended = self._diverged | (gradient_norm < self._resting)
        if step < self._steps:
            self._made = self._made + ~ended
        better = loss < self._best_loss
        self._best_loss = torch.where(better, loss, self._best_loss)
        self._best_step = torch.where(better, step, self._best_step)
        if len(self._tolerances):
            self._note_passages(step, loss, gradient_norm)
        self._last = (step, loss, gradient_norm, point)
        self._ended = ended
        if step in self._grid and self._record.what != "metrics":
            self._rows.append(self._last)
        return ended

    def _note_passages(self, step: int, loss: Tensor, gradient_norm: Tensor) -> None:
        gap = [] if self._minimum is None else [loss - self._minimum]
        met = torch.stack([gradient_norm, *gap])[:, None] <= self._tolerances
        self._first_steps = torch.where((self._first_steps < 0) & met, step, self._first_steps)

    def trace(self) -> Trace:
        """What was kept, on the CPU."""
        step, loss, gradient_norm, point = self._last
        kept = self._record.what
        rows = self._rows
        if kept != "metrics" and rows[-1][0] != step:
            rows = [*rows, self._last]
        steps, losses, norms, points = zip(*rows, strict=True) if rows else ((), (), (), ())
        end = torch.where(self._ended, int(End.STATIONARY), int(End.BUDGET))
        end = torch.where(self._diverged, int(End.DIVERGED), end)
        quantities = 1 if self._minimum is None else 2
        shape = (quantities, len(self._tolerances), len(loss))
        gradient_steps, *gap_steps = self._first_steps.expand(shape).cpu()
        return Trace(
            step=torch.tensor(steps, dtype=torch.int64),
            loss=torch.stack(losses).cpu() if kept != "metrics" else None,
            gradient_norm=torch.stack(norms).cpu() if kept == "trace" else None,
            point=torch.stack(points).cpu() if kept == "trace" else None,
            end=end.cpu(),
            steps=self._made.cpu(),
            final_loss=loss.cpu(),
            final_gradient_norm=gradient_norm.cpu(),
            final_point=point.cpu(),
            best_loss=self._best_loss.cpu(),
            best_step=self._best_step.cpu(),
            gap_steps=gap_steps[0] if gap_steps else None,
            gradient_steps=gradient_steps,
        )
