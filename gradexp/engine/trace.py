"""What the engine gives back: the trace of a batch, and how each of its runs ended."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

Ran: TypeAlias = Literal["eager", "compiled", "reference"]
"""What ran a batch: compiled and eager steps agree to rounding, not to the bit."""


class End(IntEnum):
    """Why a run made no further step."""

    BUDGET = 0
    STATIONARY = 1
    DIVERGED = 2


class RunTrace(NamedTuple):
    """The trace of one run, to its last step; what was not recorded is None."""

    step: Tensor
    """``(R,)``, int64"""
    loss: Tensor | None
    """``(R,)``"""
    gradient_norm: Tensor | None
    """``(R,)``"""
    point: Tensor | None
    """``(R, dim)``"""
    evaluations: Tensor | None = None
    """``(R,)``, int64; see `Trace`"""


@dataclass(frozen=True, repr=False)
class Trace:
    """B runs: what was recorded along them, and what is known at their ends.

    The tensors are on the device that made them: `cpu` brings them to where NumPy and matplotlib
    can read them. A run that ended before others keeps its last values in the rows that follow.
    """

    # along the runs; None where it was not asked for
    step: Tensor
    """``(R,)``, int64; step 0 is the start"""
    loss: Tensor | None
    """``(R, B)``"""
    gradient_norm: Tensor | None
    """``(R, B)``"""
    point: Tensor | None
    """``(R, dim, B)``"""

    # at their ends
    end: Tensor
    """``(B,)``, an `End` each"""
    steps: Tensor
    """``(B,)``, int64: the steps each run made"""
    final_loss: Tensor
    """``(B,)``"""
    final_gradient_norm: Tensor
    """``(B,)``"""
    final_point: Tensor
    """``(dim, B)``"""
    best_loss: Tensor
    """``(B,)``"""
    best_step: Tensor
    """``(B,)``, int64"""
    path_length: Tensor
    """``(B,)``: the lengths of all moves together"""
    displacement: Tensor
    """``(B,)``: the distance from start to end"""
    reversals: Tensor
    """``(B,)``, int64: moves at more than a right angle to the move before"""

    # the first step at which each tolerance was met, or -1
    gap_steps: Tensor | None
    """``(T, B)``, int64: loss minus the surface's minimum; None where that is unknown"""
    gradient_steps: Tensor
    """``(T, B)``, int64: gradient norm"""

    # how it was computed
    engine: Ran
    """what ran it"""
    evaluations: Tensor | None = None
    """``(S + 1, B)``, int64: how many gradients the optimizers took for their first 0 to S steps;
    None where each step takes one"""

    def __repr__(self) -> str:
        kept = [
            name for name in ("loss", "gradient_norm", "point") if getattr(self, name) is not None
        ]
        rows, runs = len(self.step), len(self.steps)
        return f"Trace({runs} runs, {rows} recorded steps of {', '.join(kept) or 'nothing'})"

    def cpu(self) -> Trace:
        """The same with its tensors on the CPU; itself if they are there."""
        if self.end.device.type == "cpu":
            return self
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {
            name: value.cpu() for name, value in values.items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)

    def run(self, index: int) -> RunTrace:
        """The trace of one run, cut after its last step, which is its last row."""
        made = self.steps[index]
        rows = self.step < made
        step = torch.cat([self.step[rows], made[None]])

        def until_end(values: Tensor | None, last: Tensor) -> Tensor | None:
            if values is None:
                return None
            return torch.cat([values[..., index][rows], last[..., index][None]])

        return RunTrace(
            step=step,
            loss=until_end(self.loss, self.final_loss),
            gradient_norm=until_end(self.gradient_norm, self.final_gradient_norm),
            point=until_end(self.point, self.final_point),
            evaluations=None if self.evaluations is None else self.evaluations[step, index],
        )
