"""The private parts of Hydra and OmegaConf that gradexp uses.

Each name is documented with the reason why the public interface is not enough.
``tests/test_internals.py`` tests each of them, and a failure names the part that has changed. The
functions from `node_at` on only save time. `gradexp.sweeps.shortcuts` stops using them if they
behave differently from the public interface.
"""

from __future__ import annotations

import copy
import re
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import omegaconf
import yaml
from hydra import __version__, version
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.override_parser import overrides_parser
from hydra.core.utils import JobReturn
from omegaconf import DictConfig, ListConfig, Node, OmegaConf
from omegaconf._utils import get_omega_conf_dumper

__all__ = [
    "NOT_IN_DEFAULTS",
    "Callbacks",
    "ConfigLoaderImpl",
    "ConfigRepository",
    "Hydra",
    "config_place",
    "extend_grammar",
    "full_key",
    "hydra_parser",
    "node_at",
    "node_with",
    "put_node",
    "put_nodes",
    "returned",
    "search_path_from",
    "set_resolver",
    "set_version_base",
    "to_yaml",
    "view",
]

# Hydra: needed to compose configs and to run jobs.
#
# `Hydra` composes configs with a given loader; the public `hydra.compose` creates its own loader.
# `ConfigLoaderImpl` is the loader; `gradexp.config.loader` extends it to check the configs.
# `ConfigRepository` reads the loader's files; `gradexp.config.loader` extends it to cache them.
# `Callbacks` is a required argument of the public `HydraContext`, but has no public name.

NOT_IN_DEFAULTS = re.compile(r"Could not override '([^']+)'\. No match in the defaults list")
"""pattern of the message about a group that is not in the defaults list; the exception itself has
no field for the group's name"""


def set_version_base() -> None:
    """Requests the behavior of Hydra 1.3, which by default behaves like 1.1, with warnings.

    Later versions do not need this setting, and will remove it.
    """
    if __version__.startswith("1.3."):
        version.setbase("1.3")


def hydra_parser() -> ArgumentParser:
    """Returns Hydra's parser of command-line arguments, which ``hydra.main`` does not expose."""
    parser: ArgumentParser = get_args_parser()
    return parser


def search_path_from(main: Path) -> ConfigSearchPath:
    """Returns Hydra's search path for configs, with a given folder for the primary config.

    ``hydra.initialize_config_dir`` also makes one, but creates its own loader as well.
    """
    return create_config_search_path(f"file://{main}")


def config_place(repository: ConfigRepository, config_path: str) -> tuple[str, ...]:
    """Finds where a repository would read a config from, which has no public interface.

    Returns:
        The scheme, the path and the provider of the source, and the name of the file in it; an
        empty tuple if no source has the config.
    """
    source = repository._find_object_source(config_path=config_path, object_type=ObjectType.CONFIG)
    if source is None:
        return ()
    name = source._normalize_file_name(config_path)
    return (source.scheme(), source.path, source.provider, name)


def extend_grammar(functions: dict[str, Any]) -> None:
    """Adds functions to the grammar of all override parsers that this process makes later.

    Hydra's parsers get their functions only from ``create_functions``, which is therefore replaced.
    """
    if not isinstance(overrides_parser.create_functions, _ExtendedFunctions):
        extended: Any = _ExtendedFunctions(overrides_parser.create_functions, functions)
        overrides_parser.create_functions = extended


class _ExtendedFunctions:
    """A replacement for Hydra's ``create_functions`` that adds further functions."""

    def __init__(self, hydras: Any, functions: dict[str, Any]) -> None:
        self._hydras = hydras
        self._functions = functions

    def __call__(self) -> Any:
        grammar = self._hydras()
        for name, function in self._functions.items():
            grammar.register(name=name, func=function)
        return grammar


def returned(job: JobReturn) -> Any:
    """Returns what a job returned or raised, without raising it.

    The public ``return_value`` raises the exception, and prints lines before it does.
    """
    return job._return_value


# OmegaConf: needed to check configs.


def full_key(node: Node) -> str:
    """Returns the dotted key of a node. A resolver gets the node, but not its key."""
    return str(node._get_full_key(""))


def set_resolver(name: str, resolver: Callable[..., Any]) -> None:
    """Registers a resolver, with a function that OmegaConf 2.4 calls by another name than 2.3."""
    of_2_3 = omegaconf.__version__.startswith("2.3.")
    register: Any = OmegaConf.register_new_resolver if of_2_3 else OmegaConf.register_resolver
    register(name, resolver, replace=True)


# OmegaConf: needed only to save time in a sweep of many jobs.


def node_at(holder: DictConfig | ListConfig, key: Any) -> Any:
    """Returns the node at a key. Public access returns the value and resolves interpolations."""
    return holder._get_node(key)


def node_with(like: Any, value: Any) -> Node:
    """Returns a copy of a node with another value.

    The public assignment creates a node from the value's type each time, which takes a millisecond
    for a list.
    """
    node = copy.deepcopy(like)
    assert isinstance(node, Node)
    node._set_value(value)
    return node


def put_node(holder: DictConfig, name: str, node: Any) -> None:
    """Puts a node into a mapping without copying it, as the public assignment would."""
    holder._content[name] = node  # type: ignore[index]


def put_nodes(holder: ListConfig, nodes: Sequence[Node]) -> None:
    """Replaces the items of a list by nodes without copying them, as public assignment would."""
    holder.__dict__["_content"] = list(nodes)


def view(config: DictConfig, key: str) -> DictConfig:
    """Returns a config with one key of another config, which it shares.

    The public ``masked_copy`` would copy the value.
    """
    holder = OmegaConf.create({key: None})
    put_node(holder, key, node_at(config, key))
    return holder


def to_yaml(node: Any) -> str:
    """Returns plain data as YAML, like ``OmegaConf.to_yaml``, which accepts only configs."""
    text: str = yaml.dump(
        node,
        default_flow_style=False,
        allow_unicode=True,
        sort_keys=False,
        Dumper=get_omega_conf_dumper(),
    )
    return text
