"""The environment variables that determine which code runs, as they were at the start.

The compiler, the cache of compiled programs and the trusted packages are fixed before any config is
read, so that a config cannot change them.
"""

from __future__ import annotations

import os
from pathlib import Path

_FOLDER = "GRADEXP_FOLDER"
_OF_CODE = ("CXX", "GRADEXP_CACHE", "GRADEXP_TRUST", "PATH", "XDG_CACHE_HOME")


def _folder() -> Path:
    """Returns the folder in which gradexp was started; its child processes inherit it."""
    try:
        return Path(os.environ.get(_FOLDER) or os.getcwd())
    except OSError:  # the current folder was deleted
        return Path(os.sep)


FOLDER = _folder()
"""The folder in which gradexp was started, where the user's own packages may be."""


def _with_whole_paths(environment: dict[str, str]) -> dict[str, str]:
    """Returns an environment whose paths do not depend on the current folder later.

    Paths of the cache and the compiler become absolute; relative entries of ``PATH`` are dropped.
    """
    found = dict(environment)
    for name in ("GRADEXP_CACHE", "XDG_CACHE_HOME"):
        if found.get(name):
            found[name] = os.path.join(FOLDER, found[name])
    compiler, _, options = found.get("CXX", "").partition(" ")
    if "/" in compiler:
        found["CXX"] = f"{os.path.join(FOLDER, compiler)} {options}".strip()
    path = found.get("PATH", os.defpath).split(os.pathsep)
    found["PATH"] = os.pathsep.join(place for place in path if os.path.isabs(place))
    return found


AT_START = _with_whole_paths(dict(os.environ))
"""The environment in which gradexp was started, with absolute paths."""


def hand_on() -> None:
    """Passes these settings on to the processes that this one starts.

    ``PYTHONSAFEPATH`` keeps Python from importing code from the folder in which such a process is
    started, because a file may have named that folder.
    """
    for name in _OF_CODE:
        if name in AT_START:
            os.environ[name] = AT_START[name]
    os.environ |= {_FOLDER: str(FOLDER), "PYTHONSAFEPATH": "1"}


def trusted_packages() -> tuple[str, ...]:
    """Returns the packages that the user trusts: those in ``$GRADEXP_TRUST``."""
    names = (name.strip() for name in AT_START.get("GRADEXP_TRUST", "").split(","))
    return tuple(name for name in names if name)
