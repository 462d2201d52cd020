"""Composes the jobs of a sweep: once per structure, then by setting plain values.

Composing a config takes Hydra 40 to 60 ms. Most jobs of a sweep differ from another in plain values
alone: such a job's config is the other's with these values set. Whatever is not surely that (group
choices, additions, deletions, interpolations, packages) is composed by Hydra.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict, read_write

from gradexp.config.application import without_hydra
from gradexp.config.internals import ConfigLoaderImpl
from gradexp.config.loader import DirectoryNaming
from gradexp.sweeps import shortcuts
from gradexp.sweeps.reusable_config import ReusableConfig, set_values

_NOW = re.compile(r"\$\{now:[^${}]*\}")
_KEY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class _Setting(NamedTuple):
    """An override of a job, parsed once."""

    text: str
    override: Override
    plain: bool
    """whether it may do no more than set a key to a plain value"""
    value: Any

    @property
    def shape(self) -> tuple[str, ...]:
        """What jobs of one structure have in common."""
        if self.plain:
            return (self.override.key_or_group, type(self.value).__name__)
        return (str(self.override.input_line),)


@dataclass(frozen=True)
class Template:
    """What jobs of one structure share: the config of one of them."""

    config: DictConfig
    """with ``hydra``"""

    @cached_property
    def reusable(self) -> ReusableConfig:
        """A copy, ``hydra`` and all."""
        config = copy.deepcopy(self.config)
        OmegaConf.set_readonly(config.hydra, False)
        OmegaConf.set_struct(config.hydra, False)
        return ReusableConfig(config)

    @cached_property
    def reusable_task(self) -> ReusableConfig:
        """The same without ``hydra``."""
        return ReusableConfig(without_hydra(self.config))

    @cached_property
    def naming(self) -> DirectoryNaming | None:
        """how ``hydra.job.override_dirname`` is made"""
        return DirectoryNaming.of(self.config)

    @cached_property
    def logs_apart(self) -> bool:
        """Whether each job has log files of its own."""
        plain = OmegaConf.to_container(self.config.hydra.job_logging)
        handlers = plain.get("handlers") if isinstance(plain, dict) else None
        files = [str(one["filename"]) for one in (handlers or {}).values() if "filename" in one]
        return all(file.startswith("${hydra.runtime.output_dir}/") for file in files)

    @cached_property
    def numbered_in(self) -> str | None:
        """The folder in which each job's is called by its number; None where it is otherwise."""
        sweep = self.config.hydra.sweep
        plain = OmegaConf.to_container(sweep, resolve=False)
        assert isinstance(plain, dict)
        if plain["subdir"] != "${hydra.job.num}" or "${" in _NOW.sub("", plain["dir"]):
            return None
        return str(sweep.dir)


@dataclass(frozen=True)
class Job:
    """A job of a sweep: a template, and what is its own in it."""

    number: int
    overrides: list[str]
    template: Template
    values: dict[str, Any]
    """its own values, by key"""
    hydra: dict[str, Any] = field(repr=False)
    """its own values below ``hydra``, by key"""

    def config(self) -> DictConfig:
        """The config, with ``hydra``, as Hydra composes it."""
        config = copy.deepcopy(self.template.config)
        set_values(config, self.values)
        with read_write(config.hydra), open_dict(config.hydra):
            set_values(config, self.hydra)
        return config

    def reused_config(self) -> DictConfig:
        """Returns the same config, which another job's values may replace at any time."""
        return self._written() if self._is_reusable() else self.config()

    def reused_task_config(self) -> DictConfig:
        """Returns the config as a task function gets it, to be replaced like `reused_config`."""
        if not self._is_reusable():
            return without_hydra(self.config())
        self.template.reusable_task.write(self.values)
        return self.template.reusable_task.config

    def _is_reusable(self) -> bool:
        name = "replacing the values in a config"
        return shortcuts.try_once(name, self._tried, lambda: plain(self.config()))

    def _written(self) -> DictConfig:
        self.template.reusable.write(self.values)
        self.template.reusable.write_once(self.hydra)
        return self.template.reusable.config

    def _tried(self) -> Any:
        """Returns what a reusable config holds after it held another job."""
        for values in (self.values, self.hydra):
            self.template.reusable.write_once({key: _another(one) for key, one in values.items()})
        return plain(self._written())

    def name(self) -> str:
        """What Hydra calls the job, and its log file."""
        return str(self.template.config.hydra.job.name)

    def folder(self) -> Path:
        """Where the job writes to."""
        parent, subdir = self.template.numbered_in, str(self.number)
        if parent is None:
            sweep = self.reused_config().hydra.sweep
            parent, subdir = str(sweep.dir), str(sweep.subdir)
        return Path(os.path.abspath(os.path.join(parent, subdir)))


def plain(config: DictConfig) -> Any:
    """Returns a config as mappings, lists and values, interpolations unresolved."""
    return OmegaConf.to_container(config, resolve=False)


def _another(value: Any) -> Any:
    """Returns another value of the same type."""
    if isinstance(value, list):
        return [_another(item) for item in value]
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return f"{value}x"
    return None if value is None else value + 1


class Composer:
    """Composes the jobs of one sweep.

    Args:
        loader: composes what cannot be had faster.
        master: the sweep's own config.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self._loader = loader
        self.master = master
        self._parser = OverridesParser.create(config_loader=loader)
        self._settings: dict[str, _Setting] = {}
        self._templates: dict[tuple[Any, ...], Template | None] = {}
        self._jobs: dict[int, Job] = {}

    def compose(self, overrides: Sequence[str], number: int) -> Job:
        """A job's config.

        Raises:
            HydraException: it cannot be composed.
        """
        known = self._jobs.get(number)
        if known is None or known.overrides != list(overrides):
            known = self._jobs[number] = self._job(overrides, number)
        return known

    def take(self, overrides: Sequence[str], number: int) -> Job:
        """The same, of a job that is run now: it is not kept any longer."""
        job = self.compose(overrides, number)
        del self._jobs[number]
        return job

    def _job(self, overrides: Sequence[str], number: int) -> Job:
        settings = [self._parsed(text) for text in overrides]
        shape = tuple(setting.shape for setting in settings)
        composed = None
        if shape not in self._templates or not shortcuts.allowed():
            composed = self._composed(settings, number)
            usable = shortcuts.allowed() and _is_set(composed.template.config, settings)
            self._templates[shape] = composed.template if usable else None
        template = self._templates[shape]
        if template is None:
            return composed or self._composed(settings, number)
        values = {s.override.key_or_group: s.value for s in settings if s.plain}
        job = self._job_of(template, settings, number, values)
        if composed is None and not shortcuts.try_once(
            "setting plain values in another job's config",
            lambda: plain(job.config()),
            lambda: plain(self._composed(settings, number).config()),
        ):
            return self._composed(settings, number)
        return job

    def _composed(self, settings: Sequence[_Setting], number: int) -> Job:
        """Lets Hydra compose a job."""
        config = self._loader.load_sweep_config(self.master, [setting.text for setting in settings])
        return self._job_of(Template(config), settings, number, {})

    def _job_of(
        self,
        template: Template,
        settings: Sequence[_Setting],
        number: int,
        values: dict[str, Any],
    ) -> Job:
        task = [s.override for s in settings if not s.override.is_hydra_override()]
        hydra = {  # what Hydra's launchers set
            "hydra.overrides.task": [override.input_line for override in task],
            "hydra.job.num": number,
            "hydra.job.id": str(number),
        }
        if template.naming is not None:
            hydra["hydra.job.override_dirname"] = template.naming.name(task)
        return Job(number, [setting.text for setting in settings], template, values, hydra)

    def values(self, overrides: Sequence[str]) -> dict[str, Any]:
        """What overrides set, by key: a group's choice, or a value."""
        parsed = [self._parsed(text).override for text in overrides]
        return {
            override.key_or_group: override.value()
            for override in parsed
            if not override.is_delete() and not override.is_hydra_override()
        }

    def _parsed(self, text: str) -> _Setting:
        if text not in self._settings:
            (override,) = self._parser.parse_overrides([text])
            value = override.value()
            plain = (
                override.type is OverrideType.CHANGE
                and override.package is None
                and not override.is_hydra_override()
                and _KEY.fullmatch(override.key_or_group) is not None
                and _is_plain(value)
                and not self._is_group(override.key_or_group)
            )
            self._settings[text] = _Setting(text, override, plain, value)
        return self._settings[text]

    def _is_group(self, key: str) -> bool:
        return not isinstance(self._loader, ConfigLoaderImpl) or (
            self._loader.repository.group_exists(key)
        )


def _is_plain(value: Any) -> bool:
    """Whether a value is set as it is: no interpolation, nothing to be merged."""
    if isinstance(value, list):
        return all(_is_plain(item) and not isinstance(item, list) for item in value)
    if isinstance(value, str):
        return "${" not in value and value != "???"
    return value is None or isinstance(value, bool | int | float)


def _is_set(config: DictConfig, settings: Sequence[_Setting]) -> bool:
    """Whether in a config that Hydra composed the plain settings stand as they were given, so that
    other values could stand there, too."""
    keys = [setting.override.key_or_group for setting in settings]
    for setting in settings:
        key = setting.override.key_or_group
        if not setting.plain:
            continue
        if sum(other == key or other.startswith(f"{key}.") for other in keys) > 1:
            return False
        node: Any = config
        for name in key.split("."):
            if not _is_untyped(node) or name not in node.keys():  # noqa: SIM118 - `in` resolves
                return False
            if OmegaConf.is_interpolation(node, name) or OmegaConf.is_missing(node, name):
                return False
            node = node[name]
        value = OmegaConf.to_container(node) if isinstance(node, ListConfig) else node
        if type(value) is not type(setting.value) or repr(value) != repr(setting.value):
            return False
    return True


def _is_untyped(node: Any) -> bool:
    """Returns whether a node is a mapping that takes values of every type."""
    return isinstance(node, DictConfig) and OmegaConf.get_type(node) is dict
