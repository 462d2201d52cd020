"""Writes the files in a job's ``.hydra`` folder.

Jobs of one structure have the same files except for a few lines, so the other lines are made once.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

from omegaconf import DictConfig, OmegaConf

from gradexp.config.internals import to_yaml

_EASY = re.compile(r"[A-Za-z/][\w./,+\[\]-]*[=/][\w./=,+\[\]-]*", re.ASCII)
"""Strings that YAML writes without quotes and that rarely occur twice, such as paths and names made
of overrides. They are inserted without calling the YAML library."""


class _Text:
    """A config written as YAML, in which the values of some keys can be replaced.

    Args:
        config: the config as dicts, lists and plain values.
        changing: the dotted keys of the values to replace.
    """

    def __init__(self, config: dict[str, Any], changing: Iterable[str]) -> None:
        self._changing = set(changing)
        self._parts: list[tuple[str, str]] = []
        """pairs of a changing key and "", or of "" and the fixed lines between two such keys"""
        self._add((), config)

    def _add(self, path: tuple[str, ...], node: dict[str, Any]) -> None:
        for name, value in node.items():
            here = (*path, name)
            key = ".".join(here)
            if key in self._changing:
                self._parts.append((key, ""))
            elif any(other.startswith(f"{key}.") for other in self._changing):
                self._parts.append(("", _dumped(here, {"": None})[len(path)]))
                self._add(here, value)
            else:
                self._parts.append(("", _lines(here, value)))

    def of(self, values: Mapping[str, Any]) -> str:
        """Returns the YAML with these values of the changing keys."""
        return "".join(
            _lines(tuple(key.split(".")), values[key]) if key else lines
            for key, lines in self._parts
        )


def _lines(path: tuple[str, ...], value: Any) -> str:
    """Returns the YAML lines of the value at a path, including the line of its own key."""
    above = max(len(path) - 1, 0)
    if path and (type(value) is int or (isinstance(value, str) and _EASY.fullmatch(value))):
        return "".join(_known(path, "str", "a=b", False)[above:]).replace("a=b", str(value))
    if _is_plain(value):
        return "".join(_known(path, type(value).__name__, value, False)[above:])
    if isinstance(value, list) and value and all(map(_is_plain, value)):
        items = [_known(path, type(item).__name__, item, True) for item in value]
        own = [line for item in items for line in item[len(path) :]]
        return "".join([*items[0][above : len(path)], *own])
    return "".join(_dumped(path, value)[above:])


def _is_plain(value: Any) -> TypeGuard[str | int | float | bool | None]:
    return isinstance(value, str | int | float | bool | None)


@cache
def _known(path: tuple[str, ...], kind: str, value: Hashable, item: bool) -> list[str]:
    """Returns the lines of a mapping that holds one plain value, or a list of one, at a path.

    They are cached, because a grid has few distinct values per key. `kind`, the name of the value's
    type, distinguishes cached values that are equal, such as 1 and 1.0.
    """
    return _dumped(path, [value] if item else value)


def _dumped(path: tuple[str, ...], node: Any) -> list[str]:
    """Returns the YAML lines of a mapping that holds only one value, at a path."""
    for name in reversed(path):
        node = {name: node}
    return to_yaml(node).splitlines(keepends=True)


class JobFiles:
    """The files that Hydra writes for jobs whose configs have the same keys.

    Args:
        config: the config of one of these jobs, including ``hydra``.
        changing: the dotted keys whose values change from job to job, including those below
            ``hydra``.
    """

    def __init__(self, config: DictConfig, changing: Iterable[str]) -> None:
        plain = OmegaConf.to_container(config, enum_to_str=True)
        assert isinstance(plain, dict)
        hydra = {"hydra": plain.pop("hydra")}
        self._task = _Text({str(name): node for name, node in plain.items()}, changing)
        self._hydra = _Text(hydra, changing)

    def texts(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Returns the contents of a job's files, by file name.

        Args:
            values: the values of the changing keys.
        """
        return {
            "config.yaml": self._task.of(values),
            "hydra.yaml": self._hydra.of(values),
            "overrides.yaml": _lines((), values["hydra.overrides.task"]),
        }

    def write(self, folder: Path, values: Mapping[str, Any]) -> None:
        """Writes the files of a job.

        Args:
            folder: the folder to write to, which is created if it does not exist.
            values: the values of the changing keys.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in self.texts(values).items():
            (folder / name).write_text(text, encoding="utf-8")
