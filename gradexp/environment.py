"""What the environment says of code, as it was at the start: a config cannot change it.

Which compiler makes programs, where they are kept and what packages a person trusts is decided
before any config is read.
"""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path.cwd()
"""The folder in which gradexp was imported: where a person's own packages may lie."""


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


def trusted_packages() -> tuple[str, ...]:
    """The packages that the person running allows: ``$GRADEXP_TRUST``."""
    names = (name.strip() for name in AT_START.get("GRADEXP_TRUST", "").split(","))
    return tuple(name for name in names if name)
