"""`optimize`, the Python entry point of the engine, and the checks that it makes beforehand."""

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

    Any number in the surface, start, optimizer, schedule, noise, clip or stop may be a tensor of
    shape ``(B,)`` with one value for each of B runs. Plain numbers are shared by all runs.

    Args:
        surface: the function to minimize.
        start: `dim` numbers, or a tensor of shape ``(dim,)`` or ``(dim, B)``.
        optimizer: the update rule.
        steps: the maximum number of steps of a run, at least 1.
        schedule: how hyperparameters change over the steps; constant if None.
        noise: what is added to the gradient; nothing if None.
        clip: how large gradients are limited; not at all if None.
        stop: when a run ends before its last step; `Stop()` if None.
        record: what to keep of each step.
        dtype: ``"float64"`` or ``"float32"``.
        device: ``"auto"`` (CUDA if available, else the CPU), ``"cpu"``, ``"cuda"``, ``"cuda:N"``,
            or a `torch.device`.
        compile: whether to compile the steps, see `Batched`; ignored if `engine` is given.
        engine: the engine that runs the batch; ``Batched(compile=compile)`` if None.
        progress: called from time to time with the number of steps that the batch has completed.

    Returns:
        The trace, on the device that computed it (see `Trace.cpu`).

    Raises:
        UserError: if a value is not allowed.
        ValueError: if tensors have values for different numbers of runs.

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
    """Checks the arguments of `optimize` and returns them as a problem for an engine.

    Raises:
        UserError: if a value is not allowed.
        ValueError: if tensors have values for different numbers of runs.
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
        if name != "stop":  # its limit may exceed the range of the dtype
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
    """Returns the starts as a tensor ``(dim, B)``.

    Raises:
        UserError: if they are not `dim` coordinates of one run or of B runs.
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
    """Checks that an argument is an instance of the expected type and a dataclass.

    Raises:
        UserError: if it is not.
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
    """Returns a `Record` of the given kind.

    Raises:
        UserError: if there is no such kind.
    """
    try:
        return Record(what=what)
    except UserError as mistake:
        raise UserError("record", what, f"{mistake.reason}, or a Record") from None
