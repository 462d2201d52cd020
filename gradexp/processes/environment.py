"""What the environment says of code, as it was at the start: a config cannot change it.

Which compiler makes programs, where they are kept and what packages a person trusts is decided
before any config is read.
"""

from __future__ import annotations

import os
from pathlib import Path

_FOLDER = "GRADEXP_FOLDER"
_OF_CODE = ("CXX", "GRADEXP_CACHE", "GRADEXP_TRUST", "PATH", "XDG_CACHE_HOME")


def _folder() -> Path:
    """The folder of the start: of this process, or of the one that has started it."""
    try:
        return Path(os.environ.get(_FOLDER) or os.getcwd())
    except OSError:  # it was deleted
        return Path(os.sep)


FOLDER = _folder()
"""The folder in which gradexp was started: where a person's own packages may lie."""


def _with_whole_paths(environment: dict[str, str]) -> dict[str, str]:
    """An environment whose paths do not depend on the folder that a program is in later."""
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
"""The environment in which it was."""


def hand_on() -> None:
    """Lets the processes that this one starts have what is here: the folder that they are started
    in, which a file may name, is nowhere that code is looked for."""
    for name in _OF_CODE:
        if name in AT_START:
            os.environ[name] = AT_START[name]
    os.environ |= {_FOLDER: str(FOLDER), "PYTHONSAFEPATH": "1"}


def trusted_packages() -> tuple[str, ...]:
    """The packages that the person running allows: ``$GRADEXP_TRUST``."""
    names = (name.strip() for name in AT_START.get("GRADEXP_TRUST", "").split(","))
    return tuple(name for name in names if name)
