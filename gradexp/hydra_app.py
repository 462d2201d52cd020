"""`gradexp run`: Hydra's application, with a gate before anything in a config is used.

``hydra.main`` makes a run's folder before the task sees the config, and prints mistakes its own
way. This module does what ``hydra.main`` does, with the same parts of Hydra, but checks a config as
soon as it is composed: what it may import, and whether it makes a run. With `config_loader`,
`sweep_app` and `sweeps` it is where gradexp knows Hydra's inside (1.3).
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import configure_log, run_job
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from gradexp.config_loader import GatedLoader, check_primary, output_folders, search_path
from gradexp.environment_gate import guarded_environment
from gradexp.hydra_errors import explained
from gradexp.mistakes import Mistake, machine_failure, one_line
from gradexp.output_folder import claimed

if TYPE_CHECKING:
    from gradexp.job import Result
    from gradexp.sweeps.forecast import Forecast
    from gradexp.sweeps.ledger import Ledger
    from gradexp.sweeps.plan import Plan


class Runs(NamedTuple):
    """What was run, one job's result or a sweep's jobs; or what it would take to run it."""

    result: Result | None = None
    sweep: Ledger | None = None
    forecast: Forecast | None = None


def resume(folder: Path) -> Runs:
    """Goes on with a sweep where it was interrupted, or where jobs failed.

    Raises:
        Mistake: the folder holds no sweep, it was moved, or the sweep is still running.
    """
    from gradexp.sweeps.plan import read_plan

    plan, folder = read_plan(folder), Path(os.path.abspath(folder))
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
        sweep_app.Interrupted: by a person, in a sweep.
    """
    typed = resumed is None
    with _application(arguments, "gradexp run", typed) as (hydra, name, args, parser):
        if resumed is not None and not _is_sweep(args):
            raise Mistake("", resumed[0], f"{resumed[0]}: its sweep.json is no sweep's")
        if _show(hydra, name, args, parser):
            return None
        return _run(hydra, name, args, list(arguments), resumed)


def _is_sweep(args: Namespace) -> bool:
    """Whether arguments are those of a sweep that is run, and not shown or foreseen."""
    shown = (args.help, args.hydra_help, args.cfg, args.info, args.shell_completion, args.dry_run)
    return not args.run and not any(shown)


def compose(arguments: Sequence[str]) -> DictConfig:
    """The config of one run, without ``hydra``, that nothing is run of.

    Args:
        arguments: as those of ``gradexp run``.

    Raises:
        Mistake: a person's mistake.
    """
    with _application(arguments, "gradexp show") as (hydra, name, args, _):
        parsed = OverridesParser.create().parse_overrides(args.overrides)
        GatedLoader.validate_sweep_overrides_legal(parsed, RunMode.RUN, from_shell=True)
        config = hydra.compose_config(name, list(args.overrides), RunMode.RUN)
        return _without_hydra(config)


@contextmanager
def _application(
    arguments: Sequence[str], program: str, typed: bool = True
) -> Iterator[tuple[Hydra, str, Namespace, ArgumentParser]]:
    """Hydra's application for a command line, with the primary config's name and the arguments.

    Args:
        arguments: of the command line.
        program: what a person calls it.
        typed: whether a person typed them; a sweep that is gone on with has them from its file.
    """
    from gradexp.sweeps import axes

    version.setbase("1.3")
    axes.register()
    parser = get_args_parser()
    parser.prog = program
    parser.error = _refuse  # type: ignore[method-assign]
    parser.add_argument(
        "--dry-run", action="store_true", help="run nothing; say what jobs, time and disk it takes"
    )
    args = parser.parse_intermixed_args(arguments)
    if args.experimental_rerun:
        raise Mistake("--experimental-rerun", args.experimental_rerun, "pickles are not used here")
    name = ("config" if args.config_name is None else args.config_name).removesuffix(".yaml")
    if args.config_path is not None:
        check_primary(Path(args.config_path).absolute(), name)
        args.overrides = [*output_folders(args.overrides), *args.overrides]
    hydra = Hydra(task_name="gradexp", config_loader=GatedLoader(search_path(args)))
    GlobalHydra.instance().clear()
    GlobalHydra.instance().initialize(hydra)
    try:
        with guarded_environment(args.overrides if typed else ()), explained(args.overrides):
            yield hydra, name, args, parser
    finally:
        GlobalHydra.instance().clear()


def _without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def _refuse(message: str) -> NoReturn:
    raise Mistake("", "", f"{message}; see gradexp run --help")


def _show(hydra: Hydra, name: str, args: Namespace, parser: Any) -> bool:
    """Shows what a flag asks for; False where no flag asks for anything."""
    if args.help:
        try:
            hydra.app_help(config_name=name, args_parser=parser, args=args)
        except (KeyError, ValueError) as error:  # string.Template's
            reason = f"cannot be filled in: {one_line(error)}"
            raise Mistake("hydra.help.template", "", reason) from None
    elif args.hydra_help:
        hydra.hydra_help(config_name=name, args_parser=parser, args=args)
    elif args.cfg:
        try:
            hydra.show_cfg(name, args.overrides, args.cfg, args.package, args.resolve)
        except SystemExit:
            raise Mistake("--package", args.package, "is not in the config") from None
    elif args.info:
        hydra.show_info(args.info, config_name=name, overrides=args.overrides)
    elif args.shell_completion:
        try:
            hydra.shell_completion(config_name=name, overrides=args.overrides)
        except (ValueError, KeyError, NotImplementedError):  # a shell asks in another way
            told = " ".join(args.overrides)
            reason = "is written install=bash, uninstall=bash or query=bash; also zsh and fish"
            raise Mistake("--shell-completion", told, reason) from None
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
    from gradexp import sweep_app

    overrides = list(args.overrides)
    if not args.multirun:
        config = hydra.compose_config(
            name, overrides, RunMode.MULTIRUN, validate_sweep_overrides=False
        )
    if args.multirun or (not args.run and config.hydra.mode == RunMode.MULTIRUN):
        overrides = [*overrides, "hydra.mode=MULTIRUN"]
        config = hydra.compose_config(name, overrides, RunMode.MULTIRUN)
        if args.dry_run:
            return Runs(
                forecast=sweep_app.foresee(hydra, name, config, overrides, "hydra.sweep.dir")
            )
        if resumed is not None:
            return Runs(sweep=sweep_app.go_on(hydra, name, config, *resumed))
        return Runs(sweep=sweep_app.begin_sweep(hydra, name, config, arguments))
    if resumed is not None:
        raise Mistake("", resumed[0], f"{resumed[0]}: its sweep.json is no sweep's")
    parsed = OverridesParser.create().parse_overrides(overrides)
    GatedLoader.validate_sweep_overrides_legal(parsed, RunMode.RUN, from_shell=True)
    if args.dry_run:
        key = "hydra.run.dir"
        return Runs(forecast=sweep_app.foresee(hydra, name, config, overrides, key))
    config.hydra.mode = RunMode.RUN
    return _run_one(hydra, name, config)


def _run_one(hydra: Hydra, name: str, config: DictConfig) -> Runs:
    from gradexp.task import Task, check_job

    check_job(_without_hydra(config))
    HydraConfig.instance().set_config(config)
    folder, overrides = Path(config.hydra.run.dir), list(config.hydra.overrides.task)
    log = f"{config.hydra.job.name}.log"
    with claimed("hydra.run.dir", folder, log), explained(overrides):
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
        error = job._return_value
        if isinstance(error, Mistake) or (
            isinstance(error, Exception) and machine_failure(error) is not None
        ):
            raise error  # read the other way, Hydra would say more than one line
        return Runs(result=job.return_value)  # raises what the job raised
