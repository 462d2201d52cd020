"""The folder that a run or a sweep writes to: made for it alone, and gone after a mistake."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradexp.mistakes import Mistake


def check_unused(key: str, folder: Path) -> None:
    """Checks that an output folder is no other run's.

    Raises:
        Mistake: it holds a run or a sweep already.
    """
    if any((folder / mark).exists() for mark in ("run.json", ".hydra", "multirun.yaml")):
        raise Mistake(key, folder, "holds a run or a sweep already; choose another folder")


def _made(key: str, folder: Path) -> list[Path]:
    """Makes an output folder, and gives those of its parents and itself that were not there."""
    missing: list[Path] = []
    try:
        check_unused(key, folder)
        missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Of two runs that find the folder missing, one makes it.
        folder.mkdir(exist_ok=folder not in missing)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(None, "Permission denied")
    except OSError as error:
        _remove_empty(missing)
        raise Mistake(key, folder, f"cannot be written: {error.strerror}") from None
    return missing


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def claimed(key: str, folder: Path) -> Iterator[None]:
    """Makes an output folder; after a mistake nothing of ours is left there, but whole runs.

    Args:
        key: the config key that says where it is.
        folder: where it is.

    Raises:
        Mistake: it cannot be written, or holds a run or a sweep already.
    """
    missing = _made(key, folder)
    try:
        yield
    except Mistake:
        if not any(folder.rglob("run.json")):
            shutil.rmtree(folder / ".hydra", ignore_errors=True)
            for name in ("multirun.yaml", "sweep.json", "gradexp.log"):
                (folder / name).unlink(missing_ok=True)
        _remove_empty(missing)
        raise
