"""What a config may name: config files are data, and import no code unless a person allows it.

A config names classes by `_target_`. Those of gradexp's components, the optimizers of
``torch.optim``, and Hydra's own launchers, sweepers and callbacks may be named; anything else only
if the person running allows its package by name, ``GRADEXP_TRUST=mypackage,other``.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from gradexp.mistakes import Mistake, nearest

_RESERVED = ("_partial_", "_args_", "_recursive_", "_convert_")
_LOGGING = (
    "logging.StreamHandler",
    "logging.FileHandler",
    "logging.NullHandler",
    "logging.Formatter",
    "colorlog.ColoredFormatter",
    "ext://sys.stdout",
    "ext://sys.stderr",
)
_PLAIN_INTERPOLATION = re.compile(r"\$\{(hydra[.:][\w.]+|now:[^${}]*)\}")


def trusted_packages() -> tuple[str, ...]:
    """The packages that the person running allows."""
    return tuple(name.strip() for name in os.environ.get("GRADEXP_TRUST", "").split(",") if name)


def _inside(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def locate(key: str, target: Any) -> Any:
    """What a `_target_` names.

    Args:
        key: where the target stands in the config.
        target: the dotted path of a component, of an optimizer of ``torch.optim``, or of anything
            in a trusted package.

    Raises:
        Mistake: it is none of these, or does not exist.
    """
    allowed = "allowed are gradexp's components and torch.optim's optimizers; for code of your own"
    refusal = Mistake(key, target, f"{allowed} set GRADEXP_TRUST=package")
    packages = ("gradexp", "torch.optim", *trusted_packages())
    if not isinstance(target, str) or not _inside(target, packages):
        raise refusal
    found = _import(key, target)
    if _inside(target, trusted_packages()):
        fits = callable(found) and _inside(getattr(found, "__module__", ""), trusted_packages())
    else:
        fits = isinstance(found, type) and _is_component_or_optimizer(found)
    if not fits:
        raise refusal
    return found


def _is_component_or_optimizer(found: type) -> bool:
    import torch

    from gradexp.numbers import Component

    return issubclass(found, Component | torch.optim.Optimizer)


def _import(key: str, target: str) -> Any:
    """The object at a dotted path: the longest part that is a module is imported."""
    if trusted_packages() and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that it shadows nothing
    *parents, name = target.split(".")
    for length in range(len(parents), 0, -1):
        module = ".".join(parents[:length])
        try:
            found: Any = import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not _inside(module, (error.name,)):
                raise Mistake(key, target, f"importing {module} failed: {error}") from error
            continue
        except Exception as error:
            raise Mistake(key, target, f"importing {module} failed: {error!r}") from error
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
            raise Mistake(key, target, reason) from None
        return found
    raise Mistake(key, target, f"there is no package {parents[0] if parents else name}")


def mappings(node: Any, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping in a plain config, with its path."""
    if isinstance(node, dict):
        yield key, node
        for name, value in node.items():
            yield from mappings(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from mappings(value, f"{key}[{index}]")


def leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Every plain value in a plain config, with its path."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from leaves(value, f"{key}.{name}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from leaves(value, f"{key}[{index}]")
    else:
        yield key, node


def construct(key: str, node: Any, make: Callable[[str, Any, dict[str, Any]], Any]) -> Any:
    """The config below `key` with each mapping that has a `_target_` replaced by its object.

    Args:
        key: where the node stands in the config.
        node: plain mappings, lists and values, interpolations resolved.
        make: makes the object from its key, what its target names, and its settings.

    Raises:
        Mistake: a target is not allowed, wherever it stands.
    """
    if isinstance(node, list):
        return [construct(f"{key}[{i}]", value, make) for i, value in enumerate(node)]
    if not isinstance(node, dict):
        return node
    for name in _RESERVED:
        if name in node:
            raise Mistake(f"{key}.{name}", node[name], "must not be in a config of gradexp")
    settings = {
        name: construct(f"{key}.{name}", value, make)
        for name, value in node.items()
        if name != "_target_"
    }
    if "_target_" not in node:
        return settings
    return make(key, locate(f"{key}._target_", node["_target_"]), settings)


def check_hydra(node: dict[str, Any]) -> None:
    """Checks what Hydra itself will import: its launcher, its sweeper, callbacks and logging.

    Args:
        node: the config below ``hydra``, interpolations not resolved. Where something could be
            imported only interpolations of Hydra's own plain values are let through, so that what
            is checked here is what is used later.

    Raises:
        Mistake: something there is not allowed.
    """
    for key, mapping in mappings(node, "hydra"):
        if "_target_" in mapping:
            _check_plugin(f"{key}._target_", mapping["_target_"])
    for group in ("launcher", "sweeper"):
        if isinstance(node.get(group), str):
            raise Mistake(f"hydra.{group}", node[group], "must be written out")
        _check_interpolations(f"hydra.{group}", node.get(group))
    callbacks = node.get("callbacks") or {}
    for name, callback in callbacks.items() if isinstance(callbacks, dict) else [("", callbacks)]:
        if not isinstance(callback, dict):
            raise Mistake(f"hydra.callbacks.{name}", callback, "must be written out")
        _check_interpolations(f"hydra.callbacks.{name}", callback)
    for group in ("job_logging", "hydra_logging"):
        _check_logging(f"hydra.{group}", node.get(group))


def _check_interpolations(key: str, node: Any) -> None:
    """Lets interpolations through that can only give a plain value of Hydra's own."""
    for place, value in leaves(node, key):
        if "${" in _PLAIN_INTERPOLATION.sub("", str(value)):
            raise Mistake(place, value, "must be written out")


def _check_logging(key: str, node: Any) -> None:
    """Checks a config of `logging.config.dictConfig`, which imports classes and ``ext://`` names,
    in the value of any key."""
    for place, value in leaves(node, key):
        if not isinstance(value, str):
            continue
        name = place.rpartition(".")[2]
        rest = value.removeprefix("${hydra.runtime.output_dir}/")  # it begins with a slash
        if "${" in _PLAIN_INTERPOLATION.sub("", rest) or (value.startswith("${") and rest == value):
            raise Mistake(place, value, "must be written out")
        imports = name in ("class", "()", "factory") or value.startswith("ext://")
        if imports and value not in _LOGGING and not _inside(value, trusted_packages()):
            raise Mistake(place, value, f"must be one of {', '.join(_LOGGING)}")


def check_search_path(entry: str) -> None:
    """Checks a config search path: a package there would be imported.

    Raises:
        Mistake: it is a package that is not trusted.
    """
    scheme, _, place = entry.partition("://")
    allowed = ("gradexp", "hydra", *trusted_packages())
    if scheme == "pkg" and not _inside(place, allowed):
        reason = "packages there would be imported; for one of your own set GRADEXP_TRUST=package"
        raise Mistake("hydra.searchpath", entry, reason)


def _check_plugin(key: str, target: Any) -> None:
    from hydra.experimental.callback import Callback
    from hydra.plugins.launcher import Launcher
    from hydra.plugins.sweeper import Sweeper

    packages = ("hydra", "hydra_plugins", *trusted_packages())
    refusal = Mistake(key, target, "must be a launcher, sweeper or callback of Hydra's plugins")
    if not isinstance(target, str) or "${" in target or not _inside(target, packages):
        raise refusal
    found = _import(key, target)
    if not (isinstance(found, type) and issubclass(found, Callback | Launcher | Sweeper)):
        raise refusal
