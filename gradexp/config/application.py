"""Sets up Hydra for a command line, with a loader that checks each config before it is used.

This replaces ``hydra.main``, which creates the output folder before the task sees the config, and
prints errors in its own way. Otherwise it does the same, with the same parts of Hydra.
"""

from __future__ import annotations

import copy
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict, read_write

from gradexp.config import axes
from gradexp.config.errors import explained
from gradexp.config.gate.environment import guarded_environment
from gradexp.config.internals import Hydra, hydra_parser, set_version_base
from gradexp.config.loader import GatedLoader, check_primary, output_folders, search_path
from gradexp.errors import UserError


class Application(NamedTuple):
    """Hydra, ready to compose the configs of a command line."""

    hydra: Hydra
    name: str
    """name of the primary config"""
    overrides: list[str]

    def compose(self, mode: RunMode) -> DictConfig:
        """Composes the config of one job or of a sweep.

        Args:
            mode: ``RunMode.RUN`` for one job, ``RunMode.MULTIRUN`` for a sweep.
        """
        overrides = list(self.overrides)
        if mode is RunMode.MULTIRUN:
            overrides.append("hydra.mode=MULTIRUN")
        return self.hydra.compose_config(self.name, overrides, mode)

    def check_one(self) -> None:
        """Checks that the overrides describe a single job.

        Raises:
            UserError: if one of them has several values.
        """
        for override in OverridesParser.create().parse_overrides(self.overrides):
            if override.is_sweep_override():
                reason = "several values make a sweep: add -m; a list is written [a,b]"
                value = override.get_value_string()
                raise UserError(override.get_key_element(), value, reason)


def arguments_parser(program: str) -> ArgumentParser:
    """Returns Hydra's parser of command-line arguments.

    Args:
        program: the name of the program in its help and error messages.
    """
    parser = hydra_parser()
    parser.prog = program
    return parser


@contextmanager
def application(args: Namespace, typed: bool = True) -> Iterator[Application]:
    """Sets up Hydra for the arguments of a command line, for as long as the context lasts.

    Args:
        args: the parsed arguments.
        typed: whether the user typed them. When a sweep is resumed, they come from its file.

    Raises:
        UserError: if a config that the arguments name does not exist, or Hydra raises an exception
            inside the context.
    """
    set_version_base()
    axes.register()
    name = ("config" if args.config_name is None else args.config_name).removesuffix(".yaml")
    overrides = list(args.overrides)
    if args.config_path is not None:
        check_primary(Path(args.config_path).absolute(), name)
        overrides = [*output_folders(overrides), *overrides]
    hydra = Hydra(task_name="gradexp", config_loader=GatedLoader(search_path(args)))
    GlobalHydra.instance().clear()
    GlobalHydra.instance().initialize(hydra)
    try:
        with guarded_environment(overrides if typed else ()), explained(overrides):
            yield Application(hydra, name, overrides)
    finally:
        GlobalHydra.instance().clear()


def compose(args: Namespace) -> DictConfig:
    """Returns the config of one run, without ``hydra``, and runs nothing.

    Args:
        args: arguments like those of ``gradexp run``, parsed.

    Raises:
        UserError: if the user made an error.
    """
    with application(args) as app:
        app.check_one()
        return without_hydra(app.compose(RunMode.RUN))


def without_hydra(config: DictConfig) -> DictConfig:
    """Returns a copy of a job's config without ``hydra``, as a task function gets it."""
    task = copy.deepcopy(config)
    with read_write(task), open_dict(task):
        del task["hydra"]
    return task
