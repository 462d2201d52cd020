"""YAML files that others may have written: read only where what they expand to is small.

In YAML an alias stands for a whole part of the file. A few lines of aliases of aliases make
billions of values, which OmegaConf would copy out one by one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from yaml.nodes import MappingNode, Node, SequenceNode

from gradexp.mistakes import Mistake

if TYPE_CHECKING:
    from omegaconf import DictConfig, ListConfig

_MOST = 100_000
"""Values that a file may expand to: gradexp's own have some two hundred."""

_LARGEST = 4 * 2**20
"""Bytes that a file may have."""


def check_small(path: Path) -> None:
    """Checks that a YAML file is small, and expands to a small config.

    Args:
        path: of the file; what is no YAML is left to whoever reads it.

    Raises:
        Mistake: it is too large.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    if size > _LARGEST:
        raise Mistake("", path, f"{path}: is too large for a config: {size} bytes")
    content = path.read_bytes()
    if b"*" not in content or b"&" not in content:
        return  # it has no aliases
    try:
        root = yaml.compose(content, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return
    if root is not None and _expanded(root) > _MOST:
        raise Mistake("", path, f"{path}: its aliases expand to more than {_MOST} values")


def read_config(path: Path) -> DictConfig | ListConfig:
    """The config in a YAML file of a run's folder.

    Raises:
        Mistake: it is missing, damaged, or too large.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        check_small(path)
        return OmegaConf.load(path)
    except (FileNotFoundError, NotADirectoryError):
        raise Mistake("", path, f"{path}: is not there") from None
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, RecursionError, OSError) as error:
        if isinstance(error, Mistake) or (isinstance(error, OSError) and error.errno is not None):
            raise
        reason = " ".join(str(error).split())[:200]
        raise Mistake("", path, f"{path}: is damaged ({reason})") from None


def _expanded(root: Node) -> int:
    """The values of a file, those behind aliases counted wherever they stand."""
    sizes: dict[int, int] = {}
    waiting: list[tuple[Node, bool]] = [(root, False)]
    while waiting:
        node, counted = waiting.pop()
        if not counted and id(node) not in sizes:
            sizes[id(node)] = 1  # of one that holds itself: it is refused elsewhere
            waiting.append((node, True))
            waiting.extend((child, False) for child in _children(node))
        elif counted:
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in _children(node))
    return sizes[id(root)]


def _children(node: Any) -> list[Node]:
    if isinstance(node, MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, SequenceNode) else []
