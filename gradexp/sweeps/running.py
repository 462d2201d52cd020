"""Carries out `gradexp run`: runs one job, starts or resumes a sweep, or makes a dry run."""

from __future__ import annotations

import os
import secrets
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import configure_log
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, read_write

from gradexp.config import axes
from gradexp.config.application import Application
from gradexp.config.errors import explained
from gradexp.config.internals import Callbacks
from gradexp.errors import UserError, machine_failure
from gradexp.jobs.job import Result, recall
from gradexp.jobs.running import run_alone
from gradexp.jobs.task import Task, check_job
from gradexp.results.output_folder import check_empty, check_links, claimed, give_up_claim
from gradexp.sweeps.composition import Composer
from gradexp.sweeps.forecast import DryRunLauncher, Forecast
from gradexp.sweeps.launching import Composing
from gradexp.sweeps.overview import Overview, overview_of, sum_up
from gradexp.sweeps.plan import Plan, begun, held
from gradexp.sweeps.resuming import ResumingLauncher
from gradexp.sweeps.status import SweepStatus
from gradexp.sweeps.watch import Watch


class Runs(NamedTuple):
    """What `gradexp run` did: the result of a job, the status of a sweep, or a dry run's forecast.

    The other two fields are None.
    """

    result: Result | None = None
    sweep: SweepStatus | None = None
    forecast: Forecast | None = None


class Interrupted(KeyboardInterrupt):
    """A sweep was interrupted. The results of its complete jobs are kept."""

    def __init__(self, sweep: SweepStatus) -> None:
        super().__init__()
        self.sweep = sweep


def run(
    app: Application,
    args: Namespace,
    arguments: Sequence[str],
    resumed: tuple[Path, Plan] | None = None,
) -> Runs:
    """Runs one job, or a sweep if the flags or the config say so.

    Args:
        app: Hydra's application for these arguments.
        args: the parsed arguments of ``gradexp run``.
        arguments: the same arguments, as they were given.
        resumed: the folder and the plan of the sweep to resume; None to start a new one.

    Raises:
        UserError: if the user made an error; no files are left behind.
        Interrupted: if the user interrupts a sweep.
    """
    if not args.multirun:
        config = app.hydra.compose_config(
            app.name, list(app.overrides), RunMode.MULTIRUN, validate_sweep_overrides=False
        )
    if args.multirun or (not args.run and config.hydra.mode == RunMode.MULTIRUN):
        config = app.compose(RunMode.MULTIRUN)
        if args.dry_run:
            return Runs(forecast=dry_run(app, config, "hydra.sweep.dir"))
        if resumed is not None:
            return Runs(sweep=go_on(app, config, *resumed))
        return Runs(sweep=begin_sweep(app, config, list(arguments)))
    if resumed is not None:
        raise UserError("", resumed[0], f"{resumed[0]}: its sweep.json does not describe a sweep")
    app.check_one()
    if args.dry_run:
        return Runs(forecast=dry_run(app, config, "hydra.run.dir"))
    config.hydra.mode = RunMode.RUN
    return Runs(result=run_alone(app, config))


def begin_sweep(app: Application, config: DictConfig, arguments: list[str]) -> SweepStatus:
    """Runs a new sweep in a folder of its own.

    Args:
        app: Hydra's application.
        config: the composed config of the sweep.
        arguments: the arguments of ``gradexp run``.

    Raises:
        UserError: if the user made an error; no files are left behind.
        Interrupted: if the user interrupts the sweep.
    """
    HydraConfig.instance().set_config(config)
    _check_size(config)
    folder = Path(config.hydra.sweep.dir)
    with (
        claimed("hydra.sweep.dir", folder, _log(config)) as release,
        overview_of(config) as overview,
        begun(arguments, config).kept(folder),
    ):
        release()
        folder = Path(os.path.abspath(folder))
        return _run_sweep(app, config, folder, overview, resumed=False)


def go_on(app: Application, config: DictConfig, folder: Path, plan: Plan) -> SweepStatus:
    """Resumes a sweep.

    Args:
        app: Hydra's application.
        config: the composed config of the sweep.
        folder: the absolute path of the sweep's folder.
        plan: the plan in that folder.

    Raises:
        UserError: if the folder was moved, or the sweep is still running.
        Interrupted: if the user interrupts the sweep.
    """
    plan.set_clock(config)
    HydraConfig.instance().set_config(config)
    was = Path(os.path.abspath(config.hydra.sweep.dir))
    if was != folder:
        raise UserError("", folder, f"{folder}: the sweep was begun in {was}; move it back there")
    with overview_of(config) as overview, held(folder):
        if "submitit_folder" in config.hydra.launcher:
            # submitit unpickles files in this folder, so a new one is used
            with read_write(config.hydra):
                new = f"{folder}/.submitit-{secrets.token_hex(4)}/%j"
                config.hydra.launcher.submitit_folder = new
        give_up_claim(folder)
        check_links(folder, [_log(config), "optimization_results.yaml"])
        return _run_sweep(app, config, folder, overview, resumed=True)


def _check_size(config: DictConfig) -> None:
    """Checks the sweeper's ``params`` and batch size, and that a sweep does not have too many jobs.

    Raises:
        UserError: if one of these settings is not allowed or there are too many jobs.
    """
    params = config.hydra.sweeper.get("params")
    if params is None:
        params = {}
    if not isinstance(params, Mapping):
        raise UserError("hydra.sweeper.params", params, "must be a mapping of keys and values")
    size = config.hydra.sweeper.get("max_batch_size")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        reason = "must be null or a whole number, at least 1"
        raise UserError("hydra.sweeper.max_batch_size", size, reason)
    texts = [*(f"{key!s}={value}" for key, value in params.items()), *config.hydra.overrides.task]
    parsed = OverridesParser.create().parse_overrides(texts)
    axes.check_axes(parsed, crossed="n_trials" not in config.hydra.sweeper)


def _log(config: DictConfig) -> str:
    """Returns the name of the log file."""
    return f"{config.hydra.job.name}.log"


def _run_sweep(
    app: Application,
    config: DictConfig,
    folder: Path,
    overview: Overview | None,
    resumed: bool,
) -> SweepStatus:
    """Runs the jobs of a sweep that are not complete, and returns its status."""
    task_overrides = list(config.hydra.overrides.task)
    started = time.time()
    with explained(task_overrides):
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
        callbacks = Callbacks(config)
        callbacks.on_multirun_start(config=config, config_name=app.name)
        context = HydraContext(config_loader=app.hydra.config_loader, callbacks=callbacks)
        task = Task()
        sweeper = Plugins.instance().instantiate_sweeper(
            config=config, hydra_context=context, task_function=task
        )
        assert sweeper.launcher is not None
        composer = Composer(app.hydra.config_loader, config)
        status = _observe(sweeper, sweeper.launcher, composer, folder, task.expect, resumed)
        try:
            with Watch(status):
                sweeper.sweep(arguments=task_overrides)
            _check_any(status)
            sum_up(status, started, overview)
        except KeyboardInterrupt:
            raise Interrupted(status) from None
        except Exception as error:
            if machine_failure(error) is not None:
                error.sweep = status  # type: ignore[attr-defined]  # for the message to the user
            raise
        callbacks.on_multirun_end(config=config, config_name=app.name)
    return status


def dry_run(app: Application, config: DictConfig, key: str) -> Forecast:
    """Predicts what running a sweep or one job would cost, without leaving any files behind.

    Args:
        app: Hydra's application.
        config: the composed config.
        key: the config key that sets the folder in which the results would be written.

    Raises:
        UserError: if the user made an error.
    """
    HydraConfig.instance().set_config(config)
    _check_size(config)
    folder = Path(os.path.abspath(str(OmegaConf.select(config, key))))
    check_empty(key, folder)
    with TemporaryDirectory(prefix="gradexp-") as scratch:
        thrown_away = [f"hydra.sweep.dir='{scratch}'", "hydra.sweep.subdir='${hydra.job.num}'"]
        pilot = app._replace(overrides=[*app.overrides, *thrown_away]).compose(RunMode.MULTIRUN)
        task_overrides = list(pilot.hydra.overrides.task)
        with explained(task_overrides):
            context = HydraContext(config_loader=app.hydra.config_loader, callbacks=Callbacks())
            sweeper = Plugins.instance().instantiate_sweeper(
                config=pilot, hydra_context=context, task_function=Task()
            )
            composer = Composer(app.hydra.config_loader, config)
            dry_run = DryRunLauncher(
                context, composer, pilot, isinstance(sweeper.launcher, Composing)
            )
            sweep = Path(os.path.abspath(config.hydra.sweep.dir))
            status = _observe(sweeper, dry_run, composer, sweep, lambda jobs: None, False)
            sweeper.sweep(arguments=task_overrides)
            _check_any(status)
            return dry_run.forecast(folder, status.jobs)


def _observe(
    sweeper: Sweeper,
    launcher: Launcher,
    composer: Composer,
    folder: Path,
    announce: Callable[[int], None],
    resumed: bool,
) -> SweepStatus:
    """Wraps a launcher in a `ResumingLauncher` and gives it to a sweeper.

    Args:
        sweeper: the sweeper, set up by Hydra.
        launcher: the launcher to wrap.
        composer: the composer of the sweep.
        folder: the sweep's folder.
        announce: called with the number of jobs before they run.
        resumed: whether the sweep was started before.

    Returns:
        The status of the sweep, to which the wrapped launcher adds the jobs.
    """
    status = SweepStatus(folder, jobs=getattr(sweeper, "n_trials", 0))
    cut = getattr(sweeper, "max_batch_size", None) is not None
    check = None if cut else check_job
    if isinstance(launcher, Composing):
        launcher.composer = composer
    sweeper.launcher = ResumingLauncher(
        launcher, composer, status, check, recall, announce, resumed
    )
    return status


def _check_any(status: SweepStatus) -> None:
    """Checks that a sweep had at least one job.

    Raises:
        UserError: if it had none.
    """
    if not status.entries:
        raise UserError("", "", "the sweep has no jobs: one of its axes has no values")
