"""Runs the jobs of a sweep: computes them in batches and writes their files in several processes.

For each job, Hydra's ``run_job`` creates the folder, writes ``.hydra``, configures logging and sets
``HydraConfig``. If the result is the same, jobs of one structure share the parts that are equal in
all of them, which takes 2 ms per job instead of 15 ms. Otherwise ``run_job`` itself is called.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, configure_log, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from gradexp.config.application import without_hydra
from gradexp.config.internals import returned, view
from gradexp.errors import machine_failure
from gradexp.processes.workers import done_by, worthwhile
from gradexp.sweeps import shortcuts
from gradexp.sweeps.composition import Composer, Job, Template, plain
from gradexp.sweeps.job_files import JobFiles
from gradexp.sweeps.job_logging import JobLogging

JOBS_EACH = 16
"""The fewest jobs per process for which starting the process is worthwhile."""


@runtime_checkable
class ComputesInBatches(Protocol):
    """A task function that can compute the numbers of many jobs at once, before the jobs run.

    It must not keep a config or the contents of `HydraConfig`: both are overwritten for the next
    job.
    """

    def __call__(self, config: DictConfig) -> Any:
        """Runs a job."""

    def submit(self, config: DictConfig, number: int) -> bool:
        """Adds a job with its number to the queue; returns whether the queue is full."""

    def compute_submitted(self) -> None:
        """Computes the jobs in the queue."""

    def has(self, number: int) -> bool:
        """Whether a job has been computed, so that a process forked from this one can run it."""


@runtime_checkable
class Composing(Protocol):
    """A launcher that accepts the composer of its sweep, as gradexp's launcher does.

    This attribute identifies gradexp's launcher. A check of its class would fail, because Hydra
    creates the classes of plugins again when it scans for them.
    """

    composer: Composer | None


def launch(
    context: HydraContext,
    task: TaskFunction,
    composer: Composer,
    job_overrides: Iterable[Sequence[str]],
    first: int,
) -> list[JobReturn]:
    """Runs jobs.

    No job is run after one that failed for lack of a resource, such as disk space. If the sweep's
    config sets ``sweep.fail_fast``, no job is run after any failure.

    Args:
        context: Hydra's context.
        task: the task function.
        composer: the composer of the sweep.
        job_overrides: the overrides of each job.
        first: the number of the first job.

    Returns:
        One item per job that was run, in order.

    Raises:
        HydraException: if a job's config cannot be composed.
    """
    setup_globals()
    master = composer.master
    configure_log(master.hydra.hydra_logging, master.hydra.verbose)
    Path(str(master.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
    jobs = (composer.take(some, first + index) for index, some in enumerate(job_overrides))
    fail_fast = stops_at_failure(master)
    shared = _Shared(task)
    returns: list[JobReturn] = []
    try:
        for together in _announced(jobs, task):
            for result in _done(context, task, shared, together, fail_fast):
                returns.append(result)
                if failed_of_machine(result) or (fail_fast and result.status is JobStatus.FAILED):
                    return returns
    finally:
        configure_log(master.hydra.hydra_logging, master.hydra.verbose)
    return returns


def failed_of_machine(job: JobReturn) -> bool:
    """Whether a job failed for a reason that affects all other jobs too, such as a full disk."""
    error = returned(job)
    return (
        job.status is JobStatus.FAILED
        and isinstance(error, OSError)
        and machine_failure(error) is not None
    )


def _announced(jobs: Iterable[Job], task: TaskFunction) -> Iterator[list[Job]]:
    """Yields the jobs in lists, each of them after the task has computed it if it can do so."""
    if not isinstance(task, ComputesInBatches):
        yield from ([job] for job in jobs)
        return
    waiting: list[Job] = []
    for job in jobs:
        waiting.append(job)
        if task.submit(job.reused_task_config(), job.number):
            task.compute_submitted()
            yield waiting
            waiting = []
    task.compute_submitted()
    yield waiting


def _done(
    context: HydraContext, task: TaskFunction, shared: _Shared, jobs: list[Job], in_turn: bool
) -> Iterator[JobReturn]:
    """Runs jobs and yields their results in order.

    Args:
        context: Hydra's context.
        task: the task function.
        shared: runs jobs that share the parts that are equal in all of them.
        jobs: the jobs, already computed if the task computes in batches.
        in_turn: whether a job may start only after the job before it has ended.
    """

    def way(job: Job) -> str:
        if not isinstance(task, ComputesInBatches) or not _is_plain(job.template):
            return "Hydra's"
        if not shared.can_run(job):
            return "Hydra's"
        free = not in_turn and is_free(job.template) and task.has(job.number)
        return "free" if free else "in turn"

    for chosen, some in groupby(jobs, way):
        if chosen == "free":
            yield from shared.run_all(list(some))
            continue
        for job in some:
            yield shared.run(job) if chosen == "in turn" else _run_by_hydra(context, task, job)


def _run_by_hydra(context: HydraContext, task: TaskFunction, job: Job) -> JobReturn:
    return run_job(
        hydra_context=context,
        task_function=task,
        config=job.config(),
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


def stops_at_failure(master: DictConfig) -> bool:
    """Whether a sweep stops after the first job that fails."""
    return bool(OmegaConf.select(master, "sweep.fail_fast", default=False))


def is_free(template: Template) -> bool:
    """Whether jobs of a template can run in any order and in any process."""
    return _is_plain(template) and template.logs_apart


def _is_plain(template: Template) -> bool:
    """Whether jobs of a template only write files and call the task.

    That excludes callbacks, a change of the working directory or of environment variables, and
    jobs without a ``.hydra`` folder.
    """
    hydra = template.config.hydra
    return not (
        hydra.callbacks or hydra.job.chdir or hydra.job.env_set or hydra.output_subdir is None
    )


class _Return(JobReturn):
    """The result of a job, whose configs are made on access.

    The configs of ten thousand jobs would take gigabytes of memory.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        super().__init__(overrides=job.overrides, working_dir=os.getcwd())

    @property
    def cfg(self) -> DictConfig:
        return without_hydra(self._job.config())

    @cfg.setter
    def cfg(self, value: object) -> None:
        """Ignores the value."""

    @property
    def hydra_cfg(self) -> DictConfig:
        config = self._job.config()
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.runtime.output_dir = str(self._job.folder())
        return OmegaConf.masked_copy(config, "hydra")

    @hydra_cfg.setter
    def hydra_cfg(self, value: object) -> None:
        """Ignores the value."""


class _Shared:
    """Runs jobs, and makes the parts that are equal in all jobs of a structure only once."""

    def __init__(self, task: TaskFunction) -> None:
        self._task = task
        self._files: dict[int, tuple[Template, JobFiles]] = {}
        self._logging = JobLogging()

    def can_run(self, job: Job) -> bool:
        """Whether a job run here writes the same files and sets the same `HydraConfig` as Hydra.

        This is compared for the first job only: see `gradexp.sweeps.shortcuts.try_once`.
        """
        return shortcuts.try_once(
            "writing a job's files", lambda: self._leaves(job), lambda: left_by_hydra(job)
        )

    def _leaves(self, job: Job) -> Any:
        own = self._own(job)
        config = job.reused_config()
        config.hydra.runtime.output_dir = str(job.folder())
        return self._files_of(job.template, own).texts(own), plain(view(config, "hydra"))

    def run(self, job: Job) -> JobReturn:
        """Runs a job."""
        return _returned(job, *self._do(job))

    def run_all(self, jobs: Sequence[Job]) -> list[JobReturn]:
        """Runs jobs that do not depend on each other, in as many processes as are worthwhile."""
        ended = done_by(worthwhile(len(jobs), JOBS_EACH), jobs, self._do)
        return [_returned(job, *end) for job, end in zip(jobs, ended, strict=True)]

    def _do(self, job: Job) -> tuple[JobStatus, Any]:
        """Runs a job; returns its status, and what the task returned or raised."""
        instance = HydraConfig.instance()
        before = instance.cfg
        folder = job.folder()
        config = job.reused_config()
        hydra = config.hydra
        hydra.runtime.output_dir = str(folder)
        instance.cfg = view(config, "hydra")  # type: ignore[assignment]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._logging.turn_to(folder, job.template)
            own = self._own(job)
            self._files_of(job.template, own).write(folder / hydra.output_subdir, own)
            try:
                return JobStatus.COMPLETED, self._task(job.reused_task_config())
            except Exception as error:
                return JobStatus.FAILED, error
        finally:
            instance.cfg = before

    def _own(self, job: Job) -> dict[str, Any]:
        """Returns the values that differ between jobs of the template, by dotted key."""
        return {**job.values, **job.hydra, "hydra.runtime.output_dir": str(job.folder())}

    def _files_of(self, template: Template, own: dict[str, Any]) -> JobFiles:
        """Returns the `JobFiles` of a template, which are made once.

        The template is stored with them, so that its id is not reused for another object.
        """
        if id(template) not in self._files:
            self._files[id(template)] = (template, JobFiles(template.reusable.config, own))
        return self._files[id(template)][1]


def left_by_hydra(job: Job) -> tuple[dict[str, str], Any]:
    """Returns what Hydra's ``run_job`` makes of a job's config.

    Returns:
        The contents of the files in ``.hydra`` by file name, and those of `HydraConfig` during the
        job.
    """
    config = job.config()
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.runtime.output_dir = str(job.folder())
    hydra = OmegaConf.masked_copy(config, "hydra")
    texts = {
        "config.yaml": OmegaConf.to_yaml(without_hydra(config)),
        "hydra.yaml": OmegaConf.to_yaml(hydra),
        "overrides.yaml": OmegaConf.to_yaml(config.hydra.overrides.task),
    }
    return texts, plain(hydra)


def _returned(job: Job, status: JobStatus, value: Any) -> JobReturn:
    result = _Return(job)
    result.status, result.return_value = status, value
    result.task_name = JobRuntime.instance().get("name")
    return result
