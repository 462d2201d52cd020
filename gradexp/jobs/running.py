"""Runs a single job with Hydra, in an output folder of its own."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log, run_job
from hydra.types import HydraContext
from omegaconf import DictConfig

from gradexp.config.application import Application, without_hydra
from gradexp.config.errors import explained
from gradexp.config.internals import Callbacks, returned
from gradexp.errors import UserError, machine_failure
from gradexp.jobs.job import Result
from gradexp.jobs.task import Task, check_job
from gradexp.results.output_folder import claimed


def run_alone(app: Application, config: DictConfig) -> Result:
    """Runs the job of a composed config, in the folder that the config sets.

    Args:
        app: Hydra's application.
        config: the composed config, including ``hydra``.

    Returns:
        The result of the job.

    Raises:
        UserError: if the user made an error; no files are left behind.
    """
    check_job(without_hydra(config))
    HydraConfig.instance().set_config(config)
    folder, overrides = Path(config.hydra.run.dir), list(config.hydra.overrides.task)
    log = f"{config.hydra.job.name}.log"
    with claimed("hydra.run.dir", folder, log), explained(overrides):
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
        callbacks = Callbacks(config)
        callbacks.on_run_start(config=config, config_name=app.name)
        job = run_job(
            hydra_context=HydraContext(config_loader=app.hydra.config_loader, callbacks=callbacks),
            task_function=Task(),
            config=config,
            job_dir_key="hydra.run.dir",
            job_subdir_key=None,
        )
        callbacks.on_run_end(config=config, config_name=app.name, job_return=job)
        error = returned(job)
        if isinstance(error, UserError) or (
            isinstance(error, Exception) and machine_failure(error) is not None
        ):
            raise error  # `return_value` would print further lines
        result: Result = job.return_value  # raises the job's exception
        return result
