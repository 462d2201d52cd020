"""A launcher that runs only the jobs without complete results, and records their status."""

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
    """Whether the ``.hydra`` files in a folder belong to a job, or the job writes none.

    Only the overrides are compared. The config itself may differ, because it may have been composed
    from the defaults of another version of gradexp.
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
    """Wraps any launcher so that it runs only the jobs whose results are not complete.

    Args:
        launcher: the launcher that runs the jobs, already set up.
        composer: the composer of the sweep.
        status: the status of the sweep, to which the jobs are added.
        check: checks the config of a job, and raises `UserError` if it does not describe a run.
            None if the sweep is split into batches, because all jobs of the first one may fail.
        recall: returns what the task returned for a job, given the job's complete folder.
        announce: called with the number of jobs before they run.
        resumed: whether the sweep was started before. The job folders may then hold incomplete
            results, and files that the user added.
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
        """Does nothing: the wrapped launcher is already set up."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Runs the jobs whose folders are not complete.

        Returns:
            One item per job, in order, including jobs that were complete before. The list is
            shorter if the launcher stopped at a failure.

        Raises:
            UserError: if two jobs would write to one folder, a job's folder is outside the sweep's
                folder or not empty, or no job of the first batch describes a run.
            OSError: if a job failed for a reason that affects all others, such as a full disk.
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
            for index in indices if self._resumed else ():  # remove incomplete results
                clear(entries[index].folder, [f"{jobs[index].name()}.log"])
            first, end = indices[0], indices[-1] + 1
            some = self._launched(job_overrides[first:end], initial_job_idx + first)
            returns[first : first + len(some)] = some
            for job in some:
                if failed_of_machine(job):
                    raise returned(job)
            if len(some) < len(indices):  # the launcher stopped at a failure
                return returns[: first + len(some)]
        return returns

    def _launched(self, overrides: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
        """Runs jobs with the wrapped launcher.

        Raises:
            UserError: if a launcher that is not gradexp's raises an exception.
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
        """Returns the earlier result of a job; its status is unknown if it is not complete."""
        result = JobReturn(job.overrides, status=JobStatus.UNKNOWN)
        if self._resumed and is_sound(entry.folder) and _has_configs(job, entry.folder):
            result.status, result.return_value = JobStatus.COMPLETED, self._recall(entry.folder)
        return result

    def _entry(self, job: Job) -> Entry:
        return Entry(job.number, self._composer.values(job.overrides), job.folder())

    def _refuse_shared(self, entries: Sequence[Entry]) -> None:
        """Checks that every job has a folder of its own.

        Raises:
            UserError: if two jobs would write to one folder.
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
        """Checks that at least one job of the first batch describes a run.

        Raises:
            UserError: the error of the first job, if none of the jobs describes a run.
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
