"""Computes the runs of experiments; those of the same structure are computed as one batch."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradexp.analysis import PREDICTIONS, Outcome, judge, metrics, predictions
from gradexp.clips import Unclipped
from gradexp.engine import DTYPES, Batched, Forecast, Problem, Reference, Trace, pose
from gradexp.errors import UserError, one_line
from gradexp.experiment import Experiment, Log
from gradexp.initializations import starts
from gradexp.noises import Gaussian, Noise
from gradexp.numbers import is_zero, stack, structure, substitute
from gradexp.optimizers import Optimizer
from gradexp.schedules import Constant

log = logging.getLogger(__name__)

_MOST_BYTES = 2**27
"""The limit on the recorded traces that are kept at a time, in bytes."""

_MOST_RUNS, _MOST_REFERENCE = 1024, 32
"""The most runs that are computed ahead, by any engine and by the reference engine. The results of
so many are lost when a sweep is killed."""


class Computed(NamedTuple):
    """The results of a run."""

    experiment: Experiment
    arrays: dict[str, np.ndarray]
    """by name: its trace up to its last step, as far as it was recorded, and the hyperparameters
    that were scheduled"""
    outcome: Outcome
    figures: dict[str, Any]
    theory: dict[str, float | None]
    """the predictions of theory, or None where there are none"""
    engine: str
    """the name of the engine that ran it"""
    device: str
    seconds: float
    """its share of the time that its batch took"""


def compute(
    experiments: Sequence[Experiment], progress: Callable[[int], None] | None = None
) -> list[Computed]:
    """Computes experiments that can share a batch (see `batches`), each as if it ran alone.

    Args:
        experiments: the experiments.
        progress: is called now and then with the number of steps that are done.

    Raises:
        UserError: if one of them cannot be run.
    """
    traced = _traced(experiments, progress)
    return [_computed(run, traced, index) for index, run in enumerate(experiments)]


class _Traced(NamedTuple):
    """The traces of a batch of runs, which are not analyzed yet."""

    trace: Trace
    device: str
    seconds: float
    """the share of each run in the time that they took"""


def _traced(
    experiments: Sequence[Experiment], progress: Callable[[int], None] | None = None
) -> _Traced:
    began = time.perf_counter()
    problem, engine = _posed(experiments)
    if progress is not None:
        problem = replace(problem, progress=progress)
    try:
        trace = engine.run(problem)
    except UserError as mistake:
        raise mistake.under("engine") if mistake.key == "compile" else mistake from None
    device = trace.end.device.type
    trace = trace.cpu()
    return _Traced(trace, device, (time.perf_counter() - began) / len(experiments))


def forecast(experiments: Sequence[Experiment]) -> Forecast:
    """Predicts what computing experiments that can share a batch would take.

    Raises:
        UserError: if one of them cannot be run.
    """
    problem, engine = _posed(experiments)
    return engine.forecast(problem)


def _posed(experiments: Sequence[Experiment]) -> tuple[Problem, Batched | Reference]:
    """Returns the problem that the experiments of a batch pose, and the engine that solves it."""
    first = experiments[0]
    one = stack([_shared(run) for run in experiments]) if len(experiments) > 1 else first
    problem = pose(
        one.surface,
        starts(one.init, one.surface, batch=len(experiments)),
        one.optimizer,
        steps=first.steps,
        schedule=one.schedule,
        noise=one.noise,
        clip=one.clip,
        stop=one.stop,
        record=first.record,
        dtype=first.dtype,
        device=first.device,
    )
    return replace(problem, alone=True), first.engine


def _computed(run: Experiment, traced: _Traced, index: int) -> Computed:
    """Analyzes one run of a batch, using a single thread.

    The eigenvalues of a large Hessian differ in their last bits with the number of threads.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _looked_at(run, traced, index)
    finally:
        torch.set_num_threads(threads)


def _looked_at(run: Experiment, traced: _Traced, index: int) -> Computed:
    trace = traced.trace
    tolerances = tuple(float(tolerance) for tolerance in run.record.tolerances)
    parts = trace.run(index)._asdict()
    outcome = judge(run.surface, run.stop, trace, index)
    return Computed(
        experiment=run,
        arrays={
            **{name: part.numpy() for name, part in parts.items() if part is not None},
            **scheduled(run, parts["step"]),
        },
        outcome=outcome,
        figures=metrics(run.surface, trace, index, tolerances),
        theory=_theory(run, outcome, parts["point"]),
        engine=trace.engine,
        device=traced.device,
        seconds=traced.seconds,
    )


def scheduled(run: Experiment, step: Tensor) -> dict[str, np.ndarray]:
    """Returns the hyperparameters that the schedule changes, by name, at the steps ``(R,)``."""
    if isinstance(run.schedule, Constant):
        return {}
    dtype = DTYPES[run.dtype]
    values = run.schedule.values(run.optimizer.hyperparameters(), step[:, None].to(dtype))
    rows = {name: torch.as_tensor(value, dtype=dtype) for name, value in values.items()}
    return {name: row.expand(len(step), 1)[:, 0].numpy() for name, row in rows.items()}


def _theory(run: Experiment, outcome: Outcome, points: Tensor | None) -> dict[str, float | None]:
    """Returns what theory predicts for a run, by name.

    All predictions are None unless the schedule is constant, gradients are not clipped, the noise
    is Gaussian with a constant standard deviation (or none), and the optimizer is a component, not
    a class of ``torch.optim``.

    Args:
        run: the experiment.
        outcome: how the run ended.
        points: ``(R, dim)``, of which the first is the start; None if they were not recorded.
    """
    alike = isinstance(run.schedule, Constant) and isinstance(run.clip, Unclipped)
    std = _noise(run.noise)
    if not alike or std is None or not isinstance(run.optimizer, Optimizer):
        return dict.fromkeys(PREDICTIONS)
    curvatures = None
    if outcome.word == "converged":
        curvatures = outcome.evidence["hessian_eigenvalues"]
    elif outcome.word == "noise_floor":
        curvatures = outcome.evidence["noise_floor"]["hessian_eigenvalues"]
    start = None if points is None else points[0].double()
    return predictions(run.optimizer, run.surface, start, curvatures, std)


def _noise(noise: Noise) -> float | None:
    """Returns the standard deviation of the noise in each coordinate, which is 0 without noise.

    None if the noise is not Gaussian, or depends on the gradient.
    """
    if noise.is_none():
        return 0.0
    if isinstance(noise, Gaussian) and is_zero(noise.relative):
        return float(noise.std)
    return None


def batches(experiments: Sequence[Experiment]) -> list[list[int]]:
    """Groups the experiments that can share a batch; returns the indices of each group."""
    groups: dict[Hashable, list[int]] = {}
    for index, run in enumerate(experiments):
        groups.setdefault(alike(run), []).append(index)
    return list(groups.values())


def alike(run: Experiment) -> Hashable:
    """Returns a key that is the same for runs that can share a batch."""
    return structure(_shared(run)), run.record


def _shared(run: Experiment) -> Experiment:
    """Returns an experiment with the settings that do not affect batching set to their defaults.

    These are what is logged, and the seed, which the components have already received.
    """
    return substitute(run, log=Log(), seed=0)


class BatchQueue:
    """Runs that are computed in batches before the jobs of a sweep need them."""

    def __init__(self) -> None:
        self._waiting: dict[str, Experiment] = {}
        self._traced: dict[str, tuple[Experiment, _Traced, int]] = {}
        self._bytes = 0

    def submit(self, settings: dict[str, Any], run: Experiment) -> bool:
        """Adds a run to those that wait to be computed.

        Args:
            settings: its config as plain values, by which it is found later.
            run: the experiment.

        Returns:
            Whether enough runs are waiting that they should be computed now.
        """
        self._waiting[_key(settings)] = run
        self._bytes += trace_bytes(run)
        most = _MOST_REFERENCE if isinstance(run.engine, Reference) else _MOST_RUNS
        return self._bytes >= _MOST_BYTES or len(self._waiting) >= most

    def drain(self) -> list[dict[str, Experiment]]:
        """Removes the runs that wait, and returns those of each batch by their settings."""
        keys, runs = list(self._waiting), list(self._waiting.values())
        self._waiting, self._bytes = {}, 0
        return [{keys[index]: runs[index] for index in batch} for batch in batches(runs)]

    def compute(self) -> None:
        """Computes the runs that wait, and discards those that were computed before."""
        self._traced = {}
        for batch in self.drain():
            try:
                traced = _traced(list(batch.values()))
            except Exception as error:  # alone, only the run that causes it will fail, in its job
                log.warning(f"{len(batch)} runs are made one by one: {one_line(error)}")
                continue
            for index, (key, run) in enumerate(batch.items()):
                self._traced[key] = run, traced, index

    def has(self, settings: dict[str, Any]) -> bool:
        """Whether the run with these settings has been computed."""
        return _key(settings) in self._traced

    def take(self, settings: dict[str, Any]) -> Computed | None:
        """Returns the results of the run with these settings; None if it was not computed."""
        found = self._traced.get(_key(settings)) if self._traced else None
        return found and _computed(*found)


def _key(settings: dict[str, Any]) -> str:
    return json.dumps(settings, default=repr)


def trace_bytes(run: Experiment) -> int:
    """Returns the size of a run's recorded trace, in bytes."""
    rows = len(run.record.steps(run.steps))
    numbers = {"trace": run.surface.dim + 2, "loss": 1, "metrics": 0}[run.record.what]
    return rows * (8 + numbers * DTYPES[run.dtype].itemsize)
