"""The rows of a trace: what is recorded of a batch along its way."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gradexp.engine.problem import Problem
from gradexp.engine.recording.memory import allocate, capacity
from gradexp.errors import UserError


def root(square: Tensor) -> Tensor:
    """√square, rounded as IEEE 754 says: torch's own may be off in the last bit on the CPU, in
    another way for one number than for many."""
    if square.device.type != "cpu":
        return square.sqrt()
    return torch.from_numpy(np.sqrt(square.numpy()))


class Recorder(Protocol):
    """What takes rows."""

    def pointers(self, column: int) -> tuple[int | None, int | None, int | None, int, int]:
        """For a program: where a column's losses, gradient norms and points begin, how far apart
        rows are, and every how many steps one is recorded."""

    def put(self, columns: slice, first: int, loss: Tensor, square: Tensor, point: Tensor) -> None:
        """Takes the recorded ones among looks: ``(R, B)``, and points ``(dim, R, B)``."""


class RecordedRows:
    """Room for every recorded step, and one more for the last.

    Raises:
        UserError: they take more memory than there is.
    """

    def __init__(self, problem: Problem, batch: int) -> None:
        dim, dtype = problem.start.shape[0], problem.start.dtype
        self.grid = problem.record.steps(problem.steps)
        count = len(self.grid) + 1
        whole = problem.record.what == "trace"
        size = count * (dim + 2 if whole else 1) * batch * dtype.itemsize
        there = capacity(problem.start.device)
        if size > there:
            reason = (
                f"{count} recorded steps of {batch} {'runs' if batch > 1 else 'run'} take "
                f"{size / 1e9:.0f} GB, and there are {there / 1e9:.0f}: record fewer points, "
                "or loss, or metrics"
            )
            raise UserError("record", problem.record.what, reason)

        device = problem.start.device
        self.loss = allocate((count, batch), dtype, device)
        self.gradient_norm = allocate((count, batch), dtype, device) if whole else None
        self.point = allocate((count, dim, batch), dtype, device) if whole else None

    def pointers(self, column: int) -> tuple[int | None, int | None, int | None, int, int]:
        """For a program: where a column's losses, gradient norms and points begin, how far apart
        rows are, and every how many steps one is recorded."""
        first = column * self.loss.element_size()
        places = (
            None if tensor is None else tensor.data_ptr() + first
            for tensor in (self.loss, self.gradient_norm, self.point)
        )
        return (*places, self.loss.shape[1], self.grid.step)  # type: ignore[return-value]

    def put(self, columns: slice, first: int, loss: Tensor, square: Tensor, point: Tensor) -> None:
        """Takes the recorded ones among looks: ``(R, B)``, and points ``(dim, R, B)``."""
        stride = self.grid.step
        skipped = -first % stride
        row = (first + skipped) // stride
        to = slice(row, row + len(loss[skipped::stride]))
        count = columns.stop - columns.start
        self.loss[to, columns] = loss[skipped::stride, :count]
        if self.gradient_norm is not None and self.point is not None:
            self.gradient_norm[to, columns] = root(square[skipped::stride, :count])
            self.point[to, :, columns] = point[:, skipped::stride, :count].movedim(0, 1)

    def close(
        self,
        reached: list[tuple[slice, int]],
        steps: Tensor,
        loss: Tensor,
        square: Tensor,
        point: Tensor,
    ) -> Tensor:
        """Repeats the last values of runs to the last step of all; returns the recorded steps.

        Args:
            reached: up to which step the rows of which columns are there.
            steps: that each run made, ``(B,)``.
            loss: at their ends, ``(B,)``.
            square: likewise, of the gradient norm.
            point: likewise, ``(dim, B)``.
        """
        batch, last = len(steps), int(steps.max())
        stride = self.grid.step
        full = last // stride + 1
        count = full if last % stride == 0 else full + 1
        everyone = (slice(0, batch), (full - 1) * stride)
        for columns, step in [*reached, everyone]:
            rows = slice(step // stride + 1, full if columns is not everyone[0] else count)
            if rows.start >= rows.stop:
                continue
            self.loss[rows, columns] = loss[columns]
            if self.gradient_norm is not None and self.point is not None:
                self.gradient_norm[rows, columns] = root(square[columns])
                self.point[rows, :, columns] = point[:, columns]
        self.loss = self.loss[:count, :batch]
        if self.gradient_norm is not None and self.point is not None:
            self.gradient_norm = self.gradient_norm[:count, :batch]
            self.point = self.point[:count, :, :batch]
        recorded = torch.arange(0, last + 1, stride, device=self.loss.device)
        return recorded if count == full else torch.cat([recorded, recorded.new_tensor([last])])
