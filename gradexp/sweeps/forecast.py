"""What a sweep would take, before it is run: its batches, its time, its disk.

The steps of a batch are predicted by the engine. What a job takes besides is measured: a few of the
sweep's jobs are run into a folder that is thrown away, cut short where they have many steps.
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
"""How many jobs are run to measure what one takes, at least and at most; of few jobs every eighth,
for each of those has a figure of its own."""

_STEPS = 1_000
"""The most steps that they make: their own time is not to drown that of their files."""

_SECONDS, _BYTES = 10.0, 2**28
"""What the steps of all of them are to take at most, and their traces."""

_BLOCK = 4096
"""Bytes that a disk gives at a time."""


class Batch(NamedTuple):
    """Runs that would be computed together."""

    runs: int
    steps: int
    engine: str
    """what would run them"""


class Forecast(NamedTuple):
    """What a sweep would take."""

    folder: Path
    jobs: int
    failures: dict[int, str]
    """why jobs would fail, by their number"""
    batches: list[Batch]
    steps: float
    """seconds that they would take, where no run ends early"""
    besides: float | None
    """seconds that a job would take besides; None where the launcher is not gradexp's"""
    room: float
    """bytes that a job would take"""


class DryRunLauncher(Launcher):
    """In the place of a launcher: runs no job, and works out what the jobs would take.

    Args:
        context: Hydra's.
        composer: of the sweep.
        config: the sweep's own, but for its folder, which is thrown away.
        vectorized: whether the launcher is gradexp's, which computes jobs in batches.
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
        """There is nothing to set up."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Puts jobs down; a search, which goes by what they come to, ends here."""
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
        """Adds a job to the queue; whether as many wait as are computed at once."""
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
        """Adds a batch."""
        engine, seconds, self._building[alike(runs[0])] = forecast(runs)
        self._batches.append(Batch(len(runs), runs[0].steps, engine))
        self._steps += seconds

    def forecast(self, folder: Path, jobs: int) -> Forecast:
        """What the sweep would take.

        Args:
            folder: the sweep's.
            jobs: how many it has; of a search, more than are known now.
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
        """Seconds and bytes that a job takes besides its steps, by some that are run."""
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
    """Notes when its jobs end; they are done in turn."""

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
        """Seconds from one end to the next; those until the first one, which imports, aside."""
        return median(after - before for before, after in pairwise(self._ends))


def _cut_short(overrides: list[str], run: Experiment, count: int) -> tuple[list[str], Experiment]:
    """A job of so few steps that so many like it can be tried."""
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
    """What the jobs in a sweep's folder take on a disk that gives space by blocks."""
    jobs = [job for job in folder.iterdir() if job.is_dir()]
    inside = [path for job in jobs for path in (job, *job.rglob("*"))]
    return sum(-(-path.stat().st_size // _BLOCK) * _BLOCK for path in inside)


@contextmanager
def _unheard() -> Iterator[None]:
    """Lets nothing be logged."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        yield
    finally:
        logging.disable(before)
