"""Whether the jobs of a sweep may take faster ways than Hydra's own.

Composing a job and running it takes Hydra about 100 ms. `gradexp.sweeps.composition`,
`reusable_config`, `job_files` and `launching` do both in 2 ms where they leave what Hydra would
leave. Each of these shortcuts is tried once a process beside the ordinary way. Where it fails or
comes to something else, for want of a Hydra or OmegaConf that it knows, all of them are given up
and `hydra.core.utils.run_job` does the work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from gradexp.errors import one_line

log = logging.getLogger(__name__)

_passed: set[str] = set()
"""the shortcuts that were tried in this process and came to the same"""

_given_up = False


def allowed() -> bool:
    """Returns whether shortcuts may be taken in this process."""
    return not _given_up


def try_once(name: str, fast: Callable[[], Any], slow: Callable[[], Any]) -> bool:
    """Tries a shortcut beside the ordinary way, unless that was done in this process before.

    Args:
        name: what is tried.
        fast: makes something the fast way; must leave nothing behind that the slow way does not.
        slow: makes the same the ordinary way.

    Returns:
        Whether the shortcut may be taken. Once one may not, none may any longer.
    """
    if _given_up or name in _passed:
        return not _given_up
    expected = repr(slow())  # 1 and 1.0 are equal, and differ in a config
    try:
        if repr(fast()) == expected:
            _passed.add(name)
            return not _given_up  # of another, tried on the way
        reason = f"{name} comes to something else"
    except Exception as error:
        reason = f"{name} fails ({one_line(error)})"
    give_up(reason)
    return False


def give_up(reason: str) -> None:
    """Leaves the work to Hydra from now on, and logs why."""
    global _given_up
    if not _given_up:
        log.warning("each job is composed and run by Hydra itself, which is slower: %s", reason)
    _given_up = True
