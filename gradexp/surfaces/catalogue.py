"""The surfaces by their names in the config."""

from __future__ import annotations

from typing import Any

from gradexp.mistakes import Mistake, nearest
from gradexp.surfaces import convex, multi_minima, saddle
from gradexp.surfaces.surface import Surface

SURFACES: dict[str, type[Surface]] = {
    found.name(): found
    for module in (convex, multi_minima, saddle)
    for found in vars(module).values()
    if isinstance(found, type)
    and issubclass(found, Surface)
    and found.__module__.startswith(module.__name__)
}


def names() -> list[str]:
    """The names of all surfaces, in alphabetical order."""
    return sorted(SURFACES)


def get(name: str, **numbers: Any) -> Surface:
    """The surface of that name.

    Args:
        name: its name in the config, such as ``"six_hump_camel"``.
        numbers: its fields, where they differ from the defaults.

    Raises:
        Mistake: there is none of that name, it has no such field, or a value is not allowed.

    >>> get("rosenbrock", b=10.0).minimizers
    ((1.0, 1.0),)
    """
    if name not in SURFACES:
        raise Mistake("surface", name, f"no such surface; {nearest(name, SURFACES)}")
    return SURFACES[name].from_settings(numbers)
