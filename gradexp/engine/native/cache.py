"""Compiled programs on disk, for the next process."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch


def cache_folder() -> Path:
    """Where programs are kept: ``$GRADEXP_CACHE``, or ``gradexp`` in the user's cache."""
    chosen = os.environ.get("GRADEXP_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gradexp"


def place(*parts: str) -> Path:
    """The file of what these make, with this version of torch."""
    key = hashlib.sha256("\0".join([*parts, torch.__version__]).encode()).hexdigest()[:32]
    return cache_folder() / f"{key}.program"


@cache
def own_source() -> str:
    """A digest of gradexp itself: what it makes of the same setting may have changed."""
    package = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def kept(file: Path, make: Callable[[Path], None]) -> Path:
    """The file, made by a function that fills an empty folder's ``program`` if it is not there.

    Raises:
        OSError: it cannot be written.
    """
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix="building-") as folder:
            result = Path(folder) / "program"
            make(result)
            os.replace(result, file)  # another process may have been quicker: the same program
    return file


def also_named(file: Path, other: Path) -> None:
    """Lets a file be found by another name, too, where the disk can do that."""
    try:
        os.link(file, other)
    except OSError:  # it is there, or this disk has no links
        return
