"""Checks what a config sets for logging, which could import, call and write anything."""

from __future__ import annotations

import logging
import re
from logging.config import DictConfigurator
from pathlib import PurePosixPath
from typing import Any

from gradexp.config.gate.components import leaves, mappings
from gradexp.errors import UserError

_LOGGING = (
    "logging.StreamHandler",
    "logging.FileHandler",
    "logging.NullHandler",
    "logging.Formatter",
    "colorlog.ColoredFormatter",
    "ext://sys.stdout",
    "ext://sys.stderr",
)

_LOG = "${hydra.job.name}.log"

LOG_FOLDERS: dict[str, tuple[str, ...]] = {
    "job_logging": ("${hydra.runtime.output_dir}",),
    "hydra_logging": (),  # set up before the output folder exists
}
"""The folders in which log files may be, for each logging config."""

_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
_FACTORIES = ("logging.Formatter", "colorlog.ColoredFormatter")


def check_logging(key: str, node: Any, folders: tuple[str, ...]) -> None:
    """Checks a config for `logging.config.dictConfig`.

    That function imports classes, calls factories, sets attributes, resolves ``ext://`` and
    ``cfg://`` in the value of any key, and opens files.

    Args:
        key: the path of the config.
        node: the config.
        folders: those in which log files may be, as a config writes them.

    Raises:
        UserError: if something in it is not allowed.
    """
    if not isinstance(node, dict | None):
        raise UserError(key, node, "must be a mapping")
    for place, mapping in mappings(node, key):
        if "." in mapping:
            raise UserError(place, "", "must not set attributes (the key '.')")
        if "()" in mapping and mapping["()"] not in _FACTORIES:
            reason = f"must be one of {', '.join(_FACTORIES)}"
            raise UserError(f"{place}.()", mapping["()"], reason)
        if "class" in mapping and mapping["class"] not in _LOGGING:
            raise UserError(
                f"{place}.class", mapping["class"], f"must be one of {', '.join(_LOGGING)}"
            )
        if "stream" in mapping and mapping["stream"] not in _STREAMS:
            reason = f"must be {' or '.join(_STREAMS)}"
            raise UserError(f"{place}.stream", mapping["stream"], reason)
        if "filename" in mapping:
            _check_log_file(f"{place}.filename", mapping["filename"], folders)
    for place, value in leaves(node, key):
        if not isinstance(value, str) or place.endswith(".filename"):
            continue
        if "${" in value:
            raise UserError(place, value, "must be written out, without ${…}")
        if re.match(r"[a-z]+://", value) and value not in _LOGGING:
            raise UserError(place, value, f"must be one of {', '.join(_LOGGING)}")
    if node is not None:
        _check_logging_fits(key, node)


_OF_A_FILE = {"class", "delay", "filename", "formatter", "level", "mode"}
_RECORD = logging.LogRecord("gradexp", logging.INFO, "", 0, "a line", (), None)


def _check_logging_fits(key: str, node: dict[str, Any]) -> None:
    """Checks a logging config by making its parts, except for files.

    `logging` itself would report an error only after the run has begun, and in many lines.

    Raises:
        UserError: if a part cannot be made.
    """
    maker: Any = DictConfigurator({"version": 1})
    place = key
    try:
        if node.get("version") != 1:
            raise ValueError("version must be 1")
        for name in ("incremental", "filters"):
            if node.get(name):
                raise ValueError(f"there must be no {name}")
        for name, part in _parts(node, "formatters"):
            place = f"{key}.formatters.{name}"
            maker.configure_formatter(dict(part)).format(_RECORD)
        for name, part in _parts(node, "handlers"):
            place = f"{key}.handlers.{name}"
            _check_names(part.get("formatter"), node, "formatters")
            _check_level(part)
            if part.get("filters"):
                raise ValueError("there must be no filters")
            if part.get("class") != "logging.FileHandler":
                made = {k: v for k, v in part.items() if k not in ("formatter", "level")}
                maker.configure_handler(made).close()
            elif not isinstance(part.get("filename"), str):
                raise ValueError("a FileHandler needs a filename")
            elif part.get("mode", "a") not in ("a", "w") or not set(part) <= _OF_A_FILE:
                raise ValueError(f"a FileHandler has {', '.join(sorted(_OF_A_FILE))}; mode: a or w")
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
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise UserError(place, "", f"cannot be used: {reason}") from None


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


def _check_log_file(key: str, value: Any, folders: tuple[str, ...]) -> None:
    """Checks the folder and the name of a log file.

    A sweep that is resumed first removes the file of this name, so that nothing is written through
    a link.

    Args:
        key: the path of the setting in the config.
        value: the file, as the config writes it.
        folders: those in which it may be.

    Raises:
        UserError: if it is another file.
    """
    folder, _, name = str(value).partition("}/")
    if f"{folder}}}" not in folders or name != _LOG:
        allowed = " or ".join(f"{one}/{_LOG}" for one in folders)
        reason = f"must be {allowed}" if folders else "must not write a file; job_logging may"
        raise UserError(key, value, reason)


def is_plain_path(text: str) -> bool:
    """Whether a string is a relative path that stays inside any folder that it is joined to."""
    parts = PurePosixPath(text).parts
    return bool(re.fullmatch(r"[\w.,=+@ /-]+", text)) and ".." not in parts and text[0] != "/"


def is_plain_name(text: Any) -> bool:
    return isinstance(text, str) and is_plain_path(text) and "/" not in text and text != "."
