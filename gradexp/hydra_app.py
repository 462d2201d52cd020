"""`gradexp run`: Hydra's application, with a gate before anything in a config is used.

``hydra.main`` makes a run's folder before the task sees the config, and prints mistakes its own
way. This module does what ``hydra.main`` does, with the same parts of Hydra, but checks a config as
soon as it is composed: what it may import, and whether it makes a run. With `config_loader` and
`sweeps` it is where gradexp knows Hydra's inside (1.3).
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import configure_log, run_job
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from gradexp.config_loader import GatedLoader, check_primary, output_folders, search_path
from gradexp.hydra_errors import explained
from gradexp.mistakes import Mistake, one_line
from gradexp.output_folder import claimed

if TYPE_CHECKING:
    from gradexp.job import Result
    from gradexp.sweeps.ledger import Ledger
    from gradexp.sweeps.plan import Plan


def check_job(config: DictConfig) -> None:
    """Checks that a job's config, without ``hydra``, makes a run.

    Raises:
        Mistake: it does not.
    """
    from gradexp.experiment import build, settings_of

    build(settings_of(config))


class Task:
    """What Hydra runs as a job."""

    def __init__(self) -> None:
        from gradexp.computation import Ahead

        self._ahead = Ahead()
        self._jobs = 1

    def expect(self, jobs: int) -> None:
        """Is told how many jobs a sweep has."""
        self._jobs = jobs

    def __call__(self, config: DictConfig) -> Result:
        """Makes a run and writes its folder; in a sweep also why it could not be made.

        Raises:
            Mistake: something in the config is not allowed.
        """
        from gradexp.job import perform
        from gradexp.results import write_failure

        hydra = HydraConfig.get()
        swept = hydra.mode == RunMode.MULTIRUN
        folder = Path(hydra.runtime.output_dir)
        try:
            return perform(config, folder, self._jobs if swept else None, self._ahead)
        except Exception as error:
            if swept:
                write_failure(folder, one_line(error))
            raise

    def put_down(self, config: DictConfig) -> bool:
        """See `gradexp.sweeps.launching.ComputesAhead`."""
        from gradexp.experiment import settings_of

        try:
            return self._ahead.add(settings_of(config))
        except Mistake:
            return False  # the job will say it

    def compute_ahead(self) -> None:
        """See `gradexp.sweeps.launching.ComputesAhead`."""
        self._ahead.compute()


class Runs(NamedTuple):
    """What was run: one job's result, or a sweep's jobs."""

    result: Result | None = None
    sweep: Ledger | None = None


class Interrupted(KeyboardInterrupt):
    """A sweep was interrupted; what is done is kept."""

    def __init__(self, sweep: Ledger) -> None:
        super().__init__()
        self.sweep = sweep


def resume(folder: Path) -> Runs:
    """Goes on with a sweep where it was interrupted, or where jobs failed.

    Raises:
        Mistake: the folder holds no sweep, it was moved, or the sweep is still running.
    """
    from gradexp.sweeps.plan import read_plan

    plan, folder = read_plan(folder), folder.absolute()
    if not Path(plan.cwd).is_dir():
        raise Mistake("", folder, f"the folder where the sweep was begun is gone: {plan.cwd}")
    os.chdir(plan.cwd)
    runs = main(plan.arguments, resumed=(folder, plan))
    assert runs is not None
    return runs


def main(arguments: Sequence[str], resumed: tuple[Path, Plan] | None = None) -> Runs | None:
    """Does what the arguments of ``gradexp run`` say.

    Args:
        arguments: what follows ``gradexp run``.
        resumed: the folder and the plan of the sweep that is gone on with, if one is.

    Returns:
        What was run, or None where something was shown instead.

    Raises:
        Mistake: a person's mistake; nothing was left behind.
        Interrupted: by a person, in a sweep.
    """
    from gradexp.sweeps import axes

    version.setbase("1.3")
    axes.register()
    parser = get_args_parser()
    parser.prog = "gradexp run"
    parser.error = _refuse  # type: ignore[method-assign]
    args = parser.parse_intermixed_args(arguments)
    if args.experimental_rerun:
        raise Mistake("--experimental-rerun", args.experimental_rerun, "pickles are not used here")
    name = ("config" if args.config_name is None else args.config_name).removesuffix(".yaml")
    if args.config_path is not None:
        check_primary(Path(args.config_path).absolute(), name)
        args.overrides = [*output_folders(args.overrides), *args.overrides]
    loader = GatedLoader(search_path(args))
    hydra = Hydra(task_name="gradexp", config_loader=loader)
    GlobalHydra.instance().clear()
    GlobalHydra.instance().initialize(hydra)
    try:
        with explained(args.overrides):
            if _show(hydra, name, args, parser):
                return None
            return _run(hydra, name, args, list(arguments), resumed)
    finally:
        GlobalHydra.instance().clear()


def _refuse(message: str) -> NoReturn:
    raise Mistake("", "", f"{message}; see gradexp run --help")


def _show(hydra: Hydra, name: str, args: Namespace, parser: Any) -> bool:
    """Shows what a flag asks for; False where no flag asks for anything."""
    if args.help:
        hydra.app_help(config_name=name, args_parser=parser, args=args)
    elif args.hydra_help:
        hydra.hydra_help(config_name=name, args_parser=parser, args=args)
    elif args.cfg:
        hydra.show_cfg(name, args.overrides, args.cfg, args.package, args.resolve)
    elif args.info:
        hydra.show_info(args.info, config_name=name, overrides=args.overrides)
    elif args.shell_completion:
        hydra.shell_completion(config_name=name, overrides=args.overrides)
    else:
        return False
    return True


def _run(
    hydra: Hydra,
    name: str,
    args: Namespace,
    arguments: list[str],
    resumed: tuple[Path, Plan] | None,
) -> Runs:
    """Runs one job, or a sweep where the flags or the config say so."""
    overrides = list(args.overrides)
    config = hydra.compose_config(name, overrides, RunMode.MULTIRUN, validate_sweep_overrides=False)
    if args.multirun or (not args.run and config.hydra.mode == RunMode.MULTIRUN):
        overrides = [*overrides, "hydra.mode=MULTIRUN"]
        config = hydra.compose_config(name, overrides, RunMode.MULTIRUN)
        if resumed is not None:
            return _go_on(hydra, name, config, *resumed)
        return _begin_sweep(hydra, name, config, arguments)
    parsed = OverridesParser.create().parse_overrides(overrides)
    GatedLoader.validate_sweep_overrides_legal(parsed, RunMode.RUN, from_shell=True)
    config.hydra.mode = RunMode.RUN
    return _run_one(hydra, name, config)


def _run_one(hydra: Hydra, name: str, config: DictConfig) -> Runs:
    check_job(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]))
    HydraConfig.instance().set_config(config)
    folder, overrides = Path(config.hydra.run.dir), list(config.hydra.overrides.task)
    with claimed("hydra.run.dir", folder), explained(overrides):
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
        callbacks = Callbacks(config)
        callbacks.on_run_start(config=config, config_name=name)
        job = run_job(
            hydra_context=HydraContext(config_loader=hydra.config_loader, callbacks=callbacks),
            task_function=Task(),
            config=config,
            job_dir_key="hydra.run.dir",
            job_subdir_key=None,
        )
        callbacks.on_run_end(config=config, config_name=name, job_return=job)
        if isinstance(job._return_value, Mistake):
            raise job._return_value  # read the other way, Hydra would say more than one line
        return Runs(result=job.return_value)  # raises what the job raised


def _begin_sweep(hydra: Hydra, name: str, config: DictConfig, arguments: list[str]) -> Runs:
    from gradexp.sweeps.plan import begun, held

    HydraConfig.instance().set_config(config)
    folder = Path(config.hydra.sweep.dir)
    with claimed("hydra.sweep.dir", folder):
        begun(arguments, config).write(folder)
        with held(folder):
            return Runs(sweep=_run_sweep(hydra, name, config, folder.absolute()))


def _go_on(hydra: Hydra, name: str, config: DictConfig, folder: Path, plan: Plan) -> Runs:
    from gradexp.sweeps.plan import held

    plan.set_clock(config)
    HydraConfig.instance().set_config(config)
    was = Path(config.hydra.sweep.dir).absolute()
    if was != folder:
        raise Mistake("", folder, f"{folder}: the sweep was begun in {was}; move it back there")
    with held(folder):
        return Runs(sweep=_run_sweep(hydra, name, config, folder))


def _run_sweep(hydra: Hydra, name: str, config: DictConfig, folder: Path) -> Ledger:
    """Runs those jobs of a sweep that are not whole yet."""
    from gradexp.job import recall
    from gradexp.sweeps.composition import Composer
    from gradexp.sweeps.ledger import Ledger
    from gradexp.sweeps.observed import Observed
    from gradexp.sweeps.watch import Watch

    task_overrides = list(config.hydra.overrides.task)
    with explained(task_overrides):
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
        callbacks = Callbacks(config)
        callbacks.on_multirun_start(config=config, config_name=name)
        task = Task()
        sweeper = Plugins.instance().instantiate_sweeper(
            config=config,
            hydra_context=HydraContext(config_loader=hydra.config_loader, callbacks=callbacks),
            task_function=task,
        )
        composer = Composer(hydra.config_loader, config)
        assert sweeper.launcher is not None
        ledger = Ledger(folder, jobs=getattr(sweeper, "n_trials", 0))
        cut = getattr(sweeper, "max_batch_size", None) is not None
        sweeper.launcher = Observed(
            sweeper.launcher, composer, ledger, None if cut else check_job, recall, task.expect
        )
        try:
            with Watch(ledger):
                sweeper.sweep(arguments=task_overrides)
        except KeyboardInterrupt:
            raise Interrupted(ledger) from None
        if not ledger.entries:
            raise Mistake("", "", "the sweep has no jobs: one of its axes has no values")
        callbacks.on_multirun_end(config=config, config_name=name)
    return ledger
