"""Reads files that others may have written, if they are regular files and small."""

from __future__ import annotations

import os
import stat
from pathlib import Path

LARGEST = 64 * 2**20
"""The default limit on the size of a file, in bytes."""


def read_small(path: Path, most: int = LARGEST) -> bytes:
    """Returns the content of a file.

    Args:
        path: the file.
        most: the limit on its size, in bytes.

    Raises:
        ValueError: if it is a pipe or a device, which may never end, or is larger than the limit.
        OSError: if it cannot be read.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("it is not a plain file")
        if about.st_size > most:
            raise ValueError(f"it is too large: {about.st_size} bytes")
        return file.read(most + 1)[:most]
