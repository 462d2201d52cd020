"""The rows of a trace: the recorded steps of a batch."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gradexp.engine.problem import Problem
from gradexp.engine.recording.memory import allocate, capacity
from gradexp.errors import UserError


def root(square: Tensor) -> Tensor:
    """Returns √square, correctly rounded on the CPU as in IEEE 754.

    On the CPU, torch's own square root may be off in the last bit, and differently so for one
    number than for many.
    """
    if square.device.type != "cpu":
        return square.sqrt()
    return torch.from_numpy(np.sqrt(square.numpy()))


class Recorder(Protocol):
    """Where chunks store the steps that are recorded."""

    def pointers(self, column: int) -> tuple[int | None, int | None, int | None, int, int]:
        """Returns where a compiled program has to store the values of a column.

        Returns:
            The addresses of the column's losses, gradient norms and points (None if they are not
            recorded), the number of elements from one row to the next, and the number of steps
            between recorded steps.
        """

    def put(self, columns: slice, first: int, loss: Tensor, square: Tensor, point: Tensor) -> None:
        """Stores those of R successive looks that are to be recorded.

        Args:
            columns: the columns of the runs.
            first: the step of the first look.
            loss: the losses, ``(R, B)``.
            square: the squared gradient norms, ``(R, B)``.
            point: the points, ``(dim, R, B)``.
        """


class RecordedRows:
    """Buffers for every recorded step, with one additional row for the last step.

    Raises:
        UserError: if they take more memory than the device has.
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
        """See `Recorder.pointers`."""
        first = column * self.loss.element_size()
        places = (
            None if tensor is None else tensor.data_ptr() + first
            for tensor in (self.loss, self.gradient_norm, self.point)
        )
        return (*places, self.loss.shape[1], self.grid.step)  # type: ignore[return-value]

    def put(self, columns: slice, first: int, loss: Tensor, square: Tensor, point: Tensor) -> None:
        """See `Recorder.put`."""
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
        """Fills the rows after the end of each run with its last values.

        Rows after the last step of the longest run are dropped.

        Args:
            reached: slices of columns, each with the last step up to which they were recorded.
            steps: the number of steps that each run made, ``(B,)``.
            loss: the final losses, ``(B,)``.
            square: the squares of the final gradient norms, ``(B,)``.
            point: the final points, ``(dim, B)``.

        Returns:
            The steps of the rows, int64.
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
