"""Reads YAML files that others may have written, if their content is small when expanded.

In YAML an alias stands for a whole part of the file. A few lines with aliases of aliases expand to
billions of values, which OmegaConf would copy one by one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from yaml.nodes import MappingNode, Node, SequenceNode

from gradexp.errors import UserError
from gradexp.files.plain import read_small

if TYPE_CHECKING:
    from omegaconf import DictConfig, ListConfig

_MOST = 100_000
"""The most values that a file may expand to; gradexp's own have about two hundred."""

_LARGEST = 4 * 2**20
"""The limit on the size of a file, in bytes."""


def check_small(path: Path) -> None:
    """Checks that a YAML file is small, and expands to a small config.

    Args:
        path: the file. Invalid YAML is no error here; reading the file will report it.

    Raises:
        UserError: if it is too large, or not a regular file.
        OSError: if it cannot be read.
    """
    try:
        content = read_small(path, _LARGEST)
    except ValueError as error:
        raise UserError("", path, f"{path}: is not a config: {error}") from None
    if b"*" not in content or b"&" not in content:
        return  # no aliases
    try:
        root = yaml.compose(content, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return
    if root is not None and _expanded(root) > _MOST:
        raise UserError("", path, f"{path}: its aliases expand to more than {_MOST} values")


def check_interpolations(node: Any) -> None:
    """Checks that a config is small when its interpolations are expanded, without resolving them.

    A few lines with interpolations of interpolations expand to billions of characters.

    Args:
        node: the config as plain values, with interpolations not resolved.

    Raises:
        UserError: if it is too large.
    """
    sizes: dict[str, int] = {}

    def size(value: Any, place: tuple[str, ...], above: tuple[str, ...]) -> int:
        if isinstance(value, dict):
            parts = ((str(key), one) for key, one in value.items())
            return 1 + sum(size(one, (*place, key), above) for key, one in parts)
        if isinstance(value, list):
            return 1 + sum(size(one, (*place, str(i)), above) for i, one in enumerate(value))
        if not isinstance(value, str):
            return 1
        names = _NAME.findall(value) if "${" in value else ()
        return 1 + len(value) + sum(named(name, place, above) for name in names)

    def named(name: str, place: tuple[str, ...], above: tuple[str, ...]) -> int:
        """Returns the size of what a path leads to, from the root or, after dots, from a place."""
        dots = len(name) - len(name.lstrip("."))
        base = place[: max(0, len(place) - dots)] if dots else ()
        path = (*base, *(part for part in re.split(r"[.\[\]]+", name) if part))
        whole = ".".join(path)
        if whole not in sizes:
            if not path or whole in above or len(above) > _DEEPEST:
                return 0  # an error that is left to OmegaConf to report
            sizes[whole] = size(_at(node, path), path, (*above, whole))
        if sizes[whole] > _MOST_LETTERS:
            reason = f"interpolations expand it to more than {_MOST_LETTERS} letters"
            raise UserError(whole, "", reason)
        return sizes[whole]

    if size(node, (), ()) > _MOST_LETTERS:
        reason = f"interpolations expand the config to more than {_MOST_LETTERS} letters"
        raise UserError("", "", reason)


_NAME = re.compile(r"[\w.\[\]]+")
_MOST_LETTERS = 10**6
_DEEPEST = 100


def _at(node: Any, path: tuple[str, ...]) -> Any:
    """Returns the value at a path, or None if there is none."""
    for part in path:
        if isinstance(node, dict):
            node = node.get(part)
        elif isinstance(node, list) and part.isdecimal() and int(part) < len(node):
            node = node[int(part)]
        else:
            return None
    return node


def read_plain(path: Path) -> Any:
    """Reads a YAML file as plain values, ten times as fast as OmegaConf does.

    Raises:
        ValueError: if it is damaged, or too large.
        OSError: if it cannot be read.
    """
    content = read_small(path, _LARGEST)
    if not content.endswith(b"\n"):
        raise ValueError("its last line is cut")
    try:
        return yaml.load(content, Loader=_FAST)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error)) from None


_FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_config(path: Path) -> DictConfig | ListConfig:
    """Reads the config in a YAML file of a run's folder.

    Raises:
        UserError: if it is missing, damaged, or too large.
        OSError: if it cannot be read.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        check_small(path)
        config = OmegaConf.load(path)
        check_interpolations(OmegaConf.to_container(config))
        return config
    except (FileNotFoundError, NotADirectoryError):
        raise UserError("", path, f"{path}: is not there") from None
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, RecursionError, OSError) as error:
        if isinstance(error, UserError) or (isinstance(error, OSError) and error.errno is not None):
            raise
        reason = " ".join(str(error).split())[:200]
        raise UserError("", path, f"{path}: is damaged ({reason})") from None


def _expanded(root: Node) -> int:
    """Returns how many values a file expands to; an alias counts as all that it stands for."""
    sizes: dict[int, int] = {}
    waiting: list[tuple[Node, bool]] = [(root, False)]
    while waiting:
        node, counted = waiting.pop()
        if not counted and id(node) not in sizes:
            sizes[id(node)] = 1  # used if the node contains itself, which is refused elsewhere
            waiting.append((node, True))
            waiting.extend((child, False) for child in _children(node))
        elif counted:
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in _children(node))
    return sizes[id(root)]


def _children(node: Any) -> list[Node]:
    if isinstance(node, MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, SequenceNode) else []
