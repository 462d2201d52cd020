"""Everything of Hydra and OmegaConf that gradexp uses beyond their public interfaces.

Each name says why the public interface does not do. ``tests/test_internals.py`` has a test for
each, which names what moved. What only saves time (`node_at` and what follows it) is given up in
`gradexp.sweeps.shortcuts` where it behaves otherwise than the public interface.
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

# Hydra: what composing and running take.
#
# `Hydra` composes configs with a given loader; the public `hydra.compose` makes its own loader.
# `ConfigLoaderImpl` is that loader: `gradexp.config.loader` checks what passes through it.
# `ConfigRepository` reads the loader's files: `gradexp.config.loader` keeps them parsed.
# `Callbacks` is a required part of the public `HydraContext`, and has no public name.

NOT_IN_DEFAULTS = re.compile(r"Could not override '([^']+)'\. No match in the defaults list")
"""the message about a group that the primary config does not choose from: the exception has no
field for the group's name"""


def set_version_base() -> None:
    """Asks for the behavior of Hydra 1.3; left alone, Hydra 1.3 behaves as 1.1 did, with warnings.

    Later versions behave as themselves, and are about to lose the setting.
    """
    if __version__.startswith("1.3."):
        version.setbase("1.3")


def hydra_parser() -> ArgumentParser:
    """Returns Hydra's parser of command-line arguments; ``hydra.main`` keeps it to itself."""
    parser: ArgumentParser = get_args_parser()
    return parser


def search_path_from(main: Path) -> ConfigSearchPath:
    """Returns the search path for configs that begins with a folder.

    ``hydra.initialize_config_dir`` makes one too, but together with a loader of its own.
    """
    return create_config_search_path(f"file://{main}")


def config_place(repository: ConfigRepository, config_path: str) -> tuple[str, ...]:
    """Finds where a repository would read a config from, which it tells nobody.

    Returns:
        The scheme, the path and the provider of the source, and the name of the file in it; nothing
        where no source has the config.
    """
    source = repository._find_object_source(config_path=config_path, object_type=ObjectType.CONFIG)
    if source is None:
        return ()
    name = source._normalize_file_name(config_path)
    return (source.scheme(), source.path, source.provider, name)


def extend_grammar(functions: dict[str, Any]) -> None:
    """Adds functions to the override grammar of every parser that this process makes later.

    Hydra's parsers take their functions from ``create_functions``, and from nowhere else.
    """
    if not isinstance(overrides_parser.create_functions, _ExtendedFunctions):
        extended: Any = _ExtendedFunctions(overrides_parser.create_functions, functions)
        overrides_parser.create_functions = extended


class _ExtendedFunctions:
    """Makes Hydra's functions of the override grammar, and others beside them."""

    def __init__(self, hydras: Any, functions: dict[str, Any]) -> None:
        self._hydras = hydras
        self._functions = functions

    def __call__(self) -> Any:
        grammar = self._hydras()
        for name, function in self._functions.items():
            grammar.register(name=name, func=function)
        return grammar


def returned(job: JobReturn) -> Any:
    """Returns what a job returned or raised; ``return_value`` prints lines when it raises."""
    return job._return_value


# OmegaConf: what a gate asks.


def full_key(node: Node) -> str:
    """Returns the dotted key of a node; a resolver is given the node, but not where it stands."""
    return str(node._get_full_key(""))


def set_resolver(name: str, resolver: Callable[..., Any]) -> None:
    """Sets what interpolations of a name give: OmegaConf 2.4 has another name for it than 2.3."""
    of_2_3 = omegaconf.__version__.startswith("2.3.")
    register: Any = OmegaConf.register_new_resolver if of_2_3 else OmegaConf.register_resolver
    register(name, resolver, replace=True)


# OmegaConf: what saves time in a sweep of many jobs.


def node_at(holder: DictConfig | ListConfig, key: Any) -> Any:
    """Returns the node at a key; the public access unwraps values and resolves interpolations."""
    return holder._get_node(key)


def node_with(like: Any, value: Any) -> Node:
    """Returns a copy of a node that holds another value.

    The public assignment makes a node from the value's type each time: for a list that takes a
    millisecond.
    """
    node = copy.deepcopy(like)
    assert isinstance(node, Node)
    node._set_value(value)
    return node


def put_node(holder: DictConfig, name: str, node: Any) -> None:
    """Puts a node into a mapping; the public assignment copies it first."""
    holder._content[name] = node  # type: ignore[index]


def put_nodes(holder: ListConfig, nodes: Sequence[Node]) -> None:
    """Puts nodes in the place of a list's items; the public assignment copies each first."""
    holder.__dict__["_content"] = list(nodes)


def view(config: DictConfig, key: str) -> DictConfig:
    """Returns a config that holds one key of another, shared; ``masked_copy`` would copy it."""
    holder = OmegaConf.create({key: None})
    put_node(holder, key, node_at(config, key))
    return holder


def to_yaml(node: Any) -> str:
    """Returns plain data as YAML, as ``OmegaConf.to_yaml`` writes it for configs alone."""
    text: str = yaml.dump(
        node,
        default_flow_style=False,
        allow_unicode=True,
        sort_keys=False,
        Dumper=get_omega_conf_dumper(),
    )
    return text
