"""The result of the engine: the trace of a batch, and how each of its runs ended."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

EngineKind: TypeAlias = Literal["eager", "compiled", "reference"]
"""The kind of engine that ran a batch: their results agree to rounding, not to the last bit."""


class End(IntEnum):
    """The reason why a run made no further step."""

    BUDGET = 0
    STATIONARY = 1
    DIVERGED = 2


@dataclass(frozen=True)
class Recurrence:
    """Which runs of a batch are periodic, and the points of their cycles.

    The state of a periodic run, its point and the optimizer's state, returns after every period
    throughout the second half of the steps (see `gradexp.engine.second_passes.recurrence`).
    """

    period: Tensor
    """``(B,)``, int64: the number of steps of a cycle; 1 for a run that stands still, 0 for a run
    that is not periodic"""
    first: Tensor
    """``(B,)``, int64: the index in `points` at which the cycle of a run begins"""
    points: Tensor
    """``(N, dim)``, on the CPU: the points of all cycles, one cycle after the other, each in the
    order in which the run visits them and ending with its last point"""

    def round(self, index: int) -> Tensor | None:
        """Returns the points of a run's cycle, ``(period, dim)``, or None if it has none."""
        period, first = int(self.period[index]), int(self.first[index])
        return self.points[first : first + period] if period > 1 else None

    def stands_still(self, index: int) -> bool:
        """Returns whether a run stands still."""
        return int(self.period[index]) == 1

    def cpu(self) -> Recurrence:
        """Returns a copy on the CPU."""
        return Recurrence(self.period.cpu(), self.first.cpu(), self.points)


class Late(NamedTuple):
    """Samples of noisy runs in the second half of their steps (see `engine.recording.looks`).

    The values are NaN for a run that ended before its last step.
    """

    step: Tensor
    """``(K,)``, int64: the sampled steps"""
    loss: Tensor
    """``(K, B)``: the losses of the surface, without noise"""
    mean: Tensor
    """``(dim, B)``: the mean of the sampled points"""
    spread: Tensor
    """``(B,)``: the root mean square distance of the sampled points from their mean; 0 if noise
    does not keep moving the run"""
    calm: Tensor
    """``(dim, B)``: where the run arrives from its last point if it makes half of its steps again
    without noise; NaN if it would not stay there or if this was not examined"""

    def cpu(self) -> Late:
        """Returns a copy on the CPU."""
        return Late(*(part.cpu() for part in self))

    def with_runs(self, which: Tensor, others: Late) -> Late:
        """Returns a copy in which the runs with the indices `which` are replaced by others."""
        parts = [part.clone() for part in self]
        for mine, other in zip(parts[1:], others[1:], strict=True):
            mine[..., which] = other
        return Late(*parts)

    def of_runs(self, which: Tensor) -> Late:
        """Returns the samples of the runs with the indices `which`."""
        return Late(self.step, *(part[..., which] for part in self[1:]))


class RunTrace(NamedTuple):
    """The trace of one run up to its last step; a field is None if it was not recorded."""

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
    """The result of B runs: their recorded steps and their final metrics.

    The tensors are on the device that computed them; `cpu` copies them to the CPU, where NumPy and
    matplotlib can read them. In the rows after its last step, a run repeats its last values.
    """

    # the recorded steps; a field is None if it was not recorded
    step: Tensor
    """``(R,)``, int64; step 0 is the start"""
    loss: Tensor | None
    """``(R, B)``"""
    gradient_norm: Tensor | None
    """``(R, B)``"""
    point: Tensor | None
    """``(R, dim, B)``"""

    # the final metrics
    end: Tensor
    """``(B,)``, int64: the `End` of each run"""
    steps: Tensor
    """``(B,)``, int64: the number of steps that each run made"""
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
    """``(B,)``: the sum of the lengths of all moves"""
    displacement: Tensor
    """``(B,)``: the distance from the start to the final point"""
    reversals: Tensor
    """``(B,)``, int64: the number of moves at an angle of more than 90° to the previous move"""

    # the first step at which each of T tolerances was met, or -1
    gap_steps: Tensor | None
    """``(T, B)``, int64: by the loss minus the surface's minimum; None if that is unknown"""
    gradient_steps: Tensor
    """``(T, B)``, int64: by the gradient norm"""

    # how it was computed
    engine: EngineKind
    """the kind of engine that ran the batch"""
    may_recur: Tensor
    """``(B,)``, bool: whether the run may be periodic: it made all its steps, without noise, and
    its best loss hardly fell in the second half of them or its last move was almost zero"""
    evaluations: Tensor | None = None
    """``(S + 1, B)``, int64: how many gradients the optimizer evaluated in its first 0 to S steps;
    None if each step takes one"""
    left: Tensor | None = None
    """``(B,)``: 1 if the gradient norm exceeded its limit after the step `Limits.released`, else 0;
    None if there is no such step"""
    recurrence: Recurrence | None = None
    """which runs are on a cycle or stand still; None if none is"""
    late: Late | None = None
    """samples of the second half of the steps; None without noise or for very few steps"""

    def __repr__(self) -> str:
        kept = [
            name for name in ("loss", "gradient_norm", "point") if getattr(self, name) is not None
        ]
        rows, runs = len(self.step), len(self.steps)
        return f"Trace({runs} runs, {rows} recorded steps of {', '.join(kept) or 'nothing'})"

    def cpu(self) -> Trace:
        """Returns the trace with its tensors on the CPU; itself if they are there already."""
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
        """Returns the trace of some of the runs, without `recurrence`.

        Args:
            which: the indices of the runs, ``(n,)``.
        """
        chosen: dict[str, Any] = {
            name: value[..., which.to(value.device)] for name, value in self._of_each_run().items()
        }
        late = self.late and self.late.of_runs(which)
        return replace(self, **chosen, recurrence=None, late=late)

    def with_runs(self, which: Tensor, others: Trace, stride: int) -> Trace:
        """Returns a copy in which some runs are replaced by others, without `recurrence`.

        Args:
            which: the indices of the runs to replace, ``(n,)``.
            others: the n runs that replace them, recorded in the same way.
            stride: the number of steps between recorded steps.
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
        """Returns the tensors whose last axis is the runs, by field name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value
            for name, value in values.items()
            if isinstance(value, Tensor) and name not in ("step", "left")
        }

    def _until(self, last: int, stride: int) -> Trace:
        """Returns a copy whose rows end at step `last`, by which all of its runs have ended.

        Added rows repeat the last values of the runs.
        """
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
        """Returns the trace of one run, whose last row is its last step."""
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
