"""A cache of compiled programs on disk, shared by processes."""

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
"""Length of a SHA-256 digest in bytes."""

_ENDING = ".program"
_BUILDING = ".gradexp-building-"
"""Prefix of the temporary folders in which programs are built."""

SOURCE, PROGRAM = "step.cpp", "program"
"""The files in such a folder: the source and the compiled program."""

_NAME = re.compile(rf"[0-9a-f]{{32}}{re.escape(_ENDING)}")

_MOST = 4096
"""The most programs that are kept; each takes about 20 kB."""

_DAY = 86_400.0


def cache_folder() -> Path:
    """Returns the folder of the cache: ``$GRADEXP_CACHE``, or ``gradexp`` in the user's cache."""
    chosen = AT_START.get("GRADEXP_CACHE")
    if chosen:
        return Path(chosen)
    base = AT_START.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gradexp"


def _make_private(folder: Path) -> None:
    """Creates the folder of the cache, if needed, and checks that only this user can write to it.

    The programs in it are loaded and run.

    Raises:
        OSError: if it cannot be created, or others could write to it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not _is_private(folder):
        reason = "is a link, another user's, or may be written by others (chmod go-w)"
        raise PermissionError(errno.EPERM, reason)


def _is_private(folder: Path) -> bool:
    about = folder.lstat()
    return stat.S_ISDIR(about.st_mode) and _is_this_users(about)


def _is_this_users(about: os.stat_result) -> bool:
    """Whether a file or folder belongs to this user and cannot be written by others."""
    return not hasattr(os, "getuid") or (
        about.st_uid == os.getuid() and not stat.S_IMODE(about.st_mode) & 0o022
    )


def _is_own(file: Path) -> bool:
    """Whether a file is a regular file of this user that others cannot write."""
    about = file.lstat()
    return stat.S_ISREG(about.st_mode) and _is_this_users(about)


def place(*parts: str) -> Path:
    """Returns the cache file of the program that these strings and torch's version determine."""
    key = hashlib.sha256("\0".join([*parts, torch.__version__]).encode()).hexdigest()[:32]
    return cache_folder() / f"{key}{_ENDING}"


@cache
def own_source() -> str:
    """Returns a digest of gradexp's Python sources.

    Another version of gradexp may generate another program from the same settings.
    """
    package = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def kept(file: Path, make: Callable[[Path], None]) -> Path:
    """Returns the path of a cached program, built first if it is missing or damaged.

    If the cache is not writable, the program goes to a temporary folder that is deleted when this
    process ends.

    Args:
        file: of the program in the cache.
        make: called with the path to write the program to, in an empty folder.

    Raises:
        OSError: if the program cannot be stored.
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
        with result.open("r+b") as made:  # `file_digest` leaves it at the end
            made.write(hashlib.file_digest(made, "sha256").digest())
            os.fchmod(made.fileno(), 0o700)
        os.replace(result, file)  # another process may have stored the same program meanwhile
    _drop_oldest(file.parent)
    return file


def _drop_oldest(folder: Path) -> None:
    """Removes the least recently used programs if there are more than `_MOST`.

    Also removes the temporary folders that killed processes left behind, once they are a day old.
    """
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
    """Whether a cached program exists, is safe to load, and matches the digest at its end."""
    try:
        if not (_is_own(file) and _is_private(file.parent)):
            return False
        content = file.read_bytes()
        if time.time() - file.stat().st_mtime > _DAY:
            os.utime(file)  # marks it as used: see `_drop_oldest`
    except OSError:
        return False
    return hashlib.sha256(content[:-_DIGEST]).digest() == content[-_DIGEST:]


def program(file: Path) -> bytes:
    """Returns the content of a cached program, without its digest."""
    return file.read_bytes()[:-_DIGEST]


@cache
def _passing_folder(reason: str) -> tempfile.TemporaryDirectory[str]:
    """Creates a temporary folder for programs that is deleted when this process ends."""
    log.warning("engine: compiled programs are not kept for the next time: %s", reason)
    return tempfile.TemporaryDirectory(prefix="gradexp-")


def also_named(file: Path, other: Path) -> None:
    """Makes a cached program available under a second name, if the file system has hard links."""
    if file.parent != other.parent:  # `file` is in a temporary folder
        return
    try:
        other.unlink(missing_ok=True)
        os.link(file, other)
    except OSError:  # another process made it first, or there are no hard links
        return
