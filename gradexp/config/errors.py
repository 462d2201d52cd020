"""Turns errors from Hydra and OmegaConf into single lines that name what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from gradexp.config.choices import CONF, EXPERIMENTS, OPEN, choices, groups, keys
from gradexp.config.internals import NOT_IN_DEFAULTS
from gradexp.errors import UserError, nearest


@contextmanager
def explained(overrides: Sequence[str]) -> Iterator[None]:
    """Converts the exceptions that are raised while a config is composed to user errors.

    Args:
        overrides: those of the command line.

    Raises:
        UserError: in place of an exception from Hydra or OmegaConf.
    """
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise _mistake(error, overrides) from error


def _mistake(error: Exception, overrides: Sequence[str]) -> UserError:
    if isinstance(error, MissingConfigException):
        return _missing_config(error)
    unknown = _unknown_key(error)
    if unknown is not None:
        key, known = unknown
        group = key.partition(".")[0]
        chosen = _value_of(group, overrides)
        advice = nearest(_last(key), known) if known else f"+{key}=… adds one"
        elsewhere = _choices_with(key)
        within = [f"{one}.{key}" for one in groups() if _choices_with(f"{one}.{key}")]
        if within:
            advice = f"did you mean {' or '.join(within)}?"
        elif elsewhere and chosen not in OPEN:
            advice = f"{', '.join(elsewhere)} {'have' if len(elsewhere) > 1 else 'has'} it"
        where = f" in {group}={chosen}" if chosen and group != key else ""
        return UserError(key, _value_of(key, overrides), f"no such key{where}; {advice}")
    text = _one_line(error)
    match = NOT_IN_DEFAULTS.match(text)
    if match:
        key = match[1]
        return UserError(key, _value_of(key, overrides), f"no such key; {nearest(key, keys())}")
    for override in overrides:
        indexed = re.sub(r"(?<=\w)\[(\d+)\]", r".\1", override)
        if indexed != override and isinstance(error, OverrideParseException):
            return UserError("", "", f"{override}: is written {indexed}")
    if isinstance(error, OverrideParseException) or "LexerNoViableAlt" in text:
        return UserError("", "", f"{text}; what follows gradexp run is written key=value")
    return UserError("", "", text)


def uncomposed(error: Exception, overrides: Sequence[str]) -> UserError:
    """Returns the user error for an exception from composing a config that is not Hydra's own.

    Args:
        error: the exception.
        overrides: those of the command line.
    """
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        group, value = override.key_or_group, override.value()
        names = value if isinstance(value, list) else [value]
        if group in groups() and not all(isinstance(name, str) for name in names):
            known = [one.name for one in choices(CONF / group)]
            told = override.get_value_element_as_str()
            key, reason = override.get_key_element(), f"no such {group}; {nearest(told, known)}"
            return UserError(key, told, reason)
    return UserError("", "", f"cannot be composed: {type(error).__name__}: {error}")


def _missing_config(error: MissingConfigException) -> UserError:
    """Returns the user error for a choice that a group does not have, or a missing config file."""
    path = error.missing_cfg_file or ""
    if error.options and path.endswith("/"):
        group = path.rstrip("/")
        return UserError(group, "", f"needs a name; {nearest('', error.options)}")
    missing = PurePosixPath(path)
    if error.options:
        group = str(missing.parent)
        return UserError(
            group, missing.name, f"no such {group}; {nearest(missing.name, error.options)}"
        )
    if len(missing.parts) > 1:
        known = groups()
        return UserError(
            str(missing.parent),
            missing.name,
            f"no such group; {nearest(str(missing.parent), known)}",
        )
    known = ["config", *(experiment.name for experiment in choices(EXPERIMENTS))]
    return UserError(
        "--config-name", missing.name, f"no such experiment; {nearest(missing.name, known)}"
    )


def _unknown_key(error: BaseException) -> tuple[str, list[str]] | None:
    """Returns the key that a config does not have, and the keys that it has in that place.

    None if the error is not about an unknown key.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConfigAttributeError | ConfigKeyError):
            parent = cause.parent_node
            known = [str(key) for key in parent] if isinstance(parent, DictConfig) else []
            return str(cause.full_key), [key for key in known if not key.startswith(("_", "hydra"))]
        cause = cause.__cause__
    return None


def _choices_with(key: str) -> list[str]:
    """Returns the choices of a key's group that have the key, as overrides."""
    group, _, name = key.partition(".")
    if group not in groups():
        return []
    return [f"{group}={one.name}" for one in choices(CONF / group) if name in one.settings]


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _value_of(key: str, overrides: Sequence[str]) -> str:
    """Returns the value that the command line gives to a key, or an empty string."""
    for override in overrides:
        name, _, value = override.lstrip("+~").partition("=")
        if name == key:
            return value
    return ""


def _one_line(error: BaseException) -> str:
    """Returns the message of an exception, or of its cause if it has none, on one line.

    A cause from OmegaConf is added to the message.
    """
    text = str(error) or str(error.__cause__ or type(error).__name__)
    if isinstance(error.__cause__, OmegaConfBaseException) and str(error.__cause__) not in text:
        text = f"{text}: {error.__cause__}"
    lines = [line.strip() for line in text.splitlines()]
    kept = [
        line
        for line in lines
        if line and not line.startswith(("See https", "full_key", "object_type"))
    ]
    return "; ".join(kept)
