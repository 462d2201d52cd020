"""Predicts the batches, the time and the disk space of a sweep without running it.

The engine predicts the time for the steps of each batch. The remaining time per job and its disk
space are measured: a few of the sweep's jobs are run in a temporary folder, with fewer steps if
they have many.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from gradexp.config.build import Builder, settings_of
from gradexp.errors import one_line
from gradexp.experiment import Experiment
from gradexp.jobs.batches import BatchQueue, alike, forecast, trace_bytes
from gradexp.jobs.job import Result
from gradexp.jobs.task import Task
from gradexp.processes.workers import worthwhile
from gradexp.sweeps.composition import Composer, Job
from gradexp.sweeps.launching import JOBS_EACH, is_free, launch, stops_at_failure

_SAMPLE = (3, 33)
"""The fewest and the most jobs that are run to measure the cost of one. In between it is one job in
eight, because each job of a small sweep also draws a figure, which takes time."""

_STEPS = 1_000
"""The most steps of such a job. With many more, the time for the steps would hide the time for the
files."""

_SECONDS, _BYTES = 10.0, 2**28
"""Limits on the time for the steps of all these jobs and on the size of their traces."""

_BLOCK = 4096
"""Size of the blocks in which a disk allocates space, in bytes."""


class Batch(NamedTuple):
    """Runs that would be computed together."""

    runs: int
    steps: int
    engine: str
    """name of the engine that would run them"""


class Forecast(NamedTuple):
    """The predicted cost of a sweep."""

    folder: Path
    jobs: int
    failures: dict[int, str]
    """why jobs would fail, by job number"""
    batches: list[Batch]
    steps: float
    """seconds for the steps of all batches if no run ends early"""
    besides: float | None
    """seconds per job for everything except its steps; None if the launcher is not gradexp's"""
    room: float
    """disk space per job, in bytes"""


class DryRunLauncher(Launcher):
    """A launcher that runs no jobs and predicts what running them would cost.

    Args:
        context: Hydra's context.
        composer: the composer of the sweep.
        config: the sweep's own config, but with a temporary folder.
        vectorized: whether the real launcher is gradexp's, which computes jobs in batches.
    """

    def __init__(
        self, context: HydraContext, composer: Composer, config: DictConfig, vectorized: bool
    ) -> None:
        self._context = context
        self._composer = composer
        self._config = config
        self._vectorized = vectorized
        self._jobs = 0
        self._composing = 0.0
        self._checking = 0.0
        self._builder = Builder()
        self._runs: list[tuple[list[str], Experiment]] = []
        self._failures: dict[int, str] = {}
        self._batches: list[Batch] = []
        self._steps = 0.0
        self._building: dict[Hashable, float] = {}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Does nothing: the launcher is complete when it is created."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Records jobs without running them, and returns no results.

        A search needs results to continue, so it ends after its first batch.
        """
        begun = time.perf_counter()
        jobs = [
            self._composer.compose(overrides, initial_job_idx + index)
            for index, overrides in enumerate(job_overrides)
        ]
        composed = time.perf_counter()
        queue = BatchQueue()
        for job in jobs:
            if self._submit(job, queue):
                self._forecast_batches(queue)
        self._forecast_batches(queue)
        self._jobs += len(jobs)
        self._composing += composed - begun
        self._checking += time.perf_counter() - composed
        return []

    def _submit(self, job: Job, queue: BatchQueue) -> bool:
        """Adds a job to the queue; returns whether the queue is full.

        If the launcher does not compute jobs in batches, the job is a batch of its own.
        """
        try:
            settings = settings_of(job.reused_task_config())
            run = self._builder.build(settings)
        except Exception as error:
            self._failures[job.number] = one_line(error)
            return False
        self._runs.append((job.overrides, run))
        if self._vectorized:
            return queue.submit(settings, run)
        self._add([run])
        return False

    def _forecast_batches(self, queue: BatchQueue) -> None:
        for together in queue.drain():
            self._add(list(together.values()))

    def _add(self, runs: list[Experiment]) -> None:
        """Adds a batch to the forecast."""
        engine, seconds, self._building[alike(runs[0])] = forecast(runs)
        self._batches.append(Batch(len(runs), runs[0].steps, engine))
        self._steps += seconds

    def forecast(self, folder: Path, jobs: int) -> Forecast:
        """Returns the predicted cost of the sweep.

        Args:
            folder: the sweep's folder.
            jobs: the number of jobs. A search has more jobs than were launched here; they are
                assumed to cost the same.
        """
        times = -(-jobs // max(self._jobs, 1))
        steps = self._steps * times + sum(self._building.values())
        besides, room = self._measured(jobs) if self._runs else (0.0, 0.0)
        return Forecast(
            folder,
            jobs,
            self._failures,
            self._batches * times,
            steps,
            besides if self._vectorized else None,
            room,
        )

    def _measured(self, jobs: int) -> tuple[float, float]:
        """Runs some jobs; returns the seconds per job without its steps, and its bytes on disk."""
        last, count = len(self._runs) - 1, max(_SAMPLE[0], min(_SAMPLE[1], jobs // 8))
        chosen = [self._runs[round(last * index / (count - 1))] for index in range(count)]
        sample = [_cut_short(overrides, run, count) for overrides, run in chosen]
        pilot = _Pilot(jobs)
        composer = Composer(self._context.config_loader, self._config)
        with _unheard():
            launch(self._context, pilot, composer, [overrides for overrides, _ in sample], 0)
        before = (self._composing + self._checking) / self._jobs
        cut = sum(trace_bytes(run) for _, run in chosen) - sum(
            trace_bytes(run) for _, run in sample
        )
        room = (_room(Path(self._config.hydra.sweep.dir)) + cut) / count
        template = composer.compose(sample[0][0], 0).template
        in_turn = stops_at_failure(self._config) or not is_free(template)
        hands = 1 if in_turn else worthwhile(jobs, JOBS_EACH)
        return before + pilot.each() / hands, room


class _Pilot(Task):
    """A task that records when each of its jobs ends, and whose jobs run one after another."""

    def __init__(self, jobs: int) -> None:
        super().__init__()
        self.expect(jobs)
        self._ends: list[float] = []

    def __call__(self, config: DictConfig) -> Result:
        try:
            return super().__call__(config)
        finally:
            self._ends.append(time.perf_counter())

    def has(self, number: int) -> bool:
        return False

    def each(self) -> float:
        """Returns the median time between the ends of two successive jobs, in seconds.

        The time before the first end does not count, because the first job imports modules.
        """
        return median(after - before for before, after in pairwise(self._ends))


def _cut_short(overrides: list[str], run: Experiment, count: int) -> tuple[list[str], Experiment]:
    """Returns a job with so few steps that `count` jobs like it stay within the limits."""
    short = replace(run, steps=min(run.steps, _STEPS))
    while short.steps > 1 and (
        count * forecast([short]).seconds > _SECONDS or count * trace_bytes(short) > _BYTES
    ):
        short = replace(short, steps=short.steps // 2)
    if short.steps == run.steps:
        return overrides, run
    others = [override for override in overrides if override.partition("=")[0] != "steps"]
    return [*others, f"steps={short.steps}"], short


def _room(folder: Path) -> int:
    """Returns the bytes that the jobs in a sweep's folder occupy on disk, in whole blocks."""
    jobs = [job for job in folder.iterdir() if job.is_dir()]
    inside = [path for job in jobs for path in (job, *job.rglob("*"))]
    return sum(-(-path.stat().st_size // _BLOCK) * _BLOCK for path in inside)


@contextmanager
def _unheard() -> Iterator[None]:
    """Disables logging."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        yield
    finally:
        logging.disable(before)
