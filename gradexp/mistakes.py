"""What a person got wrong, said in one line: the key, the value, and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

_LONGEST = 200
"""Characters of a value that are shown."""


class Mistake(ValueError):
    """A setting that cannot be used, found before any work was done.

    Args:
        key: where the value stands: a field's name, or its path in the config.
        value: what stands there.
        reason: what is wrong with it and what is allowed.
    """

    def __init__(self, key: str, value: object, reason: str) -> None:
        shown = as_text(value)
        place = f"{key}={shown}" if key and shown else key
        super().__init__(f"{place}: {reason}" if place else reason)
        self.key = key
        self.value = value
        self.reason = reason

    def __reduce__(self) -> tuple[type[Mistake], tuple[str, object, str]]:
        return Mistake, (self.key, self.value, self.reason)  # another process may raise it

    def under(self, prefix: str) -> Mistake:
        """The same mistake with its key below `prefix`: ``lr`` becomes ``optimizer.lr``."""
        return Mistake(f"{prefix}.{self.key}" if self.key else prefix, self.value, self.reason)


def one_line(error: Exception) -> str:
    """What went wrong in one line."""
    kind = "" if isinstance(error, Mistake) else f"{type(error).__name__}: "
    return " ".join(f"{kind}{error}".split())


def as_text(value: object) -> str:
    """A value in one line, as a config has it; of many numbers only how they are arranged."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    shape: Any = getattr(value, "shape", ())
    if shape:
        return f"{type(value).__name__} of shape {tuple(shape)}"
    text = " ".join(str(value).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def coordinates(point: Sequence[float]) -> str:
    """A point as people write it, shortened."""
    shown = ", ".join(f"{float(x):.4g}" for x in point[:4])
    return f"({shown}, …)" if len(point) > 4 else f"({shown})"


def nearest(name: str, known: Iterable[str]) -> str:
    """What to try instead of `name`: the nearest known name if one is near, then all of them."""
    known = sorted(known)
    lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    hint = f"did you mean {lower[near[0]]}? " if near else ""
    return f"{hint}known: {', '.join(known) or 'none'}"
