"""`gradexp run`: Hydra's application, with a gate before anything in a config is used.

``hydra.main`` makes a run's folder before the task sees the config, and prints mistakes its own
way. This module does what ``hydra.main`` does, with the same parts of Hydra, but checks a config as
soon as it is composed: what it may import, and whether it makes a run. It is the one place that
knows Hydra's inside (1.3).
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, configure_log, run_job
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from gradexp.config_files import CONF, EXPERIMENTS
from gradexp.hydra_errors import explained
from gradexp.mistakes import Mistake
from gradexp.output_folder import claimed
from gradexp.trust import check_hydra, check_search_path

if TYPE_CHECKING:
    from gradexp.job import Result


class GatedLoader(ConfigLoaderImpl):
    """Composes configs, and passes only what may be used.

    `builds` is set before jobs are run: then each job's config must also make a run.
    """

    builds = False

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        try:
            self._check_search_path(config_name, overrides)
            config = super().load_configuration(
                config_name, overrides, run_mode, from_shell, validate_sweep_overrides
            )
        except (HydraException, Mistake):
            raise
        except Exception as error:  # broken YAML, values that Hydra's own code stumbles over
            raise Mistake("", "", f"cannot be composed: {type(error).__name__}: {error}") from error
        plain = OmegaConf.to_container(config.hydra, resolve=False)
        assert isinstance(plain, dict)
        check_hydra({str(name): node for name, node in plain.items()})
        return config

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        with explained(sweep_overrides):
            config = super().load_sweep_config(master_config, sweep_overrides)
        if self.builds:
            check_job(config)
        return config

    def _check_search_path(self, config_name: str | None, overrides: list[str]) -> None:
        """Checks the search path before it is used: a package there would be imported."""
        primary = self.repository.load_config(config_name) if config_name else None
        entries = OmegaConf.select(primary.config, "hydra.searchpath") if primary else None
        for override in OverridesParser.create().parse_overrides(overrides):
            if override.get_key_element() == "hydra.searchpath":
                entries = override.value()
        for entry in entries or ():
            check_search_path(str(entry))


def check_job(config: DictConfig) -> None:
    """Checks that a job's config makes a run.

    Raises:
        Mistake: it does not.
    """
    from gradexp.experiment import build

    build(_without_hydra(config))


def _without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def task(config: DictConfig) -> Result:
    """What Hydra runs as a job."""
    from gradexp.job import perform

    hydra = HydraConfig.get()
    number = hydra.job.num if hydra.mode == RunMode.MULTIRUN else None
    return perform(config, Path(hydra.runtime.output_dir), number)


class Runs(NamedTuple):
    """What was run: each job's overrides and result; a sweep has a folder of its own."""

    sweep: Path | None
    jobs: list[tuple[list[str], Result]]


def main(arguments: Sequence[str]) -> Runs | None:
    """Does what the arguments of ``gradexp run`` say.

    Returns:
        What was run, or None where something was shown instead.

    Raises:
        Mistake: a person's mistake; nothing was left behind.
    """
    version.setbase("1.3")
    parser = get_args_parser()
    parser.prog = "gradexp run"
    parser.error = _refuse  # type: ignore[method-assign]
    args = parser.parse_intermixed_args(arguments)
    if args.experimental_rerun:
        raise Mistake("--experimental-rerun", args.experimental_rerun, "pickles are not used here")
    name = ("config" if args.config_name is None else args.config_name).removesuffix(".yaml")
    if args.config_path is not None:
        _check_primary(Path(args.config_path).absolute(), name)
        args.overrides = [*_folders(args.overrides), *args.overrides]
    loader = GatedLoader(_search_path(args))
    hydra = Hydra(task_name="gradexp", config_loader=loader)
    GlobalHydra.instance().clear()
    GlobalHydra.instance().initialize(hydra)
    try:
        with explained(args.overrides):
            if _show(hydra, name, args, parser):
                return None
            loader.builds = True
            return _run(hydra, name, args)
    finally:
        GlobalHydra.instance().clear()


def _check_primary(folder: Path, name: str) -> None:
    """Checks that a person's config is there: the search path would go on to gradexp's own."""
    if not folder.is_dir():
        raise Mistake("--config-path", folder, "there is no such folder")
    if not (folder / f"{name}.yaml").is_file():
        raise Mistake("--config-path", folder, f"there is no {name}.yaml in it")


def _folders(overrides: Sequence[str]) -> list[str]:
    """Where a primary config that is not gradexp's writes to, unless the overrides say it."""
    ours = OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml"), resolve=False)
    assert isinstance(ours, dict)
    chosen = {f"hydra.{part}.dir": ours["hydra"][part]["dir"] for part in ("run", "sweep")}
    given = {override.partition("=")[0] for override in overrides}
    return [f"{key}='{folder}'" for key, folder in chosen.items() if key not in given]


def _refuse(message: str) -> NoReturn:
    raise Mistake("", "", f"{message}; see gradexp run --help")


def _search_path(args: Namespace) -> ConfigSearchPath:
    """gradexp's configs, or those of ``--config-path``; a person's own; the experiments."""
    main = Path(args.config_path).absolute() if args.config_path else CONF
    path = create_config_search_path(f"file://{main}")
    extra = []
    if args.config_dir is not None:
        extra.append(("command-line", Path(args.config_dir or "nothing given").absolute()))
    if args.config_path:
        extra.append(("gradexp", CONF))
    for provider, folder in (*extra, ("experiments", EXPERIMENTS)):
        if not folder.is_dir():
            raise Mistake("--config-dir", folder, "there is no such folder")
        path.prepend(provider, f"file://{folder}", SearchPathQuery(provider="schema"))
    return path


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


def _run(hydra: Hydra, name: str, args: Namespace) -> Runs:
    """Runs one job, or a sweep where the flags or the config say so."""
    overrides = list(args.overrides)
    config = hydra.compose_config(name, overrides, RunMode.MULTIRUN, validate_sweep_overrides=False)
    if args.multirun or (not args.run and config.hydra.mode == RunMode.MULTIRUN):
        return _run_sweep(hydra, name, [*overrides, "hydra.mode=MULTIRUN"])
    parsed = OverridesParser.create().parse_overrides(overrides)
    GatedLoader.validate_sweep_overrides_legal(parsed, RunMode.RUN, from_shell=True)
    config.hydra.mode = RunMode.RUN
    return _run_one(hydra, name, config)


def _run_one(hydra: Hydra, name: str, config: DictConfig) -> Runs:
    check_job(config)
    HydraConfig.instance().set_config(config)
    folder, overrides = Path(config.hydra.run.dir), list(config.hydra.overrides.task)
    with claimed("hydra.run.dir", folder), explained(overrides):
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
        callbacks = Callbacks(config)
        callbacks.on_run_start(config=config, config_name=name)
        job = run_job(
            hydra_context=HydraContext(config_loader=hydra.config_loader, callbacks=callbacks),
            task_function=task,
            config=config,
            job_dir_key="hydra.run.dir",
            job_subdir_key=None,
        )
        callbacks.on_run_end(config=config, config_name=name, job_return=job)
        return Runs(sweep=None, jobs=[_outcome(job)])  # raises what the job raised


def _run_sweep(hydra: Hydra, name: str, overrides: list[str]) -> Runs:
    config = hydra.compose_config(name, overrides, RunMode.MULTIRUN)
    HydraConfig.instance().set_config(config)
    folder = Path(config.hydra.sweep.dir)
    subdir = OmegaConf.to_container(config.hydra.sweep, resolve=False)["subdir"]  # type: ignore[call-overload, index]
    if "${" not in str(subdir):
        reason = "must differ from job to job, as ${hydra.job.num} does"
        raise Mistake("hydra.sweep.subdir", subdir, reason)
    task_overrides = list(config.hydra.overrides.task)
    with claimed("hydra.sweep.dir", folder), explained(task_overrides):
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
        callbacks = Callbacks(config)
        callbacks.on_multirun_start(config=config, config_name=name)
        context = HydraContext(config_loader=hydra.config_loader, callbacks=callbacks)
        sweeper = Plugins.instance().instantiate_sweeper(
            config=config, hydra_context=context, task_function=task
        )
        batches = sweeper.sweep(arguments=task_overrides)
        if batches is not None and not any(batches):
            raise Mistake("", "", "the sweep has no jobs: one of its axes has no values")
        callbacks.on_multirun_end(config=config, config_name=name)
    jobs = [_outcome(job) for batch in batches or () for job in batch]
    return Runs(sweep=folder, jobs=jobs)


def _outcome(job: JobReturn) -> tuple[list[str], Result]:
    """What a job gave.

    Raises:
        Exception: what the job raised.
    """
    if isinstance(job._return_value, Mistake):
        raise job._return_value  # reading it the other way, Hydra would say more than one line
    return list(job.overrides or ()), job.return_value
