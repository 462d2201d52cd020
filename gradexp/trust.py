"""What a config may name: config files are data, and import no code unless a person allows it.

A config names classes by `_target_`. Those of gradexp's components, the optimizers of
``torch.optim``, and Hydra's own launchers, sweepers and callbacks may be named; anything else only
if the person running allows its package by name, ``GRADEXP_TRUST=mypackage,other``.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from inspect import isfunction
from logging.config import DictConfigurator
from pathlib import PurePosixPath
from typing import Any

from gradexp.environment import FOLDER, trusted_packages
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
    if isinstance(found, type):
        fits = _is_component_or_optimizer(found) and _is_defined_in(found, packages)
    else:  # a surface, as a plain function
        fits = isfunction(found) and _is_defined_in(found, trusted_packages())
    if not fits:
        raise refusal
    return found


def _is_defined_in(found: Any, packages: tuple[str, ...]) -> bool:
    """Whether a class or a function is written in one of some packages, and not imported there."""
    return _inside(str(getattr(found, "__module__", "")), packages)


def _is_component_or_optimizer(found: type) -> bool:
    import torch

    from gradexp.numbers import Component

    return issubclass(found, Component | torch.optim.Optimizer)


def _import(key: str, target: str) -> Any:
    """The object at a dotted path: the longest part that is a module is imported."""
    if trusted_packages() and str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))  # last, so that it shadows nothing
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


_FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
_free: list[set[str]] = []
"""The keys that may hold any variable, of each guard that is in force."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@contextmanager
def guarded_environment(overrides: Sequence[str] = ()) -> Iterator[None]:
    """Lets ``${oc.env:NAME}`` give numbers alone: a secret is not to stand in a folder's name or in
    a record because a config file says so.

    Args:
        overrides: what was typed: of these, output folders may be named by any variable.
    """
    from omegaconf import Node, OmegaConf
    from omegaconf.resolvers import oc

    typed = {override.partition("=")[0] for override in overrides if "${oc.env:" in override}

    def number_of(key: str, *default: Any, _node_: Node) -> Any:
        value = oc.env(key, *default)
        if not isinstance(value, str) or _node_._get_full_key("") in _free[-1]:
            return value
        if _NUMBER.fullmatch(value):
            return float(value) if set(value) & set(".eE") else int(value)
        if key not in os.environ:
            return value  # the default, which stands in the file
        raise ValueError(f"only numbers are taken from the environment, and {key} holds none")

    _free.append(typed.intersection(_FOLDERS))
    OmegaConf.register_new_resolver("oc.env", number_of, replace=True)
    try:
        yield
    finally:
        _free.pop()
        if not _free:
            OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


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
    for name in ("run", "sweep", "runtime", "overrides"):
        if not isinstance(node.get(name), dict):
            raise Mistake(f"hydra.{name}", node.get(name), "must be a mapping")
    for key, mapping in mappings(node, "hydra"):
        if "_target_" in mapping:
            _check_plugin(f"{key}._target_", mapping["_target_"])
    for group in ("launcher", "sweeper"):
        if isinstance(node.get(group), str):
            raise Mistake(f"hydra.{group}", node[group], "must be written out")
        _check_interpolations(f"hydra.{group}", node.get(group))
        if not isinstance(node.get(group), dict):
            raise Mistake(f"hydra.{group}", node.get(group), "must be the config of one")
    callbacks = node.get("callbacks") or {}
    for name, callback in callbacks.items() if isinstance(callbacks, dict) else [("", callbacks)]:
        if not isinstance(callback, dict):
            raise Mistake(f"hydra.callbacks.{name}", callback, "must be written out")
        _check_interpolations(f"hydra.callbacks.{name}", callback)
    for group, places in _LOG_FOLDERS.items():
        _check_logging(f"hydra.{group}", node.get(group), places)
    _check_job(node.get("job"))
    _check_output_subdir(node.get("output_subdir"))
    _check_verbose(node.get("verbose"))
    _check_launcher(node.get("launcher"))


def _check_interpolations(key: str, node: Any) -> None:
    """Lets interpolations through that can only give a plain value of Hydra's own.

    Raises:
        Mistake: there is another one.
    """
    for place, value in leaves(node, key):
        if "${" in _PLAIN_INTERPOLATION.sub("", str(value)):
            raise Mistake(place, value, "must be written out")


_LOG_FOLDERS = {
    "job_logging": ("${hydra.runtime.output_dir}",),
    "hydra_logging": ("${hydra.run.dir}", "${hydra.sweep.dir}", "${hydra.runtime.output_dir}"),
}
"""Where log files may lie."""

_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
_FACTORIES = ("logging.Formatter", "colorlog.ColoredFormatter")


def _check_logging(key: str, node: Any, folders: tuple[str, ...]) -> None:
    """Checks a config of `logging.config.dictConfig`: it imports classes, calls factories, sets
    attributes, follows ``ext://`` and ``cfg://`` in the value of any key, and opens files.

    Args:
        key: where it stands.
        node: the config.
        folders: as they are written, those in which log files may lie.

    Raises:
        Mistake: something of it is not allowed.
    """
    if not isinstance(node, dict | None):
        raise Mistake(key, node, "must be a mapping")
    for place, mapping in mappings(node, key):
        if "." in mapping:
            raise Mistake(place, "", "must not set attributes (the key '.')")
        if "()" in mapping and mapping["()"] not in _FACTORIES:
            reason = f"must be one of {', '.join(_FACTORIES)}"
            raise Mistake(f"{place}.()", mapping["()"], reason)
        if "class" in mapping and mapping["class"] not in _LOGGING:
            raise Mistake(
                f"{place}.class", mapping["class"], f"must be one of {', '.join(_LOGGING)}"
            )
        if "stream" in mapping and mapping["stream"] not in _STREAMS:
            reason = f"must be {' or '.join(_STREAMS)}"
            raise Mistake(f"{place}.stream", mapping["stream"], reason)
        if "filename" in mapping:
            _check_log_file(f"{place}.filename", mapping["filename"], folders)
    for place, value in leaves(node, key):
        if not isinstance(value, str) or place.endswith(".filename"):
            continue
        if "${" in _PLAIN_INTERPOLATION.sub("", value) or value.startswith("${"):
            raise Mistake(place, value, "must be written out")
        if re.match(r"[a-z]+://", value) and value not in _LOGGING:
            raise Mistake(place, value, f"must be one of {', '.join(_LOGGING)}")
    if node is not None:
        _check_logging_fits(key, node)


def _check_logging_fits(key: str, node: dict[str, Any]) -> None:
    """Checks a config of logging by making its parts, files aside: logging itself would say what is
    wrong when the run has begun, and in many lines.

    Raises:
        Mistake: a part cannot be made.
    """
    maker: Any = DictConfigurator({"version": 1})
    place = key
    try:
        if node.get("version") != 1:
            raise ValueError("version must be 1")
        for name, part in _parts(node, "formatters"):
            place = f"{key}.formatters.{name}"
            maker.configure_formatter(_written_out(part))
        for name, part in _parts(node, "handlers"):
            place = f"{key}.handlers.{name}"
            _check_names(part.get("formatter"), node, "formatters")
            _check_level(part)
            if part.get("class") != "logging.FileHandler":
                made = {k: v for k, v in part.items() if k not in ("formatter", "level")}
                maker.configure_handler(_written_out(made)).close()
            elif not isinstance(part.get("filename"), str):
                raise ValueError("a FileHandler needs a filename")
        named: list[tuple[str, Any]] = [("root", node.get("root")), *_parts(node, "loggers")]
        for name, part in named:
            place = f"{key}.{name}"
            if part is None:
                continue
            if not isinstance(part, dict):
                raise ValueError("must be a mapping")
            _check_level(part)
            if not isinstance(part.get("handlers") or [], list):
                raise ValueError("handlers must be a list")
            for handler in part.get("handlers") or []:
                _check_names(handler, node, "handlers")
    except Mistake:
        raise
    except Exception as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise Mistake(place, "", f"cannot be used: {reason}") from None


def _parts(node: dict[str, Any], name: str) -> list[tuple[str, dict[str, Any]]]:
    parts = node.get(name, {})
    if not isinstance(parts, dict):
        raise ValueError(f"{name} must be a mapping")
    for part in parts.values():
        if not isinstance(part, dict):
            raise ValueError(f"each of {name} must be a mapping")
    return [(str(key), part) for key, part in parts.items()]


def _check_names(name: Any, node: dict[str, Any], group: str) -> None:
    if name is not None and name not in node.get(group, {}):
        raise ValueError(f"there is no {name} among {group}")


def _check_level(part: dict[str, Any]) -> None:
    level = part.get("level")
    if level is not None and not (
        isinstance(level, int) or level in logging.getLevelNamesMapping()
    ):
        raise ValueError(f"no such level: {level}")


def _written_out(part: dict[str, Any]) -> dict[str, Any]:
    """A part with something in the place of interpolations."""
    return {
        key: _PLAIN_INTERPOLATION.sub("x", value) if isinstance(value, str) else value
        for key, value in part.items()
    }


def _check_log_file(key: str, value: Any, folders: tuple[str, ...]) -> None:
    """
    Raises:
        Mistake: a log file may lie outside of the run's or the sweep's folder.
    """
    folder, _, name = str(value).partition("}/")
    plain = name.replace("${hydra.job.name}", "name")
    if f"{folder}}}" not in folders or not _is_plain_path(plain):
        allowed = " or ".join(f"{one}/NAME" for one in folders)
        raise Mistake(key, value, f"must be {allowed}")


def _is_plain_path(text: str) -> bool:
    """Whether a text is a path below where it stands, whatever it is put behind."""
    parts = PurePosixPath(text).parts
    return bool(re.fullmatch(r"[\w.,=+@ /-]+", text)) and ".." not in parts and text[0] != "/"


def _is_plain_name(text: Any) -> bool:
    return isinstance(text, str) and _is_plain_path(text) and "/" not in text and text != "."


def _check_job(job: Any) -> None:
    """
    Raises:
        Mistake: a job would change the environment, or its name is no name of a file.
    """
    if not isinstance(job, dict):
        raise Mistake("hydra.job", job, "must be a mapping")
    for key in ("env_copy", "env_set"):
        if job.get(key):
            reason = "a config must not set the environment; set it where gradexp is started"
            raise Mistake(f"hydra.job.{key}", "", reason)
    if "name" in job and not _is_plain_name(job["name"]):
        raise Mistake("hydra.job.name", job["name"], "must be a plain name, as a file's")


def _check_output_subdir(name: Any) -> None:
    """
    Raises:
        Mistake: Hydra would write outside of the run's folder, or over gradexp's files.
    """
    if name is not None and not _is_plain_name(name):
        raise Mistake("hydra.output_subdir", name, "must be a plain name, or null")


def _check_verbose(verbose: Any) -> None:
    """
    Raises:
        Mistake: it names no loggers.
    """
    names = verbose if isinstance(verbose, list) else [verbose]
    fits = isinstance(verbose, bool | None) or all(isinstance(name, str) for name in names)
    if not fits or "${" in str(verbose):
        raise Mistake("hydra.verbose", verbose, "must be true, false, a logger or a list of them")


_SHELL_WORD = re.compile(r"[\w.,:=+@%/ -]*")


def _check_launcher(launcher: Any) -> None:
    """Checks what launchers make lines of a shell's script of, and folders that they write to.

    Raises:
        Mistake: something there is not allowed.
    """
    if not isinstance(launcher, dict):
        raise Mistake("hydra.launcher", launcher, "must be the config of a launcher")
    target = str(launcher.get("_target_", ""))
    if "submitit" in target and "submitit" not in trusted_packages():
        for name in ("setup", "additional_parameters", "srun_args", "python"):
            if launcher.get(name):
                reason = "becomes lines of a shell's script; to allow it set GRADEXP_TRUST=submitit"
                raise Mistake(f"hydra.launcher.{name}", "", reason)
        for place, value in leaves(launcher, "hydra.launcher"):
            rest = _PLAIN_INTERPOLATION.sub("", str(value))
            if not place.endswith("_target_") and not _SHELL_WORD.fullmatch(rest):
                raise Mistake(place, value, "must be plain words; or set GRADEXP_TRUST=submitit")
    folder = launcher.get("submitit_folder")
    if folder is not None:
        head, _, name = str(folder).partition("}/")
        if head != "${hydra.sweep.dir" or not _is_plain_path(name.replace("%j", "j")):
            raise Mistake(
                "hydra.launcher.submitit_folder", folder, "must be ${hydra.sweep.dir}/NAME"
            )
    for name in ("temp_folder", "mmap_mode"):  # joblib's, which loads pickles from there
        if "joblib" in target and launcher.get(name) not in (None, "r"):
            raise Mistake(f"hydra.launcher.{name}", launcher[name], "must be null")


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
    plugin = isinstance(found, type) and issubclass(found, Callback | Launcher | Sweeper)
    if not plugin or not _is_defined_in(found, packages):
        raise refusal
