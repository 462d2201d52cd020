"""gradexp: experiments on what decides whether, where and how fast optimizers converge."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import gradexp.processes.environment  # noqa: F401  (the environment is read before anything is done)

if TYPE_CHECKING:
    from gradexp import surfaces
    from gradexp.engine import optimize
    from gradexp.numbers import stack
    from gradexp.results import load

__version__ = "0.2.0"
__all__ = ["load", "optimize", "stack", "surfaces"]

_HOMES = {
    "load": "gradexp.results",
    "optimize": "gradexp.engine",
    "stack": "gradexp.numbers",
}


def __getattr__(name: str) -> Any:
    """Re-exports on first use, so that `gradexp list` does not wait for torch."""
    if name == "surfaces":
        return import_module("gradexp.surfaces")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'gradexp' has no attribute {name!r}")
