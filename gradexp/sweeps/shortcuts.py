"""Decides whether the jobs of a sweep may use shortcuts instead of Hydra's own code.

Hydra takes about 100 ms to compose and run a job. `gradexp.sweeps.composition`, `reusable_config`,
`job_files` and `launching` do both in 2 ms with the same result. In each process, every shortcut is
compared once with Hydra's own code. If it fails or its result differs, which may happen with other
versions of Hydra or OmegaConf, all shortcuts are disabled, and Hydra composes and runs each job.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from gradexp.errors import one_line

log = logging.getLogger(__name__)

_passed: set[str] = set()
"""the names of the shortcuts that gave the same result as Hydra's own code in this process"""

_given_up = False


def allowed() -> bool:
    """Whether shortcuts may be used in this process."""
    return not _given_up


def try_once(name: str, fast: Callable[[], Any], slow: Callable[[], Any]) -> bool:
    """Compares a shortcut with Hydra's own code, unless this was done before in this process.

    Args:
        name: the name of the shortcut, used in the log.
        fast: returns the result of the shortcut. It must have no side effects that `slow` does not
            have.
        slow: returns the result of Hydra's own code.

    Returns:
        Whether the shortcut may be used. Once one may not, all others are disabled too.
    """
    if _given_up or name in _passed:
        return not _given_up
    expected = repr(slow())  # 1 and 1.0 are equal, and differ in a config
    try:
        if repr(fast()) == expected:
            _passed.add(name)
            return not _given_up  # `fast` may have tried another shortcut, which failed
        reason = f"{name} comes to something else"
    except Exception as error:
        reason = f"{name} fails ({one_line(error)})"
    give_up(reason)
    return False


def give_up(reason: str) -> None:
    """Disables all shortcuts in this process, and logs the reason."""
    global _given_up
    if not _given_up:
        log.warning("each job is composed and run by Hydra itself, which is slower: %s", reason)
    _given_up = True
