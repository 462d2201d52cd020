"""What a sweep's folder says of how it was begun: so much that it can be gone on with."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from gradexp.errors import UserError
from gradexp.files.plain import read_small
from gradexp.results.output_folder import place

_PLAN = "sweep.json"

_PATIENCE = 2.0
"""Seconds: the processes of a sweep that was just killed end a moment after it."""


class Plan(NamedTuple):
    """How a sweep was begun."""

    arguments: list[str]
    """of ``gradexp run``"""
    cwd: str
    """where it was typed"""
    now: list[list[Any]]
    """what the resolver ``now`` gave for which arguments: its folder's name comes of it"""

    @contextmanager
    def kept(self, folder: Path) -> Iterator[None]:
        """Writes it into a sweep's folder, and holds it: see `held`. It is held before anything is
        in it, so that nobody goes on with the sweep who could read it.

        Raises:
            FileExistsError: there is one.
        """
        partial = folder / f".{_PLAN}.partial"
        with partial.open("x") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(f"{json.dumps(self._asdict(), indent=2)}\n")
            file.flush()
            place(partial, folder / _PLAN)
            yield

    def set_clock(self, config: DictConfig) -> None:
        """Lets the resolver ``now`` give in a config what it gave then."""
        OmegaConf.get_cache(config)["now"] = {tuple(given): value for given, value in self.now}


def begun(arguments: list[str], config: DictConfig) -> Plan:
    """The plan of a sweep that begins.

    Args:
        arguments: of ``gradexp run``.
        config: the sweep's own, its folder resolved.
    """
    times = OmegaConf.get_cache(config).get("now", {})
    return Plan(arguments, os.getcwd(), [[list(given), value] for given, value in times.items()])


def read_plan(folder: Path) -> Plan:
    """The plan of a sweep's folder.

    Raises:
        UserError: it holds none.
    """
    if not folder.is_dir():
        raise UserError("", folder, f"{folder}: there is no such folder")
    try:
        plan = Plan(**json.loads(read_small(folder / _PLAN)))
    except (ValueError, TypeError, RecursionError):
        raise UserError("", folder, f"{folder / _PLAN}: is damaged") from None
    except OSError:
        raise UserError("", folder, f"{folder}: holds no sweep of gradexp ({_PLAN})") from None
    if not (
        _are_texts(plan.arguments)
        and isinstance(plan.cwd, str)
        and isinstance(plan.now, list)
        and all(
            isinstance(one, list) and len(one) == 2 and _are_texts(one[0]) and _are_texts(one[1:])
            for one in plan.now
        )
    ):
        raise UserError("", folder, f"{folder / _PLAN}: is damaged")
    return plan


def _are_texts(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(one, str) for one in values)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps every other process from going on with the same sweep.

    Raises:
        UserError: another process is at it, and has not ended within `_PATIENCE` seconds.
    """
    end = time.monotonic() + _PATIENCE
    with (folder / _PLAN).open() as file:
        while not _locked(file.fileno()):
            if time.monotonic() > end:
                raise UserError("", folder, f"{folder}: the sweep is still running")
            time.sleep(0.02)
        yield


def _locked(file: int) -> bool:
    """Whether this process has an open file to itself from now on."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
