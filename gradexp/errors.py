"""Errors with messages of one line, and the formatting of values in messages."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable, Sequence
from typing import Any

_LONGEST = 200
"""The most characters of a value that are shown."""


class UserError(ValueError):
    """A user error: a setting or an input that cannot be used.

    Args:
        key: the name of a field, or its path in the config; empty if there is none.
        value: the value that cannot be used.
        reason: what is wrong with the value and what is allowed.
    """

    def __init__(self, key: str, value: object, reason: str) -> None:
        shown = as_text(value)
        place = f"{key}={shown}" if key and shown else key
        super().__init__(f"{place}: {reason}" if place else reason)
        self.key = key
        self.value = value
        self.reason = reason

    def __reduce__(self) -> tuple[type[UserError], tuple[str, object, str]]:
        return UserError, (self.key, self.value, self.reason)  # for errors from other processes

    def under(self, prefix: str) -> UserError:
        """Returns the error with its key below `prefix`: ``lr`` becomes ``optimizer.lr``."""
        return UserError(f"{prefix}.{self.key}" if self.key else prefix, self.value, self.reason)


def one_line(error: Exception) -> str:
    """Returns the message of an exception in one line, with its type unless it is a `UserError`."""
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return " ".join(f"{kind}{error}".split())


_OF_THE_MACHINE = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EMFILE", "ENFILE", "EIO", "ENOMEM", "EPIPE", "EFBIG")
    if hasattr(errno, name)
}
_OUT_OF = re.compile(
    r"too many open files|cannot allocate memory|can't allocate memory|not enough memory"
    r"|out of memory|can't start new thread|failed to map segment|unable to mmap",
    re.IGNORECASE,
)


def machine_failure(error: BaseException) -> str | None:
    """Returns which resource the machine lacks, in one line; None for any other exception.

    Such failures are a full or read-only disk, no free file descriptors, a lack of memory, or a
    closed output. Further work would fail for the same reason.
    """
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}"
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, RuntimeError | ImportError | OSError) and _OUT_OF.search(str(error)):
        return " ".join(str(error).splitlines()[0].split())
    if isinstance(error, SystemError) and "exception" in str(error):  # Python ran out of memory
        return f"there is not enough memory, as it seems ({error})"
    return None


_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Returns a string that is safe to print to a terminal.

    Control characters, and those that change the direction of text, are escaped.
    """
    return _CONTROLS.sub(lambda sign: ascii(sign[0])[1:-1], text)


def as_text(value: object) -> str:
    """Returns a value in one line, written as in a config; for an array only its type and shape."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    shape: Any = getattr(value, "shape", ())
    if shape:
        return f"{type(value).__name__} of shape {tuple(shape)}"
    text = " ".join(str(value).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def coordinates(point: Sequence[float]) -> str:
    """Returns a point as ``(x, y, …)``: up to four coordinates, to four significant digits."""
    shown = ", ".join(f"{float(x):.4g}" for x in point[:4])
    return f"({shown}, …)" if len(point) > 4 else f"({shown})"


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns a hint for an unknown name: the most similar known name, if any, and all known names.

    Args:
        name: the unknown name.
        known: the known names.
    """
    known = sorted(known)
    lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    hint = f"did you mean {lower[near[0]]}? " if near else ""
    return f"{hint}known: {', '.join(known) or 'none'}"
