"""What an engine is asked to do."""

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
    """What is kept of a run.

    Args:
        what: ``metrics`` (nothing along the way), ``loss``, or ``trace`` (loss, gradient norm and
            point).
        points: at most so many steps are recorded, evenly spaced, first and last included.
        tolerances: the first steps at which the loss gap and the gradient norm are below each of
            these are kept.
    """

    what: Literal["trace", "loss", "metrics"] = "trace"
    points: Annotated[int, Whole(2)] = 10001
    tolerances: tuple[Positive, ...] = ()

    def steps(self, steps: int) -> range:
        """The steps to record out of 0 to `steps`; the last one comes besides where it is not
        among them."""
        stride = max(1, -(-steps // (self.points - 1)))
        return range(0, steps + 1, stride)


@dataclass(frozen=True)
class Problem:
    """B runs of one structure, ready to be run: `start` is ``(dim, B)``, of the element type and
    on the device of the computation; numbers are floats or tensors ``(B,)``. `progress` is told
    now and then how many of the steps are behind the batch, where those count that a run no longer
    makes. `alone` says whether an engine that has the choice between ways that differ in the last
    bit takes the one that it would take for one run alone. `rest_is_given` says whether a person
    said how small a gradient is at rest."""

    surface: Surface
    start: Tensor
    optimizer: Optimizer | External
    steps: int
    schedule: Schedule
    noise: Noise
    clip: Clip
    limits: Limits
    record: Record
    progress: Callable[[int], None] = lambda step: None
    alone: bool = False
    rest_is_given: bool = False

    @property
    def batch(self) -> int:
        """B."""
        return self.start.shape[1]

    @property
    def batched(self) -> Optimizer:
        """The optimizer, where it has a batched rule."""
        assert isinstance(self.optimizer, Optimizer)
        return self.optimizer

    def lanes(self, first: int, end: int) -> Problem:
        """The runs from `first` to `end`, padded, each number a tensor of their shape."""
        start = self.start[:, first:end]
        parts = {
            name: in_lanes(getattr(self, name), end - first, start.dtype, start.device, first)
            for name in PARTS
        }
        return dataclasses.replace(self, start=padded(start), **parts)

    def of_runs(self, which: Tensor) -> Problem:
        """Some of the runs.

        Args:
            which: their indices, ``(n,)``.
        """
        parts = {name: of_runs(getattr(self, name), which) for name in PARTS}
        return dataclasses.replace(self, start=self.start[:, which], **parts)

    def is_timed(self, part: str, name: str) -> bool:
        """Whether a number of a part is combined with the number of the step alone: what is the
        same for all runs then is worked out once for all (see `Optimizer.timed`)."""
        field = name.partition("[")[0]
        if part == "optimizer":
            return field in self.batched.timed
        return part == "schedule" or (part == "noise" and field == "seed")

    def plain(self) -> Problem:
        """The same runs, a number that is 0 for all of them a plain 0, and a timed one that is the
        same for all of them that plain number."""

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
"""How many steps a run makes at most: their number fits 32 bits, with one to spare for never."""

PARTS = ("surface", "optimizer", "schedule", "noise", "clip", "limits")
"""The fields of a problem whose numbers belong to runs."""


def choose_device(device: str | torch.device) -> torch.device:
    """A device, by its name; ``auto`` is CUDA where there is one.

    Raises:
        UserError: there is no such device.
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
