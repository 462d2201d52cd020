"""A sweep of `gradexp run`: begun, gone on with, or foreseen; what `hydra_app` is for one run."""

from __future__ import annotations

import importlib
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import configure_log
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, read_write

from gradexp.hydra_errors import explained
from gradexp.job import recall
from gradexp.mistakes import Mistake, machine_failure
from gradexp.output_folder import check_empty, check_links, claimed, give_up_claim
from gradexp.processes import Standby
from gradexp.sweeps import axes
from gradexp.sweeps.composition import Composer
from gradexp.sweeps.forecast import Forecast, Foreseen
from gradexp.sweeps.ledger import Ledger
from gradexp.sweeps.observed import Observed
from gradexp.sweeps.plan import Plan, begun, held
from gradexp.sweeps.watch import Watch
from gradexp.task import Task, check_job

log = logging.getLogger(__name__)

Overview = Standby[tuple[Path, float]]
"""Writes the TensorBoard run of a sweep's folder, which began so many seconds after 1970."""


class Interrupted(KeyboardInterrupt):
    """A sweep was interrupted; what is done is kept."""

    def __init__(self, sweep: Ledger) -> None:
        super().__init__()
        self.sweep = sweep


def begin_sweep(hydra: Hydra, name: str, config: DictConfig, arguments: list[str]) -> Ledger:
    """Runs a sweep in a folder of its own.

    Args:
        hydra: Hydra's application.
        name: of the primary config.
        config: composed.
        arguments: of ``gradexp run``.

    Raises:
        Mistake: a person's mistake; nothing was left behind.
        Interrupted: by a person.
    """
    HydraConfig.instance().set_config(config)
    _check_size(config)
    folder = Path(config.hydra.sweep.dir)
    with (
        claimed("hydra.sweep.dir", folder, _log(config)) as release,
        _overview(config) as overview,
        begun(arguments, config).kept(folder),
    ):
        release()
        folder = Path(os.path.abspath(folder))
        return _run_sweep(hydra, name, config, folder, overview, resumed=False)


def go_on(hydra: Hydra, name: str, config: DictConfig, folder: Path, plan: Plan) -> Ledger:
    """Goes on with a sweep that was begun with a plan in a folder.

    Raises:
        Mistake: it was moved, or is still running.
        Interrupted: by a person.
    """
    plan.set_clock(config)
    HydraConfig.instance().set_config(config)
    was = Path(os.path.abspath(config.hydra.sweep.dir))
    if was != folder:
        raise Mistake("", folder, f"{folder}: the sweep was begun in {was}; move it back there")
    with _overview(config) as overview, held(folder):
        if "submitit_folder" in config.hydra.launcher:  # it loads pickles from there: a new one
            with read_write(config.hydra):
                new = f"{folder}/.submitit-{secrets.token_hex(4)}/%j"
                config.hydra.launcher.submitit_folder = new
        give_up_claim(folder)
        check_links(folder, [_log(config), "optimization_results.yaml"])
        return _run_sweep(hydra, name, config, folder, overview, resumed=True)


def _check_size(config: DictConfig) -> None:
    """Checks that a sweep is not too large, before anything of it is made.

    Raises:
        Mistake: it is.
    """
    params = config.hydra.sweeper.get("params")
    if params is None:
        params = {}
    if not isinstance(params, Mapping):
        raise Mistake("hydra.sweeper.params", params, "must be a mapping of keys and values")
    size = config.hydra.sweeper.get("max_batch_size")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        reason = "must be null or a whole number, at least 1"
        raise Mistake("hydra.sweeper.max_batch_size", size, reason)
    texts = [*(f"{key!s}={value}" for key, value in params.items()), *config.hydra.overrides.task]
    parsed = OverridesParser.create().parse_overrides(texts)
    axes.check_axes(parsed, crossed="n_trials" not in config.hydra.sweeper)


def _log(config: DictConfig) -> str:
    """The name of a log file."""
    return f"{config.hydra.job.name}.log"


def _run_sweep(
    hydra: Hydra,
    name: str,
    config: DictConfig,
    folder: Path,
    overview: Overview | None,
    resumed: bool,
) -> Ledger:
    """Runs those jobs of a sweep that are not whole yet."""
    task_overrides = list(config.hydra.overrides.task)
    started = time.time()
    with explained(task_overrides):
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
        callbacks = Callbacks(config)
        callbacks.on_multirun_start(config=config, config_name=name)
        context = HydraContext(config_loader=hydra.config_loader, callbacks=callbacks)
        task = Task()
        sweeper = Plugins.instance().instantiate_sweeper(
            config=config, hydra_context=context, task_function=task
        )
        assert sweeper.launcher is not None
        composer = Composer(hydra.config_loader, config)
        ledger = _observe(sweeper, sweeper.launcher, composer, folder, task.expect, resumed)
        try:
            with Watch(ledger):
                sweeper.sweep(arguments=task_overrides)
            _check_any(ledger)
            _sum_up(ledger, started, overview)
        except KeyboardInterrupt:
            raise Interrupted(ledger) from None
        except Exception as error:
            if machine_failure(error) is not None:
                error.sweep = ledger  # type: ignore[attr-defined]  # for what is said of it
            raise
        callbacks.on_multirun_end(config=config, config_name=name)
    return ledger


def foresee(
    hydra: Hydra, name: str, config: DictConfig, overrides: list[str], key: str
) -> Forecast:
    """What it takes to run a sweep, or one job; nothing of it is left behind.

    Args:
        hydra: Hydra's application.
        name: of the primary config.
        config: composed.
        overrides: of the command line.
        key: where the config says the folder that would be written to.

    Raises:
        Mistake: a person's mistake.
    """
    HydraConfig.instance().set_config(config)
    _check_size(config)
    folder = Path(os.path.abspath(str(OmegaConf.select(config, key))))
    check_empty(key, folder)
    with TemporaryDirectory(prefix="gradexp-") as scratch:
        thrown_away = [f"hydra.sweep.dir='{scratch}'", "hydra.sweep.subdir='${hydra.job.num}'"]
        pilot = hydra.compose_config(
            name, [*overrides, *thrown_away, "hydra.mode=MULTIRUN"], RunMode.MULTIRUN
        )
        task_overrides = list(pilot.hydra.overrides.task)
        with explained(task_overrides):
            context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks())
            sweeper = Plugins.instance().instantiate_sweeper(
                config=pilot, hydra_context=context, task_function=Task()
            )
            composer = Composer(hydra.config_loader, config)
            foreseen = Foreseen(context, composer, pilot, _is_vectorized(sweeper.launcher))
            sweep = Path(os.path.abspath(config.hydra.sweep.dir))
            ledger = _observe(sweeper, foreseen, composer, sweep, lambda jobs: None, False)
            sweeper.sweep(arguments=task_overrides)
            _check_any(ledger)
            return foreseen.forecast(folder, ledger.jobs)


def _observe(
    sweeper: Sweeper,
    launcher: Launcher,
    composer: Composer,
    folder: Path,
    announce: Callable[[int], None],
    resumed: bool,
) -> Ledger:
    """Gives a sweeper a launcher that is observed; returns what is noted of the jobs."""
    ledger = Ledger(folder, jobs=getattr(sweeper, "n_trials", 0))
    cut = getattr(sweeper, "max_batch_size", None) is not None
    check = None if cut else check_job
    if _is_vectorized(launcher):
        launcher.composer = composer  # type: ignore[attr-defined]
    sweeper.launcher = Observed(launcher, composer, ledger, check, recall, announce, resumed)
    return ledger


def _is_vectorized(launcher: Launcher | None) -> bool:
    """Whether a launcher is gradexp's: Hydra makes its class anew when it looks for plugins, after
    which one that was imported before is another."""
    plugins = importlib.import_module("hydra_plugins.gradexp_sweeps")
    return isinstance(launcher, plugins.VectorizedLauncher)


def _overview(config: DictConfig) -> Overview | nullcontext[None]:
    """What writes the sweep's TensorBoard run, where one is wanted.

    It is not among those that hold the sweep: were this process killed, it would hold it longer.
    """
    keys = ("sweep.summary", "log.tensorboard")
    if not all(OmegaConf.select(config, key, default=False) for key in keys):
        return nullcontext()
    return Standby(_make_ready, _write_overview)


def _make_ready() -> None:
    from gradexp.overview import make_ready  # pandas and matplotlib take a second

    make_ready()


def _write_overview(asked: tuple[Path, float]) -> None:
    from gradexp.overview import write_overview

    write_overview(*asked)


def _sum_up(ledger: Ledger, started: float, overview: Overview | None) -> None:
    """Writes the sweep's TensorBoard run, where there is something to compare."""
    if overview is None or len(ledger.rows) < len(ledger.failed) + 2:
        return
    reason = overview.do((ledger.folder, started))
    if reason is not None:  # the runs are there all the same
        log.warning(f"no summary for TensorBoard: {reason}")


def _check_any(ledger: Ledger) -> None:
    """
    Raises:
        Mistake: a sweep has no jobs.
    """
    if not ledger.entries:
        raise Mistake("", "", "the sweep has no jobs: one of its axes has no values")
