"""Limits what a config can read from the environment to numbers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

_OUTPUT = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
_free: list[set[str]] = []
"""For each active guard, the config keys that may use any environment variable."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@contextmanager
def guarded_environment(overrides: Sequence[str] = ()) -> Iterator[None]:
    """Limits ``${oc.env:NAME}`` to numbers.

    Otherwise a config file could write a secret into the name of a folder or into a record.

    Args:
        overrides: those typed by the user. Output folders that they set may use any variable.
    """
    from omegaconf.resolvers import oc

    from gradexp.config.internals import full_key, set_resolver

    from_environment = (override for override in overrides if "${oc.env:" in override)
    typed = {override.partition("=")[0].lstrip("+") for override in from_environment}

    def number_of(key: str, *default: Any, _node_: Any) -> Any:
        value = oc.env(key, *default)
        if not isinstance(value, str) or full_key(_node_) in _free[-1]:
            return value
        if _NUMBER.fullmatch(value):
            return float(value) if set(value) & set(".eE") else int(value)
        if key not in os.environ:
            return value  # the default, which is written in the config itself
        raise ValueError(f"only numbers are taken from the environment, and {key} holds none")

    _free.append(typed.intersection(_OUTPUT))
    set_resolver("oc.env", number_of)
    try:
        yield
    finally:
        _free.pop()
        if not _free:
            set_resolver("oc.env", oc.env)
