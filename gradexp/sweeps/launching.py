"""Runs the jobs of a sweep: what they compute in batches, what they write on every core.

A job does what Hydra's ``run_job`` does: folder, ``.hydra``, logging, ``HydraConfig``. Where
nothing can see the difference, jobs of one structure share what is equal in all of them, and it
takes two milliseconds instead of fifteen; otherwise ``run_job`` does it.
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
"""Jobs that a process must have to do for it to be worth its start."""


@runtime_checkable
class ComputesInBatches(Protocol):
    """A task function that computes the numbers of many jobs at once, before they run.

    It keeps neither a config nor what `HydraConfig` holds: the next job's are written over them.
    """

    def __call__(self, config: DictConfig) -> Any:
        """Does a job."""

    def submit(self, config: DictConfig, number: int) -> bool:
        """Adds a job, with its number, to those to compute; whether enough of them wait now."""

    def compute_submitted(self) -> None:
        """Computes the jobs that wait."""

    def has(self, number: int) -> bool:
        """Whether a job is computed, so that a process forked from this one can do it."""


@runtime_checkable
class Composing(Protocol):
    """A launcher that takes the composer of its sweep: gradexp's. It is known by that, for Hydra
    makes a plugin's class anew when it looks for plugins."""

    composer: Composer | None


def launch(
    context: HydraContext,
    task: TaskFunction,
    composer: Composer,
    job_overrides: Iterable[Sequence[str]],
    first: int,
) -> list[JobReturn]:
    """Runs jobs.

    Args:
        context: Hydra's.
        task: the task function.
        composer: of the sweep; with ``sweep.fail_fast`` nothing is run after a job failed.
        job_overrides: of each job.
        first: the number of the first.

    Returns:
        One for each job that was run.

    Raises:
        HydraException: a job's config cannot be composed.
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
    """Whether a job failed of something that every other will fail of, too: a full disk, say."""
    error = returned(job)
    return (
        job.status is JobStatus.FAILED
        and isinstance(error, OSError)
        and machine_failure(error) is not None
    )


def _announced(jobs: Iterable[Job], task: TaskFunction) -> Iterator[list[Job]]:
    """The jobs, in lists of those that the task has computed ahead where it can do that."""
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
    """What jobs gave back, in their order.

    Args:
        context: Hydra's.
        task: the task function.
        shared: runs those that share what is equal in them.
        jobs: computed ahead, if they can be.
        in_turn: whether a job is begun only when the one before is done.
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
    """Whether a sweep runs nothing after a job that failed."""
    return bool(OmegaConf.select(master, "sweep.fail_fast", default=False))


def is_free(template: Template) -> bool:
    """Whether jobs of a template can be done in any order, and by any process."""
    return _is_plain(template) and template.logs_apart


def _is_plain(template: Template) -> bool:
    """Whether jobs of a template do nothing but write files and call the task."""
    hydra = template.config.hydra
    return not (
        hydra.callbacks or hydra.job.chdir or hydra.job.env_set or hydra.output_subdir is None
    )


class _Return(JobReturn):
    """What a job gave back; its configs are made when they are asked for: those of ten thousand
    jobs would take gigabytes."""

    def __init__(self, job: Job) -> None:
        self._job = job
        super().__init__(overrides=job.overrides, working_dir=os.getcwd())

    @property
    def cfg(self) -> DictConfig:
        return without_hydra(self._job.config())

    @cfg.setter
    def cfg(self, value: object) -> None:
        """It is not kept."""

    @property
    def hydra_cfg(self) -> DictConfig:
        config = self._job.config()
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.runtime.output_dir = str(self._job.folder())
        return OmegaConf.masked_copy(config, "hydra")

    @hydra_cfg.setter
    def hydra_cfg(self, value: object) -> None:
        """It is not kept."""


class _Shared:
    """Runs jobs, with what those of a structure share made once."""

    def __init__(self, task: TaskFunction) -> None:
        self._task = task
        self._files: dict[int, tuple[Template, JobFiles]] = {}
        self._logging = JobLogging()

    def can_run(self, job: Job) -> bool:
        """Returns whether what is left of a job that is run here is what Hydra leaves."""
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
        """Runs jobs that wait for nothing, by as many processes as are worth it."""
        ended = done_by(worthwhile(len(jobs), JOBS_EACH), jobs, self._do)
        return [_returned(job, *end) for job, end in zip(jobs, ended, strict=True)]

    def _do(self, job: Job) -> tuple[JobStatus, Any]:
        """Does a job; gives how it ended, and what the task returned or raised."""
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
        """Returns the values that other jobs of the template have otherwise, by dotted key."""
        return {**job.values, **job.hydra, "hydra.runtime.output_dir": str(job.folder())}

    def _files_of(self, template: Template, own: dict[str, Any]) -> JobFiles:
        """What is made once for a template, which is kept so that its id stays its own."""
        if id(template) not in self._files:
            self._files[id(template)] = (template, JobFiles(template.reusable.config, own))
        return self._files[id(template)][1]


def left_by_hydra(job: Job) -> tuple[dict[str, str], Any]:
    """Returns the files that Hydra's ``run_job`` writes of a job's config, and what `HydraConfig`
    holds meanwhile."""
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
