"""Samples noisy runs in the second half of their steps.

Noise keeps moving a run, so that its last loss alone says little. Losses and points at up to
`LOOKS` steps, evenly spaced from the middle step to the last, show whether the loss still decreases
and around which point the run fluctuates.
"""

from __future__ import annotations

from bisect import bisect_right

import torch
from torch import Tensor

from gradexp.engine.problem import Problem
from gradexp.engine.recording.memory import allocate
from gradexp.engine.runs import Notes
from gradexp.engine.trace import Late
from gradexp.noises import Noiseless
from gradexp.numbers import total

LOOKS = 32
"""The maximum number of samples."""

FEWEST = 8
"""The minimum number of samples; a problem too short for it is not sampled."""


def steps_of_looks(problem: Problem) -> list[int]:
    """Returns after how many losses each sample is taken, ascending: after n, it is of step n - 1.

    There are no samples without noise or if the problem has too few steps. They do not depend on
    the size of the noise, so that a run has the same blocks of steps whatever the other runs of its
    batch are.
    """
    middle, end = problem.steps // 2, problem.steps + 1
    count = min(LOOKS, end - middle)
    if isinstance(problem.noise, Noiseless) or count < FEWEST:
        return []
    return [middle + (end - middle) * number // count for number in range(1, count + 1)]


class Looks:
    """Collects the samples of a problem's runs."""

    def __init__(self, problem: Problem) -> None:
        dim, batch = problem.start.shape
        dtype, device = problem.start.dtype, problem.start.device
        self.ends = steps_of_looks(problem)
        self._noise = problem.noise
        if not self.ends:
            return
        self._loss = allocate((len(self.ends), batch), dtype, device)
        self._first, self._sum = (allocate((dim, batch), dtype, device) for _ in range(2))
        self._square = allocate((batch,), dtype, device)

    def end_of_block(self, step: int, longest: int, end: int) -> int:
        """Returns the end of the block that begins at a step, so that no sample is missed.

        If there are samples, blocks also end at multiples of their maximum length, wherever they
        began, because what is summed block by block depends on the ends.

        Args:
            step: the first step of the block.
            longest: the maximum number of steps of a block.
            end: the latest possible end.

        Returns:
            The step after the last one of the block.
        """
        if not self.ends:
            return min(end, step + longest)
        following = bisect_right(self.ends, step)
        until = self.ends[following] if following < len(self.ends) else end
        return min(end, until, (step // longest + 1) * longest)

    def take(self, step: int, place: slice | Tensor, notes: Notes, count: int) -> None:
        """Samples the runs of a chunk if a sample is due.

        Args:
            step: the number of steps whose losses are known.
            place: the indices of the runs in the problem.
            notes: the metrics of the chunk.
            count: the number of runs in the chunk, without padding.
        """
        if step not in self.ends:
            return
        number, dim = self.ends.index(step), len(self._first)
        point = notes.reals[:dim, :count]
        if number == 0:
            self._first[:, place] = point
            self._sum[:, place] = 0
            self._square[place] = 0
        away = point - self._first[:, place]
        self._loss[number, place] = notes.reals[dim + 1, :count]
        self._sum[:, place] += away
        self._square[place] += total(away.square())

    def late(self, whole: Tensor) -> Late | None:
        """Returns the samples, or None if there are none to take.

        Args:
            whole: which runs made all their steps, ``(B,)``; the samples of the others are NaN.
        """
        if not self.ends:
            return None
        for rows in (self._loss, self._first):
            rows.masked_fill_(~whole, torch.nan)
        away = self._sum / len(self.ends)
        square = self._square / len(self.ends) - total(away.square())
        step = torch.tensor(self.ends, device=self._loss.device) - 1
        part = torch.as_tensor(self._noise.size_at_zero_gradient(), device=square.device)
        spread = torch.where(part > 0, square.clamp(min=0).sqrt(), 0.0)
        spread = torch.where(whole, spread, torch.nan)
        mean = self._first + away
        return Late(step, self._loss, mean, spread, torch.full_like(mean, torch.nan))
