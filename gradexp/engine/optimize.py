"""`optimize`: the engine from Python; and what it poses the engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from gradexp.clips import Clip, Unclipped
from gradexp.engine.batched import Batched
from gradexp.engine.fit import check_fit, check_precision
from gradexp.engine.limits import Limits, Stop
from gradexp.engine.problem import Problem, Record, Steps, choose_device
from gradexp.engine.reference import Reference
from gradexp.engine.trace import Trace
from gradexp.errors import UserError
from gradexp.noises import Noise, Noiseless
from gradexp.numbers import Number, batch_size, checked, columns, extremes
from gradexp.optimizers import External, Optimizer
from gradexp.schedules import Constant, Schedule
from gradexp.surfaces import Surface

_KINDS: dict[str, Any] = {
    "surface": Surface,
    "optimizer": (Optimizer, External),
    "schedule": Schedule,
    "noise": Noise,
    "clip": Clip,
    "stop": Stop,
}

DTYPES = {"float64": torch.float64, "float32": torch.float32}


def optimize(
    surface: Surface,
    start: Sequence[Number] | Tensor,
    optimizer: Optimizer | External,
    *,
    steps: int,
    schedule: Schedule | None = None,
    noise: Noise | None = None,
    clip: Clip | None = None,
    stop: Stop | None = None,
    record: Literal["trace", "loss", "metrics"] | Record = "trace",
    dtype: str = "float64",
    device: str | torch.device = "auto",
    compile: Literal["auto", "always", "never"] = "auto",
    engine: Batched | Reference | None = None,
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
        schedule: of hyperparameters; constant if None.
        noise: added to the gradient; none if None.
        clip: how large a gradient may be; unlimited if None.
        stop: when a run ends earlier; `Stop()` if None.
        record: what is kept along the way.
        dtype: ``"float64"`` or ``"float32"``.
        device: ``"auto"`` (CUDA where there is one), ``"cpu"``, ``"cuda"``, ``"cuda:N"``, or one
            of torch's.
        compile: see `Batched`.
        engine: what runs it; a `Batched` one if None.
        progress: told now and then how many of the steps are behind the batch.

    Returns:
        The trace, on the device of the computation (see `Trace.cpu`).

    Raises:
        UserError: a value is not allowed.
        ValueError: numbers are for different numbers of runs.

    >>> from gradexp import optimize, surfaces
    >>> from gradexp.optimizers import SGD
    >>> trace = optimize(surfaces.get("sphere"), (4.0, -3.0), SGD(lr=0.25), steps=4)
    >>> trace.loss[:, 0].tolist()
    [25.0, 6.25, 1.5625, 0.390625, 0.09765625]
    """
    if engine is not None:
        _check_kind("engine", engine, (Batched, Reference))
    problem = pose(
        surface,
        start,
        optimizer,
        steps=steps,
        schedule=Constant() if schedule is None else schedule,
        noise=Noiseless() if noise is None else noise,
        clip=Unclipped() if clip is None else clip,
        stop=Stop() if stop is None else stop,
        record=record if isinstance(record, Record) else _recorded(record),
        dtype=dtype,
        device=device,
    )
    if progress is not None:
        problem = replace(problem, progress=progress)
    return (engine or Batched(compile=compile)).run(problem)


def pose(
    surface: Surface,
    start: Sequence[Number] | Tensor,
    optimizer: Optimizer | External,
    *,
    steps: int,
    schedule: Schedule,
    noise: Noise,
    clip: Clip,
    stop: Stop,
    record: Record,
    dtype: str,
    device: str | torch.device,
) -> Problem:
    """What the engine is asked to do; see `optimize`.

    Raises:
        UserError: a value is not allowed.
        ValueError: numbers are for different numbers of runs.
    """
    steps = checked("steps", steps, Steps)
    if dtype not in DTYPES:
        raise UserError("dtype", dtype, f"must be one of {', '.join(DTYPES)}")
    where = choose_device(device)
    parts = {
        "surface": surface,
        "optimizer": optimizer,
        "schedule": schedule,
        "noise": noise,
        "clip": clip,
        "stop": stop,
    }
    for name, part in parts.items():
        _check_kind(name, part, _KINDS[name])
        if name != "stop":  # whose limit may be beyond all numbers
            check_precision(name, part, DTYPES[dtype])
    check_fit(surface, optimizer, schedule, steps)
    points = _points(start, surface.dim).to(where, DTYPES[dtype])
    if not all(map(math.isfinite, extremes(points))):
        raise UserError("start", start, f"must be finite in {dtype}")
    batch = batch_size(*parts.values())
    if points.shape[1] not in (1, batch) and batch != 1:
        raise ValueError(f"there are {points.shape[1]} starts, but numbers for {batch} runs")
    limits = Limits.of(surface, points, noise, stop)
    return Problem(
        surface=surface,
        optimizer=optimizer,
        schedule=schedule,
        noise=noise,
        clip=clip,
        start=points.expand(-1, max(batch, points.shape[1])),
        steps=steps,
        limits=limits,
        record=record,
        rest_is_given=stop.gradient is not None,
    )


def _points(start: Sequence[Number] | Tensor, dim: int) -> Tensor:
    """The starts as a tensor ``(dim, B)``.

    Raises:
        UserError: they are not `dim` coordinates of one or of B runs.
    """
    reason = f"must be {dim} coordinates, one per dimension, or a tensor of shape ({dim}, B)"
    try:
        if len(start) != dim:
            raise UserError("start", start, reason)
        points = start.detach() if isinstance(start, Tensor) else columns(start)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise UserError("start", start, reason) from error
    if points.dim() == 1:
        points = points[:, None]
    if points.dim() != 2 or not points.shape[1] or points.is_complex():
        raise UserError("start", start, reason)
    return points.to_dense()


def _check_kind(name: str, part: Any, kind: type | tuple[type, ...]) -> None:
    """Checks that a part is what it should be.

    Raises:
        UserError: it is not.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    known = " or ".join(f"{one.__module__.split('.')[1]}.{one.__name__}" for one in kinds)
    if isinstance(part, type):
        raise UserError(name, part.__name__, f"is a class; give an instance, {part.__name__}(...)")
    if not isinstance(part, kinds):
        raise UserError(name, part, f"must be of type {known}")
    if not is_dataclass(part):
        reason = "must be a dataclass: put @dataclass(frozen=True) before its class"
        raise UserError(name, type(part).__name__, reason)


def _recorded(what: Any) -> Record:
    """The record of that kind.

    Raises:
        UserError: there is no such kind.
    """
    try:
        return Record(what=what)
    except UserError as mistake:
        raise UserError("record", what, f"{mistake.reason}, or a Record") from None
