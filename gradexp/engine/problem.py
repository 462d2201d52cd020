"""The problem that an engine is given: the components, starts and settings of a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import torch
from torch import Tensor

from gradexp.clips import Clip
from gradexp.engine.limits import Limits
from gradexp.errors import UserError
from gradexp.noises import Noise
from gradexp.numbers import (
    Component,
    Positive,
    Whole,
    in_lanes,
    map_numbers,
    of_runs,
    padded,
    plain_zeros,
)
from gradexp.optimizers import External, Optimizer
from gradexp.schedules import Schedule
from gradexp.surfaces import Surface


@dataclass(frozen=True)
class Record(Component):
    """What is recorded of each run.

    Args:
        what: what to record at each step: ``metrics`` (nothing), ``loss``, or ``trace`` (loss,
            gradient norm and point).
        points: how many steps to record at most, evenly spaced, including the first and the last.
        tolerances: for each of these, the first step is kept at which the loss gap is at most this
            large, and likewise for the gradient norm.
    """

    what: Literal["trace", "loss", "metrics"] = "trace"
    points: Annotated[int, Whole(2)] = 10001
    tolerances: tuple[Positive, ...] = ()

    def steps(self, steps: int) -> range:
        """Returns the evenly spaced steps to record out of 0 to `steps`.

        The last step is always recorded, even where it is not among these.
        """
        stride = max(1, -(-steps // (self.points - 1)))
        return range(0, steps + 1, stride)


@dataclass(frozen=True)
class Problem:
    """B runs of equal structure, with everything that an engine needs to run them.

    The numbers of the components are floats or tensors ``(B,)``.
    """

    surface: Surface
    start: Tensor
    """``(dim, B)``, with the dtype and on the device of the computation"""
    optimizer: Optimizer | External
    steps: int
    schedule: Schedule
    noise: Noise
    clip: Clip
    limits: Limits
    record: Record
    progress: Callable[[int], None] = lambda step: None
    """called from time to time with the number of steps that the batch has completed; the steps
    that a run no longer makes, because it has ended, count as completed"""
    alone: bool = False
    """whether an engine that can choose between methods whose results differ in the last bit must
    choose as it would for a single run"""
    rest_is_given: bool = False
    """whether the user set `Stop.gradient`"""

    @property
    def batch(self) -> int:
        """The number of runs, B."""
        return self.start.shape[1]

    @property
    def batched(self) -> Optimizer:
        """The optimizer, which must have a batched rule."""
        assert isinstance(self.optimizer, Optimizer)
        return self.optimizer

    def lanes(self, first: int, end: int) -> Problem:
        """Returns the runs from `first` to `end`, ready for pointwise arithmetic.

        The batch is padded to a multiple of `LANES`, and each number becomes a tensor of that
        length (see `in_lanes`).
        """
        start = self.start[:, first:end]
        parts = {
            name: in_lanes(getattr(self, name), end - first, start.dtype, start.device, first)
            for name in PARTS
        }
        return dataclasses.replace(self, start=padded(start), **parts)

    def of_runs(self, which: Tensor) -> Problem:
        """Returns the problem restricted to some of its runs.

        Args:
            which: the indices of the runs, ``(n,)``.
        """
        parts = {name: of_runs(getattr(self, name), which) for name in PARTS}
        return dataclasses.replace(self, start=self.start[:, which], **parts)

    def is_timed(self, part: str, name: str) -> bool:
        """Returns whether a number of a component is combined only with the step number.

        If such a number is the same for all runs, what is computed from the two is computed once
        per step instead of once per step and run (see `Optimizer.used_only_with_step`).

        Args:
            part: the field of the problem that holds the component, one of `PARTS`.
            name: the number's path in the component.
        """
        field = name.partition("[")[0]
        if part == "optimizer":
            return field in self.batched.used_only_with_step
        return part == "schedule" or (part == "noise" and field == "seed")

    def plain(self) -> Problem:
        """Returns the same problem with plain numbers in place of tensors where that saves work.

        A number that is 0 for all runs becomes the plain number 0, and a timed number (see
        `is_timed`) that is the same for all runs becomes that plain number.
        """

        def plain(part: str) -> Any:
            def common(number: Any, name: str) -> Any:
                if not isinstance(number, Tensor) or not self.is_timed(part, name):
                    return number
                first = number.reshape(-1)[0]
                return first.item() if bool((number == first).all()) else number

            return map_numbers(plain_zeros(getattr(self, part)), common)

        parts = {name: plain(name) for name in PARTS}
        return dataclasses.replace(self, **parts)


Steps: TypeAlias = Annotated[int, Whole(1, 2**31 - 2)]
"""The maximum number of steps of a run: it fits in 32 bits and leaves one value for `NEVER`."""

PARTS = ("surface", "optimizer", "schedule", "noise", "clip", "limits")
"""The fields of a problem that hold components, whose numbers may differ from run to run."""


def choose_device(device: str | torch.device) -> torch.device:
    """Returns the device of a given name; ``auto`` is CUDA if available, else the CPU.

    Raises:
        UserError: if there is no such device.
    """
    name = str(device)
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not (kind == "cuda" and number.isdecimal())):
        raise UserError("device", name, "must be auto, cpu, cuda or cuda:N")
    if kind == "cuda" and not available:
        raise UserError("device", name, "there is no CUDA device here; use auto or cpu")
    if number and int(number) >= torch.cuda.device_count():
        reason = f"there are {torch.cuda.device_count()} CUDA devices here, counted from 0"
        raise UserError("device", name, reason)
    return torch.device(name)
