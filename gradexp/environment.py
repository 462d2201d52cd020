"""What the environment says of code, as it was at the start: a config cannot change it.

Which compiler makes programs, where they are kept and what packages a person trusts is decided
before any config is read.
"""

from __future__ import annotations

import os
from pathlib import Path

AT_START = dict(os.environ)
"""The environment in which gradexp was imported."""

FOLDER = Path.cwd()
"""The folder in which it was: where a person's own packages may lie."""


def trusted_packages() -> tuple[str, ...]:
    """The packages that the person running allows: ``$GRADEXP_TRUST``."""
    names = (name.strip() for name in AT_START.get("GRADEXP_TRUST", "").split(","))
    return tuple(name for name in names if name)
