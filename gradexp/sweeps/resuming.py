"""A launcher, observed: it runs what is not there yet, and what becomes of it is noted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from gradexp.config.internals import returned
from gradexp.errors import UserError, machine_failure, one_line
from gradexp.files.yaml import read_plain
from gradexp.results import is_sound
from gradexp.results.output_folder import check_empty, check_job_folders, clear
from gradexp.sweeps.composition import Composer, Job
from gradexp.sweeps.launching import failed_of_machine
from gradexp.sweeps.status import Entry, SweepStatus


def _has_configs(job: Job, folder: Path) -> bool:
    """Whether a job's folder holds the configs of the job, where they are to be written.

    Its config may have been composed from other defaults, of another gradexp.
    """
    if job.template.config.hydra.output_subdir is None:
        return True
    names = ("config.yaml", "hydra.yaml", "overrides.yaml")
    try:
        config, about, told = (read_plain(folder / ".hydra" / name) for name in names)
    except (OSError, ValueError):
        return False
    whole = all(isinstance(one, dict) and one for one in (config, about))
    return whole and told == OmegaConf.to_container(job.reused_config().hydra.overrides.task)


class ResumingLauncher(Launcher):
    """Any launcher, told to run what is not whole yet.

    Args:
        launcher: set up already.
        composer: of the sweep.
        status: of the sweep; the jobs are noted in it.
        check: is given the config of a job; raises where it makes no run. None where a grid is cut
            into batches, of which the first may fail whole.
        recall: gives what the task gave for a job whose folder is whole.
        resumed: whether the sweep was begun before: its jobs' folders may hold what an interruption
            left, and what a person has put beside it.
        announce: called with the number of jobs before they run.
    """

    def __init__(
        self,
        launcher: Launcher,
        composer: Composer,
        status: SweepStatus,
        check: Callable[[DictConfig], None] | None,
        recall: Callable[[Path], Any],
        announce: Callable[[int], None],
        resumed: bool,
    ) -> None:
        self._launcher = launcher
        self._composer = composer
        self._status = status
        self._check = check
        self._recall = recall
        self._announce = announce
        self._resumed = resumed

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """The launcher was set up."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Runs those jobs whose folders are not whole.

        Raises:
            UserError: two jobs would write to one folder, a job's is not below the sweep's or not
                empty, or none of the first jobs makes a run.
            OSError: the disk is full, say: no other job could be run either.
        """
        jobs = [
            self._composer.compose(overrides, initial_job_idx + index)
            for index, overrides in enumerate(job_overrides)
        ]
        entries = [self._entry(job) for job in jobs]
        self._refuse_shared(entries)
        before = [entry.folder for entry in self._status.entries.values()]
        check_job_folders(self._status.folder, [entry.folder for entry in entries], before)
        if not self._resumed:
            for entry in entries:
                check_empty("hydra.sweep.subdir", entry.folder)
        self._refuse_hopeless(jobs)
        self._status.expect(entries)
        self._announce(self._status.jobs)
        returns = [self._recalled(job, entry) for job, entry in zip(jobs, entries, strict=True)]
        missing = [
            index for index, job in enumerate(returns) if job.status is not JobStatus.COMPLETED
        ]
        for _, together in groupby(enumerate(missing), lambda pair: pair[1] - pair[0]):
            indices = [index for _, index in together]
            for index in indices if self._resumed else ():  # what an interruption left
                clear(entries[index].folder, [f"{jobs[index].name()}.log"])
            first, end = indices[0], indices[-1] + 1
            some = self._launched(job_overrides[first:end], initial_job_idx + first)
            returns[first : first + len(some)] = some
            for job in some:
                if failed_of_machine(job):
                    raise returned(job)
            if len(some) < len(indices):  # it stops at a failure
                return returns[: first + len(some)]
        return returns

    def _launched(self, overrides: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
        """
        Raises:
            UserError: another's launcher cannot run any of the jobs.
        """
        try:
            return self._launcher.launch(overrides, first)
        except Exception as error:
            theirs = not type(self._launcher).__module__.startswith("hydra_plugins.gradexp_")
            if isinstance(error, UserError) or machine_failure(error) is not None or not theirs:
                raise
            name = type(self._launcher).__name__
            raise UserError("hydra.launcher", name, f"cannot run it: {one_line(error)}") from error

    def _recalled(self, job: Job, entry: Entry) -> JobReturn:
        """What a job came to before, if it was run."""
        result = JobReturn(job.overrides, status=JobStatus.UNKNOWN)
        if self._resumed and is_sound(entry.folder) and _has_configs(job, entry.folder):
            result.status, result.return_value = JobStatus.COMPLETED, self._recall(entry.folder)
        return result

    def _entry(self, job: Job) -> Entry:
        return Entry(job.number, self._composer.values(job.overrides), job.folder())

    def _refuse_shared(self, entries: Sequence[Entry]) -> None:
        """
        Raises:
            UserError: two jobs would write to one folder.
        """
        taken = {entry.folder: entry.number for entry in self._status.entries.values()}
        for entry in entries:
            other = taken.setdefault(entry.folder, entry.number)
            if other != entry.number:
                reason = (
                    f"must differ from job to job; it is the same for {other} and {entry.number}"
                )
                raise UserError("hydra.sweep.subdir", entry.folder.name, reason)

    def _refuse_hopeless(self, jobs: Sequence[Job]) -> None:
        """
        Raises:
            UserError: none of the jobs makes a run; it is the first one's.
        """
        first: UserError | None = None
        if self._check is None or self._status.entries:
            return
        for job in jobs:
            try:
                return self._check(job.reused_task_config())
            except UserError as mistake:
                first = first or mistake
        if first is not None:
            raise first
