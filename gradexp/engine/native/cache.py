"""Compiled programs on disk, for the next process."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

log = logging.getLogger(__name__)

_DIGEST = 32
"""Bytes of a SHA-256."""


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
    """A file of the cache, made by a function that fills an empty folder's ``program`` if it is not
    there and whole; where the cache cannot be written, one like it that lives as long as this
    process.

    Raises:
        OSError: it cannot be made.
    """
    if whole(file):
        return file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        building = tempfile.TemporaryDirectory(dir=file.parent, prefix="building-")
    except OSError as error:
        file = Path(_passing_folder(f"{file.parent}: {error.strerror}").name) / file.name
        building = tempfile.TemporaryDirectory(dir=file.parent, prefix="building-")
    with building as folder:
        result = Path(folder) / "program"
        make(result)
        with result.open("r+b") as made:  # at its end after the digest was read
            made.write(hashlib.file_digest(made, "sha256").digest())
        os.replace(result, file)  # another process may have been quicker: the same program
    return file


def whole(file: Path) -> bool:
    """Whether a file of the cache is there, and as it was made: it ends with its digest."""
    try:
        content = file.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content[:-_DIGEST]).digest() == content[-_DIGEST:]


def program(file: Path) -> bytes:
    """What was made, without its digest."""
    return file.read_bytes()[:-_DIGEST]


@cache
def _passing_folder(reason: str) -> tempfile.TemporaryDirectory[str]:
    """A folder for programs, as long as this process lives."""
    log.warning("engine: compiled programs are not kept for the next time: %s", reason)
    return tempfile.TemporaryDirectory(prefix="gradexp-")


def also_named(file: Path, other: Path) -> None:
    """Lets a file be found by another name, too, where the disk can do that."""
    try:
        other.unlink(missing_ok=True)
        os.link(file, other)
    except OSError:  # another process was quicker, or this disk has no links
        return
