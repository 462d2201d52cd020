"""The catalogue of surfaces by their names in configs, found among this package's classes."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Any

from gradexp.errors import UserError, nearest
from gradexp.surfaces.own import Formula
from gradexp.surfaces.surface import Surface


def _found() -> dict[str, type[Surface]]:
    found: dict[str, type[Surface]] = {}
    for info in pkgutil.walk_packages([str(Path(__file__).parent)], "gradexp.surfaces."):
        if info.name == __name__:
            continue
        for thing in vars(import_module(info.name)).values():
            if not isinstance(thing, type) or thing.__module__ != info.name:
                continue
            if issubclass(thing, Surface) and "__dataclass_fields__" in vars(thing):
                found[thing.label()] = thing
    del found[Formula.label()]
    return found


SURFACES = _found()


def names() -> list[str]:
    """Returns the names of all surfaces in alphabetical order."""
    return sorted(SURFACES)


def get(name: str, **numbers: Any) -> Surface:
    """Returns the surface with this name.

    Args:
        name: its name in configs, such as ``"six_hump_camel"``.
        numbers: its fields that differ from the defaults.

    Raises:
        UserError: the name or a field is unknown, or a value is not allowed.

    >>> get("rosenbrock", b=10.0).minimizers
    ((1.0, 1.0),)
    """
    if name not in SURFACES:
        raise UserError("surface", name, f"no such surface; {nearest(name, SURFACES)}")
    return SURFACES[name].from_settings(numbers)
