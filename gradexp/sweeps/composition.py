"""Composes the jobs of a sweep: once per structure, then by setting plain values.

Composing a config takes Hydra 40 to 60 ms. Most jobs of a sweep differ from another in plain values
alone: such a job's config is the other's with these values set. Whatever is not surely that (group
choices, additions, deletions, interpolations, packages) is composed by Hydra.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, ListConfig, Node, OmegaConf, open_dict, read_write

from gradexp.config.application import without_hydra

_NOW = re.compile(r"\$\{now:[^${}]*\}")
_KEY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


_REMEMBERED = 4096
"""Nodes that are kept for when their values come again."""


class _Setting(NamedTuple):
    """An override of a job, parsed once."""

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


class ReusableConfig:
    """A config that is written over for every job: a copy of it would take milliseconds."""

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self._written: dict[str, str] = {}
        self._nodes: dict[tuple[str, str], Node] = {}

    def write(self, values: dict[str, Any]) -> None:
        """Sets values by key, always of the same keys."""
        for key, value in values.items():
            text = repr(value)  # 1 and 1.0 are equal, and differ in a config
            if self._written.get(key) != text:
                self._put(key, value, text)
                self._written[key] = text

    def _put(self, key: str, value: Any, text: str) -> None:
        """Puts a node of its own in the place of a value's: a grid has few values of a key, and to
        make a node of a list takes OmegaConf a millisecond."""
        holder, name = _place(self.config, key)
        content: Any = holder._content
        content[name] = self._node(key, value, text, lambda: holder._get_node(name))

    def write_once(self, values: dict[str, Any]) -> None:
        """Sets values by key that are hardly another job's again, but for the items of lists."""
        for key, value in values.items():
            holder, name = _place(self.config, key)
            node = holder._get_node(name)
            if isinstance(value, list) and isinstance(node, ListConfig) and len(node) == len(value):
                node.__dict__["_content"] = [
                    self._item(node, f"{key}[{index}]", index, item)
                    for index, item in enumerate(value)
                ]
            else:
                holder[name] = value

    def _item(self, holder: ListConfig, key: str, index: int, value: Any) -> Node:
        """The node of a list's item."""
        return self._node(key, value, repr(value), lambda: holder._get_node(index))

    def _node(self, key: str, value: Any, text: str, old: Callable[[], Any]) -> Node:
        """A node that holds a value, remembered; made like the old one in its place."""
        if (key, text) not in self._nodes:
            if len(self._nodes) >= _REMEMBERED:
                self._nodes = {}
            node = copy.deepcopy(old())
            assert isinstance(node, Node)
            node._set_value(value)
            self._nodes[key, text] = node
        return self._nodes[key, text]


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
    def naming(self) -> tuple[list[str], str, str]:
        """How overrides are made a folder's name: keys left out, and what stands between."""
        naming = self.config.hydra.job.config.override_dirname
        return list(naming.exclude_keys), naming.item_sep, naming.kv_sep

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
        _set(config, self.values)
        with read_write(config.hydra), open_dict(config.hydra):
            _set(config, self.hydra)
        return config

    def reused_config(self) -> DictConfig:
        """The same on the template's reusable, until the next job is."""
        self.template.reusable.write(self.values)
        self.template.reusable.write_once(self.hydra)
        return self.template.reusable.config

    def reused_task_config(self) -> DictConfig:
        """The config as a task function gets it, on the template's reusable."""
        self.template.reusable_task.write(self.values)
        return self.template.reusable_task.config

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


def _set(config: DictConfig, values: dict[str, Any]) -> None:
    for key, value in values.items():
        holder, name = _place(config, key)
        holder[name] = value


def _place(config: DictConfig, key: str) -> tuple[DictConfig, str]:
    """The mapping in which a dotted key's value stands, and its name there."""
    *parents, name = key.split(".")
    for parent in parents:
        config = config[parent]
    return config, name


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
        if shape not in self._templates:
            config = self._composed(overrides)
            self._templates[shape] = Template(config) if _is_set(config, settings) else None
        template, values = self._templates[shape], {}
        if template is None:
            template = Template(self._composed(overrides))
        else:
            values = {s.override.key_or_group: s.value for s in settings if s.plain}
        hydra = self._hydra(settings, number, template)
        return Job(number, list(overrides), template, values, hydra)

    def values(self, overrides: Sequence[str]) -> dict[str, Any]:
        """What overrides set, by key: a group's choice, or a value."""
        parsed = [self._parsed(text).override for text in overrides]
        return {
            override.key_or_group: override.value()
            for override in parsed
            if not override.is_delete() and not override.is_hydra_override()
        }

    def _composed(self, overrides: Sequence[str]) -> DictConfig:
        return self._loader.load_sweep_config(self.master, list(overrides))

    def _hydra(
        self, settings: Sequence[_Setting], number: int, template: Template
    ) -> dict[str, Any]:
        """What Hydra says of a job in its own config."""
        task = [s.override for s in settings if not s.override.is_hydra_override()]
        return {
            "hydra.overrides.task": [override.input_line for override in task],
            "hydra.job.override_dirname": get_overrides_dirname(task, *template.naming),
            "hydra.job.num": number,
            "hydra.job.id": str(number),
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
            self._settings[text] = _Setting(override, plain, value)
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
        *parents, name = key.split(".")
        node: Any = config
        for parent in parents:
            node = node._get_node(parent) if isinstance(node, DictConfig) else None
        if not isinstance(node, DictConfig) or node._is_interpolation():
            return False
        found = node._get_node(name)
        if found is None or found._metadata.ref_type is not Any:
            return False
        value = OmegaConf.to_container(found) if isinstance(found, ListConfig) else found._value()
        if type(value) is not type(setting.value) or repr(value) != repr(setting.value):
            return False
    return True
