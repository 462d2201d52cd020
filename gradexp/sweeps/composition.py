"""Composes the configs of a sweep's jobs: once per structure, then by setting plain values.

Hydra takes 40 to 60 ms to compose a config. Most jobs of a sweep differ only in plain values. Their
configs are made by setting these values in a copy of a config that Hydra composed for one of them.
Overrides of any other kind (group choices, additions, deletions, interpolations, packages) are left
to Hydra.
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
    """A parsed override of a job."""

    text: str
    override: Override
    plain: bool
    """whether the override sets an existing key to a plain value and does nothing else"""
    value: Any

    @property
    def shape(self) -> tuple[str, ...]:
        """A key that is the same for this override in all jobs of one structure."""
        if self.plain:
            return (self.override.key_or_group, type(self.value).__name__)
        return (str(self.override.input_line),)


@dataclass(frozen=True)
class Template:
    """The config that jobs of one structure share, apart from their own values."""

    config: DictConfig
    """the config of one of these jobs, including ``hydra``"""

    @cached_property
    def reusable(self) -> ReusableConfig:
        """A reusable copy of the config, including ``hydra``."""
        config = copy.deepcopy(self.config)
        OmegaConf.set_readonly(config.hydra, False)
        OmegaConf.set_struct(config.hydra, False)
        return ReusableConfig(config)

    @cached_property
    def reusable_task(self) -> ReusableConfig:
        """A reusable copy of the config without ``hydra``."""
        return ReusableConfig(without_hydra(self.config))

    @cached_property
    def naming(self) -> DirectoryNaming | None:
        """How ``hydra.job.override_dirname`` is made, or None if a resolver makes it."""
        return DirectoryNaming.of(self.config)

    @cached_property
    def logs_apart(self) -> bool:
        """Whether all log files of a job are in its own folder."""
        plain = OmegaConf.to_container(self.config.hydra.job_logging)
        handlers = plain.get("handlers") if isinstance(plain, dict) else None
        files = [str(one["filename"]) for one in (handlers or {}).values() if "filename" in one]
        return all(file.startswith("${hydra.runtime.output_dir}/") for file in files)

    @cached_property
    def numbered_in(self) -> str | None:
        """The parent of the job folders, if each is named by its job's number; otherwise None."""
        sweep = self.config.hydra.sweep
        plain = OmegaConf.to_container(sweep, resolve=False)
        assert isinstance(plain, dict)
        if plain["subdir"] != "${hydra.job.num}" or "${" in _NOW.sub("", plain["dir"]):
            return None
        return str(sweep.dir)


@dataclass(frozen=True)
class Job:
    """A job of a sweep: a template and the job's own values."""

    number: int
    overrides: list[str]
    template: Template
    values: dict[str, Any]
    """the job's own values by dotted key, except those below ``hydra``"""
    hydra: dict[str, Any] = field(repr=False)
    """the job's own values below ``hydra``, by dotted key"""

    def config(self) -> DictConfig:
        """Returns a new config, including ``hydra``, equal to the one that Hydra composes."""
        config = copy.deepcopy(self.template.config)
        set_values(config, self.values)
        with read_write(config.hydra), open_dict(config.hydra):
            set_values(config, self.hydra)
        return config

    def reused_config(self) -> DictConfig:
        """Returns the same config as `config`, possibly in an object shared with other jobs.

        The next call for another job of the template may overwrite its values.
        """
        return self._written() if self._is_reusable() else self.config()

    def reused_task_config(self) -> DictConfig:
        """Returns the config without ``hydra``, as a task function gets it.

        It may be overwritten like `reused_config`.
        """
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
        """Returns the contents of the reusable config after it has held other values."""
        for values in (self.values, self.hydra):
            self.template.reusable.write_once({key: _another(one) for key, one in values.items()})
        return plain(self._written())

    def name(self) -> str:
        """Returns Hydra's name of the job, which is also the name of its log file."""
        return str(self.template.config.hydra.job.name)

    def folder(self) -> Path:
        """Returns the absolute path of the job's output folder."""
        parent, subdir = self.template.numbered_in, str(self.number)
        if parent is None:
            sweep = self.reused_config().hydra.sweep
            parent, subdir = str(sweep.dir), str(sweep.subdir)
        return Path(os.path.abspath(os.path.join(parent, subdir)))


def plain(config: DictConfig) -> Any:
    """Returns a config as dicts, lists and plain values, with interpolations left unresolved."""
    return OmegaConf.to_container(config, resolve=False)


def _another(value: Any) -> Any:
    """Returns a different value of the same type; None stays None."""
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
        loader: composes the configs for which there is no shortcut.
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
        """Composes a job and keeps it until `take` is called.

        Args:
            overrides: the job's overrides.
            number: the job's number.

        Raises:
            HydraException: if the config cannot be composed.
        """
        known = self._jobs.get(number)
        if known is None or known.overrides != list(overrides):
            known = self._jobs[number] = self._job(overrides, number)
        return known

    def take(self, overrides: Sequence[str], number: int) -> Job:
        """Like `compose`, for a job that is about to run: it is not kept any longer."""
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
        """Composes a job with Hydra."""
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
        hydra = {  # the values that Hydra's launchers set
            "hydra.overrides.task": [override.input_line for override in task],
            "hydra.job.num": number,
            "hydra.job.id": str(number),
        }
        if template.naming is not None:
            hydra["hydra.job.override_dirname"] = template.naming.name(task)
        return Job(number, [setting.text for setting in settings], template, values, hydra)

    def values(self, overrides: Sequence[str]) -> dict[str, Any]:
        """Returns the values and the group choices that overrides set, by key.

        Deletions and overrides of ``hydra`` are left out.
        """
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
    """Whether a value can be set without being resolved or merged."""
    if isinstance(value, list):
        return all(_is_plain(item) and not isinstance(item, list) for item in value)
    if isinstance(value, str):
        return "${" not in value and value != "???"
    return value is None or isinstance(value, bool | int | float)


def _is_set(config: DictConfig, settings: Sequence[_Setting]) -> bool:
    """Whether a config that Hydra composed holds the plain settings exactly as they were given.

    If it does, other values of the same types may be set there as well.
    """
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
    """Whether a node is a mapping that accepts values of any type."""
    return isinstance(node, DictConfig) and OmegaConf.get_type(node) is dict
