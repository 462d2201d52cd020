"""Compiled programs on disk, for the next process."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from gradexp.processes.environment import AT_START

log = logging.getLogger(__name__)

_DIGEST = 32
"""Bytes of a SHA-256."""

_ENDING = ".program"
_BUILDING = ".gradexp-building-"
"""How the names of folders begin in which programs are made."""

SOURCE, PROGRAM = "step.cpp", "program"
"""The files in them."""

_NAME = re.compile(rf"[0-9a-f]{{32}}{re.escape(_ENDING)}")

_MOST = 4096
"""Programs that are kept, of some 20 kB each."""

_DAY = 86_400.0


def cache_folder() -> Path:
    """Where programs are kept: ``$GRADEXP_CACHE``, or ``gradexp`` in the user's cache."""
    chosen = AT_START.get("GRADEXP_CACHE")
    if chosen:
        return Path(chosen)
    base = AT_START.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gradexp"


def _make_private(folder: Path) -> None:
    """Makes the folder of programs, which are loaded and run: nobody else may write there.

    Raises:
        OSError: it cannot be made, or somebody else could write there.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not _is_private(folder):
        reason = "is a link, another user's, or may be written by others (chmod go-w)"
        raise PermissionError(errno.EPERM, reason)


def _is_private(folder: Path) -> bool:
    about = folder.lstat()
    return stat.S_ISDIR(about.st_mode) and _is_this_users(about)


def _is_this_users(about: os.stat_result) -> bool:
    """Whether nobody else can write to what this is about."""
    return not hasattr(os, "getuid") or (
        about.st_uid == os.getuid() and not stat.S_IMODE(about.st_mode) & 0o022
    )


def _is_own(file: Path) -> bool:
    """Whether a file of the cache is this user's, no link, and nobody else's to write."""
    about = file.lstat()
    return stat.S_ISREG(about.st_mode) and _is_this_users(about)


def place(*parts: str) -> Path:
    """The file of what these make, with this version of torch."""
    key = hashlib.sha256("\0".join([*parts, torch.__version__]).encode()).hexdigest()[:32]
    return cache_folder() / f"{key}{_ENDING}"


@cache
def own_source() -> str:
    """A digest of gradexp itself: what it makes of the same setting may have changed."""
    package = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def kept(file: Path, make: Callable[[Path], None]) -> Path:
    """A file of the cache, made by a function that fills an empty folder's `PROGRAM` if it is not
    there and whole; where the cache cannot be written, one like it that lives as long as this
    process.

    Raises:
        OSError: it cannot be made.
    """
    if whole(file):
        return file
    try:
        _make_private(file.parent)
        building = tempfile.TemporaryDirectory(dir=file.parent, prefix=_BUILDING)
    except OSError as error:
        file = Path(_passing_folder(f"{file.parent}: {error.strerror}").name) / file.name
        building = tempfile.TemporaryDirectory(dir=file.parent, prefix=_BUILDING)
    with building as folder:
        result = Path(folder) / PROGRAM
        make(result)
        with result.open("r+b") as made:  # at its end after the digest was read
            made.write(hashlib.file_digest(made, "sha256").digest())
            os.fchmod(made.fileno(), 0o700)
        os.replace(result, file)  # another process may have been quicker: the same program
    _drop_oldest(file.parent)
    return file


def _drop_oldest(folder: Path) -> None:
    """Removes the programs that were not used for longest, where they are more than `_MOST`, and
    what processes that were killed while they built one have left."""
    with suppress(OSError):
        entries = list(os.scandir(folder))
        for entry in entries:
            if entry.name.startswith(_BUILDING) and entry.is_dir(follow_symlinks=False):
                age = time.time() - entry.stat(follow_symlinks=False).st_mtime
                if age > _DAY:
                    _remove_building(Path(entry.path))
        files = [entry for entry in entries if _NAME.fullmatch(entry.name)]
        if len(files) <= _MOST:
            return
        by_use = sorted(files, key=lambda entry: entry.stat(follow_symlinks=False).st_mtime)
        for entry in by_use[: len(files) - _MOST * 9 // 10]:
            os.unlink(entry.path)


def _remove_building(folder: Path) -> None:
    with suppress(OSError):
        for name in (SOURCE, PROGRAM):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def whole(file: Path) -> bool:
    """Whether a file of the cache is there, and as it was made: it ends with its digest."""
    try:
        if not (_is_own(file) and _is_private(file.parent)):
            return False
        content = file.read_bytes()
        if time.time() - file.stat().st_mtime > _DAY:
            os.utime(file)  # it is used: see `_drop_oldest`
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
    """Lets a file of the cache be found by another name, too, where the disk can do that."""
    if file.parent != other.parent:  # it lives as long as this process
        return
    try:
        other.unlink(missing_ok=True)
        os.link(file, other)
    except OSError:  # another process was quicker, or this disk has no links
        return
