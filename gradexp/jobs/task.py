"""The task function that Hydra calls for each job, alone or in a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from gradexp.config.build import Builder, build, settings_of
from gradexp.errors import one_line
from gradexp.jobs.batches import BatchQueue
from gradexp.jobs.job import Result, perform
from gradexp.results import write_failure


def check_job(config: DictConfig) -> None:
    """Checks that a job's config, without its ``hydra`` part, describes a run.

    Raises:
        UserError: if it does not.
    """
    build(settings_of(config))


class Task:
    """The task function that Hydra calls for each job."""

    def __init__(self) -> None:
        self._queue = BatchQueue()
        self._builder = Builder()
        self._settings: dict[int, dict[str, Any]] = {}
        """the settings of the jobs that are computed together, by job number"""
        self._together = True
        self._jobs = 1

    def expect(self, jobs: int) -> None:
        """Sets the number of jobs in the sweep."""
        self._jobs = jobs

    def __call__(self, config: DictConfig) -> Result:
        """Computes a run and writes its folder; in a sweep, also writes why a run failed.

        Raises:
            UserError: if something in the config is not allowed.
        """
        hydra = HydraConfig.get()
        swept = hydra.mode == RunMode.MULTIRUN
        folder = Path(hydra.runtime.output_dir)
        known = None
        if swept and not hydra.callbacks:  # a callback may have changed the config since
            known = self._settings.get(hydra.job.num)
        try:
            settings = known or settings_of(config)
            return perform(settings, folder, self._jobs if swept else None, self._queue)
        except Exception as error:
            if swept:
                write_failure(folder, one_line(error))
            raise

    def submit(self, config: DictConfig, number: int) -> bool:
        """Adds a job: see `gradexp.sweeps.launching.ComputesInBatches`."""
        if not self._together:
            self._settings, self._together = {}, True
        try:
            settings = settings_of(config)
            run = self._builder.build(settings)
        except Exception:
            return False  # the job itself will report it
        self._settings[number] = settings
        return self._queue.submit(settings, run)

    def compute_submitted(self) -> None:
        """Computes the jobs that wait: see `gradexp.sweeps.launching.ComputesInBatches`."""
        self._queue.compute()
        self._together = False
        self._builder = Builder()  # the old one keeps everything that it built in memory

    def has(self, number: int) -> bool:
        """Whether a job is computed: see `gradexp.sweeps.launching.ComputesInBatches`."""
        return number in self._settings and self._queue.has(self._settings[number])
