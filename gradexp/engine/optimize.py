"""`optimize`: the engine from Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from gradexp.engine.batched import Batched
from gradexp.engine.problem import Least, Problem, Record, Stop, choose_device
from gradexp.engine.reference import Reference
from gradexp.engine.trace import Trace
from gradexp.mistakes import Mistake
from gradexp.noises import Noise, Noiseless
from gradexp.numbers import Number, batch_size, columns, extremes
from gradexp.optimizers import External, Optimizer
from gradexp.schedules import Constant, Schedule
from gradexp.surfaces import Surface

DTYPES = {"float64": torch.float64, "float32": torch.float32}


def optimize(
    surface: Surface,
    start: Sequence[Number] | Tensor,
    optimizer: Optimizer | External,
    *,
    steps: int,
    schedule: Schedule | None = None,
    noise: Noise | None = None,
    stop: Stop | None = None,
    record: Literal["trace", "loss", "metrics"] | Record = "trace",
    dtype: str = "float64",
    device: str = "auto",
    compile: Literal["auto", "always", "never"] = "auto",
    engine: Batched | Reference | None = None,
    alone: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Trace:
    """Minimizes a surface in a batch of runs.

    Any number of the surface, the start, the optimizer, the schedule, the noise or the stop may be
    a tensor of shape ``(B,)`` with one number for each of B runs; plain numbers are shared.

    Args:
        surface: what is minimized.
        start: `dim` numbers, or a tensor ``(dim,)`` or ``(dim, B)``.
        optimizer: the update rule.
        steps: the most steps a run makes, at least 1.
        schedule: of the learning rate; constant if None.
        noise: added to the gradient; none if None.
        stop: when a run ends earlier; `Stop()` if None.
        record: what is kept along the way.
        dtype: ``"float64"`` or ``"float32"``.
        device: ``"auto"`` (CUDA where there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        compile: see `Batched`.
        engine: what runs it; a `Batched` one if None.
        alone: whether ``compile="auto"`` chooses as for one run alone: then a run's numbers are the
            same to the last bit whoever shares its batch, for eager and compiled steps differ.
        progress: told now and then how many of the steps are behind the batch.

    Returns:
        The trace, on the device of the computation (see `Trace.cpu`).

    Raises:
        Mistake: a value is not allowed.
        ValueError: numbers are for different numbers of runs.

    >>> from gradexp import optimize, surfaces
    >>> from gradexp.optimizers import SGD
    >>> trace = optimize(surfaces.get("sphere"), (4.0, -3.0), SGD(lr=0.25), steps=4)
    >>> trace.loss[:, 0].tolist()
    [25.0, 6.25, 1.5625, 0.390625, 0.09765625]
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise Mistake("steps", steps, "must be a whole number, at least 1")
    if dtype not in DTYPES:
        raise Mistake("dtype", dtype, f"must be one of {', '.join(DTYPES)}")
    where = choose_device(device)
    parts = {
        "surface": surface,
        "optimizer": optimizer,
        "schedule": schedule or Constant(),
        "noise": noise or Noiseless(),
        "stop": stop or Stop(),
    }
    points = _points(start, surface.dim)
    batch = batch_size(*parts.values())
    if points.shape[1] not in (1, batch) and batch != 1:
        raise ValueError(f"there are {points.shape[1]} starts, but numbers for {batch} runs")
    problem = Problem(
        **parts,  # type: ignore[arg-type]
        start=points.to(where, DTYPES[dtype]).expand(-1, max(batch, points.shape[1])),
        steps=steps,
        record=record if isinstance(record, Record) else Record(what=record),
        least=Least.of(surface),
        progress=progress or (lambda step: None),
        alone=alone,
    )
    return (engine or Batched(compile=compile)).run(problem)


def _points(start: Sequence[Number] | Tensor, dim: int) -> Tensor:
    """The starts as a tensor ``(dim, B)``.

    Raises:
        Mistake: they have not `dim` coordinates, or one is not finite.
    """
    if len(start) != dim:
        raise Mistake("start", start, f"must have {dim} coordinates, one per dimension")
    points = start if isinstance(start, Tensor) else columns(start)
    if points.dim() == 1:
        points = points[:, None]
    if points.dim() != 2 or not points.shape[1]:
        raise Mistake("start", tuple(points.shape), "must have the shape (dim,) or (dim, B)")
    if not all(map(math.isfinite, extremes(points))):
        raise Mistake("start", start, "must be finite")
    return points
