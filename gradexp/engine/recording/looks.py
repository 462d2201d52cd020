"""What is looked at of runs with noise in the second half of their steps.

Noise goes on moving a run, so that its last loss says little: its losses at `LOOKS` steps, evenly
spaced from the middle step to the last, and where it was then, say whether it still comes down, and
what it moves around.
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
"""At most."""

FEWEST = 8
"""At least, or none."""


def steps_of_looks(problem: Problem) -> list[int]:
    """How many steps' losses are known at each look, ascending; none without noise, or of too few
    steps. It does not depend on how large the noise is: a run's blocks of steps are the same
    whoever else is in its batch."""
    middle, end = problem.steps // 2, problem.steps + 1
    count = min(LOOKS, end - middle)
    if isinstance(problem.noise, Noiseless) or count < FEWEST:
        return []
    return [middle + (end - middle) * number // count for number in range(1, count + 1)]


class Looks:
    """Takes the looks at the runs of a problem."""

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
        """Where a block of steps ends that begins at a step, so that it can be looked at.

        Where there are looks, blocks end at multiples of the longest besides, however they began:
        what is summed block by block depends on that.

        Args:
            step: the first one.
            longest: how many the block may have.
            end: where it ends at the latest.
        """
        if not self.ends:
            return min(end, step + longest)
        following = bisect_right(self.ends, step)
        until = self.ends[following] if following < len(self.ends) else end
        return min(end, until, (step // longest + 1) * longest)

    def take(self, step: int, place: slice | Tensor, notes: Notes, count: int) -> None:
        """Looks at runs of which the losses of so many steps are known, if it is time to.

        Args:
            step: how many.
            place: where the runs stand in the problem.
            notes: what is noted of them.
            count: the first so many lanes are theirs.
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
        """What was seen; None where nothing was to be.

        Args:
            whole: ``(B,)``: the runs that made all their steps; of the others it is NaN.
        """
        if not self.ends:
            return None
        for rows in (self._loss, self._first):
            rows.masked_fill_(~whole, torch.nan)
        away = self._sum / len(self.ends)
        square = self._square / len(self.ends) - total(away.square())
        step = torch.tensor(self.ends, device=self._loss.device) - 1
        part = torch.as_tensor(self._noise.constant_part(), device=square.device)
        spread = torch.where(part > 0, square.clamp(min=0).sqrt(), 0.0)
        spread = torch.where(whole, spread, torch.nan)
        mean = self._first + away
        return Late(step, self._loss, mean, spread, torch.full_like(mean, torch.nan))
