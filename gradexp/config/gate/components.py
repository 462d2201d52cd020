"""Which classes a config may name: config files are data, and import no code by default.

A config names classes by `_target_`. It may name gradexp's components, the optimizers of
``torch.optim``, and the launchers, sweepers and callbacks that `gradexp.config.gate.hydra` allows.
Classes and functions of another package are allowed only if the user trusts the package by name:
``GRADEXP_TRUST=mypackage,other``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from inspect import isfunction
from typing import Any

from gradexp.errors import UserError, nearest
from gradexp.processes.environment import FOLDER, trusted_packages

_RESERVED = ("_partial_", "_args_", "_recursive_", "_convert_")


def is_inside(name: str, packages: tuple[str, ...]) -> bool:
    """Whether a dotted path names one of the packages, or something inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def locate(key: str, target: Any) -> Any:
    """Returns the class or function that a `_target_` names.

    Args:
        key: the path of the target in the config.
        target: the dotted path of a component, of an optimizer of ``torch.optim``, or of a
            component, an optimizer or a function that a trusted package defines.

    Raises:
        UserError: if it is none of these, or does not exist.
    """
    allowed = "allowed are gradexp's components and torch.optim's optimizers; for code of your own"
    refusal = UserError(key, target, f"{allowed} set GRADEXP_TRUST=package")
    packages = ("gradexp", "torch.optim", *trusted_packages())
    if not isinstance(target, str) or not is_inside(target, packages):
        raise refusal
    found = import_target(key, target)
    if isinstance(found, type):
        fits = _is_component_or_optimizer(found) and is_defined_in(found, packages)
    else:  # a plain function may serve as a surface
        fits = isfunction(found) and is_defined_in(found, trusted_packages())
    if not fits:
        raise refusal
    return found


def is_defined_in(found: Any, packages: tuple[str, ...]) -> bool:
    """Whether a class or function is defined in one of the packages, not only imported there."""
    return is_inside(str(getattr(found, "__module__", "")), packages)


def _is_component_or_optimizer(found: type) -> bool:
    import torch

    from gradexp.numbers import Component

    return issubclass(found, Component | torch.optim.Optimizer)


def import_target(key: str, target: str) -> Any:
    """Returns the object at a dotted path, importing the longest part of it that is a module.

    Args:
        key: the path of the target in the config.
        target: the dotted path.

    Raises:
        UserError: if there is no such object, or importing its module fails.
    """
    if is_inside(target, trusted_packages()) and str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))  # last, so that it shadows no installed package
    *parents, name = target.split(".")
    for length in range(len(parents), 0, -1):
        module = ".".join(parents[:length])
        try:
            found: Any = import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not is_inside(module, (error.name,)):
                raise UserError(key, target, f"importing {module} failed: {error}") from error
            continue
        except Exception as error:
            raise UserError(key, target, f"importing {module} failed: {error!r}") from error
        try:
            for attribute in (*parents[length:], name):
                found = getattr(found, attribute)
        except AttributeError:
            known = [
                n
                for n, what in getattr(found, "__dict__", {}).items()
                if callable(what) and n[:1] != "_"
            ]
            reason = f"{module} has no {attribute}; {nearest(attribute, known)}"
            raise UserError(key, target, reason) from None
        return found
    raise UserError(key, target, f"there is no package {parents[0] if parents else name}")


def mappings(node: Any, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields every mapping in a plain config, with its path."""
    if isinstance(node, dict):
        yield key, node
        for name, value in node.items():
            yield from mappings(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from mappings(value, f"{key}[{index}]")


def leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yields every plain value in a plain config, with its path."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from leaves(value, f"{key}.{name}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from leaves(value, f"{key}[{index}]")
    else:
        yield key, node


def construct(key: str, node: Any, make: Callable[[str, Any, dict[str, Any]], Any]) -> Any:
    """Returns a config node with each mapping that has a `_target_` replaced by its object.

    Args:
        key: the path of the node in the config.
        node: plain mappings, lists and values, with interpolations resolved.
        make: makes the object from its key, from what its target names, and from its settings.

    Raises:
        UserError: if a target is not allowed, at any depth, or a mapping has a key that Hydra
            reserves.
    """
    if isinstance(node, list):
        return [construct(f"{key}[{i}]", value, make) for i, value in enumerate(node)]
    if not isinstance(node, dict):
        return node
    for name in _RESERVED:
        if name in node:
            raise UserError(f"{key}.{name}", node[name], "must not be in a config of gradexp")
    settings = {
        name: construct(f"{key}.{name}", value, make)
        for name, value in node.items()
        if name != "_target_"
    }
    if "_target_" not in node:
        return settings
    return make(key, locate(f"{key}._target_", node["_target_"]), settings)


def check_search_path(entry: str) -> None:
    """Checks an entry of the config search path: a package in it would be imported.

    Raises:
        UserError: if it is a package that is not trusted.
    """
    scheme, _, place = entry.partition("://")
    allowed = ("gradexp", "hydra", *trusted_packages())
    if scheme == "pkg" and not is_inside(place, allowed):
        reason = "packages there would be imported; for one of your own set GRADEXP_TRUST=package"
        raise UserError("hydra.searchpath", entry, reason)
