"""The record in a sweep's folder of how the sweep was started, with which it can be resumed."""

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
"""How long to wait for the lock of a sweep, in seconds: when a sweep is killed, its child processes
end a moment later."""


class Plan(NamedTuple):
    """How a sweep was started."""

    arguments: list[str]
    """the arguments of ``gradexp run``"""
    cwd: str
    """the directory in which the command was entered"""
    now: list[list[Any]]
    """pairs of the arguments and the value of the resolver ``now``, from which the name of the
    sweep's folder is made"""

    @contextmanager
    def kept(self, folder: Path) -> Iterator[None]:
        """Writes the plan to a sweep's folder, and holds the sweep's lock inside the context.

        The file is locked (see `held`) before it has any content. No other process can therefore
        read the plan and resume the sweep.

        Raises:
            FileExistsError: if the folder already has a plan.
        """
        partial = folder / f".{_PLAN}.partial"
        with partial.open("x") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(f"{json.dumps(self._asdict(), indent=2)}\n")
            file.flush()
            place(partial, folder / _PLAN)
            yield

    def set_clock(self, config: DictConfig) -> None:
        """Makes the resolver ``now`` give the same values in a config as when the sweep started."""
        OmegaConf.get_cache(config)["now"] = {tuple(given): value for given, value in self.now}


def begun(arguments: list[str], config: DictConfig) -> Plan:
    """Returns the plan of a sweep that starts now.

    Args:
        arguments: the arguments of ``gradexp run``.
        config: the sweep's own config, after the name of its folder was resolved.
    """
    times = OmegaConf.get_cache(config).get("now", {})
    return Plan(arguments, os.getcwd(), [[list(given), value] for given, value in times.items()])


def read_plan(folder: Path) -> Plan:
    """Reads the plan in a sweep's folder.

    Raises:
        UserError: if the folder does not exist, or its plan is missing or damaged.
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
    """Holds the lock of a sweep, so that no other process can resume it.

    Raises:
        UserError: if another process holds the lock and does not end within `_PATIENCE` seconds.
    """
    end = time.monotonic() + _PATIENCE
    with (folder / _PLAN).open() as file:
        while not _locked(file.fileno()):
            if time.monotonic() > end:
                raise UserError("", folder, f"{folder}: the sweep is still running")
            time.sleep(0.02)
        yield


def _locked(file: int) -> bool:
    """Tries to lock an open file for this process; returns whether it succeeded."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
