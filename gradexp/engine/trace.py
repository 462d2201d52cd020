"""What the engine gives back: the trace of a batch, and how each of its runs ended."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

EngineKind: TypeAlias = Literal["eager", "compiled", "reference"]
"""What ran a batch: compiled and eager steps agree to rounding, not to the bit."""


class End(IntEnum):
    """Why a run made no further step."""

    BUDGET = 0
    STATIONARY = 1
    DIVERGED = 2


@dataclass(frozen=True)
class Recurrence:
    """Which runs of a batch recur: their state, the point and all that the optimizer remembers,
    comes back after every so many steps throughout the second half of the steps made (see
    `gradexp.engine.second_passes.recurrence`)."""

    period: Tensor
    """``(B,)``, int64: the steps of a round; 1 of a run that stands still, 0 of one that does not
    recur"""
    first: Tensor
    """``(B,)``, int64: where the points of a run's round begin among all"""
    points: Tensor
    """``(N, dim)``, on the CPU: the points of the rounds, each in the order in which the run comes
    to them, its last one last"""

    def round(self, index: int) -> Tensor | None:
        """The points of a run's cycle, ``(period, dim)``; None where it is on none."""
        period, first = int(self.period[index]), int(self.first[index])
        return self.points[first : first + period] if period > 1 else None

    def stands_still(self, index: int) -> bool:
        """Whether a run stands still."""
        return int(self.period[index]) == 1

    def cpu(self) -> Recurrence:
        """The same on the CPU."""
        return Recurrence(self.period.cpu(), self.first.cpu(), self.points)


class Late(NamedTuple):
    """Runs with noise in the second half of their steps (see `engine.recording.looks`); NaN of a
    run that ended before its last step."""

    step: Tensor
    """``(K,)``, int64: those that were looked at"""
    loss: Tensor
    """``(K, B)``: of the surface, without the noise"""
    mean: Tensor
    """``(dim, B)``: of the points"""
    spread: Tensor
    """``(B,)``: the root of their mean squared distance from there; 0 where noise does not go on
    moving a run"""
    calm: Tensor
    """``(dim, B)``: where the run comes to from its last point in as many steps as that half has,
    without noise; NaN where it does not stay there, or that was not looked at"""

    def cpu(self) -> Late:
        """The same on the CPU."""
        return Late(*(part.cpu() for part in self))

    def with_runs(self, which: Tensor, others: Late) -> Late:
        """The same with other runs in the place of some."""
        parts = [part.clone() for part in self]
        for mine, other in zip(parts[1:], others[1:], strict=True):
            mine[..., which] = other
        return Late(*parts)

    def of_runs(self, which: Tensor) -> Late:
        """Some of the runs."""
        return Late(self.step, *(part[..., which] for part in self[1:]))


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
    engine: EngineKind
    """what ran it"""
    may_recur: Tensor
    """``(B,)``: whether it used all its steps, without noise, and its best loss all but did not
    fall in the second half of them, or its last move was all but none"""
    evaluations: Tensor | None = None
    """``(S + 1, B)``, int64: how many gradients the optimizers took for their first 0 to S steps;
    None where each step takes one"""
    left: Tensor | None = None
    """``(B,)``, 1 where the gradient norm was above its limit after `Limits.released`; None where
    that was not asked"""
    recurrence: Recurrence | None = None
    """which runs go round a cycle or stand still; None where none does"""
    late: Late | None = None
    """None where there is no noise"""

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
            name: value.cpu()
            for name, value in values.items()
            if isinstance(value, Tensor | Recurrence | Late)
        }
        return replace(self, **moved)

    def of_runs(self, which: Tensor) -> Trace:
        """Some of the runs, without `recurrence`.

        Args:
            which: their indices, ``(n,)``.
        """
        chosen: dict[str, Any] = {
            name: value[..., which.to(value.device)] for name, value in self._of_each_run().items()
        }
        late = self.late and self.late.of_runs(which)
        return replace(self, **chosen, recurrence=None, late=late)

    def with_runs(self, which: Tensor, others: Trace, stride: int) -> Trace:
        """The same with other runs in the place of some, without `recurrence`.

        Args:
            which: their indices, ``(n,)``.
            others: n runs of the same record.
            stride: every how many steps one is recorded.
        """
        last = max(int(self.steps.max()), int(others.steps.max()))
        mine, theirs = self._until(last, stride), others._until(last, stride)
        changed: dict[str, Any] = {}
        values = theirs._of_each_run()
        for name, value in mine._of_each_run().items():
            value = value.clone()
            value[..., which.to(value.device)] = values[name]
            changed[name] = value
        late = self.late
        if late is not None and others.late is not None:
            late = late.with_runs(which, others.late)
        return replace(mine, **changed, recurrence=None, late=late)

    def _of_each_run(self) -> dict[str, Tensor]:
        """The tensors whose last axis is that of the runs."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value
            for name, value in values.items()
            if isinstance(value, Tensor) and name not in ("step", "left")
        }

    def _until(self, last: int, stride: int) -> Trace:
        """The same with rows up to a step by which all its runs have ended; they keep their last
        values in rows that are added."""
        evaluations = self.evaluations
        if evaluations is not None:
            more = max(last + 1 - len(evaluations), 0)
            evaluations = torch.cat([evaluations, evaluations[-1:].expand(more, -1)])[: last + 1]
        recorded = replace(self, evaluations=evaluations)
        if not len(self.step) or int(self.step[-1]) == last:
            return recorded
        steps = [*range(0, last + 1, stride), *([last] if last % stride else [])]
        there = min(int(self.step[-1]), last) // stride + 1

        def extended(values: Tensor | None, held: Tensor) -> Tensor | None:
            if values is None:
                return None
            added = held.expand(len(steps) - there, *held.shape)
            return torch.cat([values[:there], added])

        return replace(
            recorded,
            step=torch.tensor(steps, dtype=torch.int64, device=self.step.device),
            loss=extended(self.loss, self.final_loss),
            gradient_norm=extended(self.gradient_norm, self.final_gradient_norm),
            point=extended(self.point, self.final_point),
        )

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
