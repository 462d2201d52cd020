"""A config that is reused for many jobs by replacing the values in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, ListConfig, Node

from gradexp.config.internals import node_at, node_with, put_node, put_nodes

_MOST_NODES = 4096
"""The most nodes that are kept for values that may occur again."""


class ReusableConfig:
    """A config whose values are replaced for every job, because a copy would take milliseconds.

    Args:
        config: the config, which is modified in place.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self._written: dict[str, str] = {}
        self._nodes: dict[tuple[str, str], Node] = {}

    def write(self, values: dict[str, Any]) -> None:
        """Sets values by dotted key. Every call must set the same keys.

        The nodes of the values are kept, because other jobs often have the same values.
        """
        for key, value in values.items():
            text = repr(value)  # 1 and 1.0 are equal, and differ in a config
            if self._written.get(key) != text:
                holder, name = place(self.config, key)
                put_node(holder, name, self._node(key, value, text, lambda: node_at(holder, name)))  # noqa: B023 - called at once
                self._written[key] = text

    def write_once(self, values: dict[str, Any]) -> None:
        """Sets values by dotted key that rarely occur in another job.

        Only the nodes of list items are kept, because those do occur in other jobs.
        """
        for key, value in values.items():
            holder, name = place(self.config, key)
            node = node_at(holder, name)
            if isinstance(value, list) and isinstance(node, ListConfig) and len(node) == len(value):
                put_nodes(
                    node,
                    [
                        self._item(node, f"{key}[{index}]", index, item)
                        for index, item in enumerate(value)
                    ],
                )
            else:
                holder[name] = value

    def _item(self, holder: ListConfig, key: str, index: int, value: Any) -> Node:
        """Returns a node for an item of a list."""
        return self._node(key, value, repr(value), lambda: node_at(holder, index))

    def _node(self, key: str, value: Any, text: str, old: Callable[[], Any]) -> Node:
        """Returns a node that holds a value, made as a copy of the old node at its place.

        The node is kept in case the value occurs again.
        """
        if (key, text) not in self._nodes:
            if len(self._nodes) >= _MOST_NODES:
                self._nodes = {}
            self._nodes[key, text] = node_with(old(), value)
        return self._nodes[key, text]


def set_values(config: DictConfig, values: dict[str, Any]) -> None:
    """Sets values by dotted key through OmegaConf's public interface."""
    for key, value in values.items():
        holder, name = place(config, key)
        holder[name] = value


def place(config: DictConfig, key: str) -> tuple[DictConfig, str]:
    """Returns the mapping that holds the value of a dotted key, and the value's key in it."""
    *parents, name = key.split(".")
    for parent in parents:
        config = config[parent]
    return config, name
