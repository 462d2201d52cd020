"""Files that others may have written: read only where they are plain files, and small."""

from __future__ import annotations

import os
import stat
from pathlib import Path

LARGEST = 64 * 2**20
"""Bytes that a file may have."""


def read_small(path: Path, most: int = LARGEST) -> bytes:
    """What is in a file.

    Args:
        path: of the file.
        most: bytes that it may have.

    Raises:
        ValueError: it is a pipe or a device, which may never end, or it is larger.
        OSError: it cannot be read.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("it is not a plain file")
        if about.st_size > most:
            raise ValueError(f"it is too large: {about.st_size} bytes")
        return file.read(most + 1)[:most]
