"""Runs the jobs of a sweep in this process, what they compute done in batches.

A job does what Hydra's ``run_job`` does: folder, ``.hydra``, logging, ``HydraConfig``. Where
nothing can see the difference, jobs of one structure share what is equal in all of them, and it
takes two milliseconds instead of fifteen; otherwise ``run_job`` does it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, configure_log, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from gradexp.sweeps.composition import Composer, Job, Template, without_hydra
from gradexp.sweeps.job_files import JobFiles
from gradexp.sweeps.job_logging import JobLogging


@runtime_checkable
class ComputesAhead(Protocol):
    """A task function that computes many jobs at once where it is told of them before they run.

    It keeps neither a config nor what `HydraConfig` holds: the next job's are written over them.
    """

    def __call__(self, config: DictConfig) -> Any:
        """Does a job."""

    def put_down(self, config: DictConfig, number: int) -> bool:
        """Is told of a job and its number; answers whether that is enough for now."""

    def compute_ahead(self) -> None:
        """Computes the jobs that it was told of since."""


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
    jobs = (composer.compose(some, first + index) for index, some in enumerate(job_overrides))
    fail_fast = bool(OmegaConf.select(master, "sweep.fail_fast", default=False))
    shared = _Shared(task)
    returns: list[JobReturn] = []
    try:
        for job in _announced(jobs, task) if isinstance(task, ComputesAhead) else jobs:
            if isinstance(task, ComputesAhead) and _is_plain(job.template):
                returns.append(shared.run(job))
            else:
                returns.append(_run_by_hydra(context, task, job))
            if fail_fast and returns[-1].status is JobStatus.FAILED:
                break
    finally:
        configure_log(master.hydra.hydra_logging, master.hydra.verbose)
    return returns


def _announced(jobs: Iterable[Job], task: ComputesAhead) -> Iterator[Job]:
    """The jobs, of each of which the task was told before it comes."""
    waiting: list[Job] = []
    for job in jobs:
        waiting.append(job)
        if task.put_down(job.on_task_slate(), job.number):
            task.compute_ahead()
            yield from waiting
            waiting = []
    task.compute_ahead()
    yield from waiting


def _run_by_hydra(context: HydraContext, task: TaskFunction, job: Job) -> JobReturn:
    return run_job(
        hydra_context=context,
        task_function=task,
        config=job.config(),
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


def _is_plain(template: Template) -> bool:
    """Whether jobs of a template do nothing but write files and call the task."""
    hydra = template.config.hydra
    return not (
        hydra.callbacks or hydra.job.chdir or hydra.job.env_set or hydra.output_subdir is None
    )


class _Return(JobReturn):
    """What a job gave back; its configs are made when they are asked for: those of ten thousand
    jobs would take gigabytes."""

    def __init__(self, job: Job, folder: str) -> None:
        self._job = job
        self._folder = folder
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
            config.hydra.runtime.output_dir = self._folder
        return OmegaConf.masked_copy(config, "hydra")

    @hydra_cfg.setter
    def hydra_cfg(self, value: object) -> None:
        """It is not kept."""


class _Shared:
    """Runs jobs one after the other, with what those of a structure share made once."""

    def __init__(self, task: TaskFunction) -> None:
        self._task = task
        self._files: dict[int, tuple[Template, JobFiles]] = {}
        self._logging = JobLogging()

    def run(self, job: Job) -> JobReturn:
        """Runs a job."""
        instance = HydraConfig.instance()
        before = instance.cfg
        folder = job.folder()
        config = job.on_slate()
        hydra = config.hydra
        hydra.runtime.output_dir = str(folder)
        instance.cfg = _holder(config)  # type: ignore[assignment]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._logging.turn_to(folder, job.template)
            own = {**job.values, **job.hydra, "hydra.runtime.output_dir": str(folder)}
            self._files_of(job.template, own).write(folder / hydra.output_subdir, own)
            result = _Return(job, str(folder))
            try:
                result.return_value = self._task(job.on_task_slate())
                result.status = JobStatus.COMPLETED
            except Exception as error:
                result.return_value = error
                result.status = JobStatus.FAILED
            result.task_name = JobRuntime.instance().get("name")
            return result
        finally:
            instance.cfg = before

    def _files_of(self, template: Template, own: dict[str, Any]) -> JobFiles:
        """What is made once for a template, which is kept so that its id stays its own."""
        if id(template) not in self._files:
            self._files[id(template)] = (template, JobFiles(template.slate.config, own))
        return self._files[id(template)][1]


def _holder(config: DictConfig) -> DictConfig:
    """What `HydraConfig` holds for a config: its ``hydra`` alone, as it is and not a copy."""
    holder = OmegaConf.create({"hydra": None})
    content: Any = holder._content
    content["hydra"] = config._get_node("hydra")
    return holder
