"""Output folders: empty before anything is written, and one run's or one sweep's alone.

gradexp deletes only files that it writes itself, by their names, and only in the folder of the run
or sweep that it makes or resumes. What else lies there stays.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from gradexp.errors import UserError
from gradexp.results import RUN_FILES

_BESIDE = ("optimization_results.yaml", "summary")
"""What else lies in a sweep's folder: what Optuna found, and a run for TensorBoard."""

_LONGEST = 255
"""Bytes that the name of a file may have, on all disks in use."""

_CLAIM = ".hydra"
"""The folder whose making decides which of two runs gets an output folder."""

_SWEEP_FILES = (
    *("multirun.yaml", ".multirun.yaml.partial", "sweep.json", ".sweep.json.partial"),
    *("runs.parquet", ".runs.parquet.partial"),
)


def check_empty(key: str, folder: Path, but: str | None = None) -> None:
    """Checks that an output folder is missing or empty.

    Args:
        key: the config key that says where it is.
        folder: where it is.
        but: the name of an entry that does not count.

    Raises:
        UserError: something is there; the first of it is named.
        OSError: it cannot be looked into.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise UserError(key, folder, "is not a folder")
    first = min((entry.name for entry in os.scandir(folder) if entry.name != but), default=None)
    if first is not None:
        holds = "holds a run or a sweep already" if _is_used(folder) else "is not empty"
        raise UserError(key, folder, f"{holds} ({first} is there); choose another folder")


def _is_used(folder: Path) -> bool:
    return any((folder / mark).exists() for mark in ("run.json", ".hydra", "multirun.yaml"))


@contextmanager
def claimed(key: str, folder: Path, log: str) -> Iterator[Callable[[], None]]:
    """Makes an output folder for one run or sweep; after a mistake nothing of it is left there,
    but whole runs.

    Args:
        key: the config key that says where it is.
        folder: where it is.
        log: the name of the log file in it.

    Yields:
        What gives the claim up early, once a file that others see is there.

    Raises:
        UserError: it is not empty, it is being written to by another, or it cannot be written.
    """
    missing = _made(key, folder)
    claim = folder / _CLAIM
    release = partial(give_up_claim, folder)

    try:
        claim.mkdir()
    except FileExistsError:
        reason = f"another run writes there, or was ended before it wrote anything ({claim})"
        raise UserError(key, folder, f"{reason}; choose another folder") from None
    except OSError as error:
        _remove_empty(missing)
        raise UserError(key, folder, f"cannot be written: {error.strerror}") from None
    try:
        check_empty(key, folder, but=_CLAIM)  # while nobody else can begin
    except UserError:
        release()
        raise
    try:
        yield release
    except UserError:
        if not any(folder.rglob("run.json")):
            clear(folder, [*_SWEEP_FILES, log])
        release()
        _remove_empty(missing)
        raise
    finally:
        release()


def give_up_claim(folder: Path) -> None:
    """Gives up the claim to an output folder, of a run that was killed as well; what was written
    into it stays."""
    with suppress(OSError):
        (folder / _CLAIM).rmdir()


@contextmanager
def staged(key: str, folder: Path, overwrite: bool, sure: Iterable[str] = ()) -> Iterator[Path]:
    """A new folder to write files into, which come to their place when all of them are whole.

    Args:
        key: the option that says where they go.
        folder: where they go; it is made where it is missing.
        overwrite: whether they may replace files that are there.
        sure: names of files that will be written: it need not be waited for to refuse.

    Raises:
        UserError: a file is there already, a folder is where a file goes, or nothing can be written
            there. In the first two cases nothing was written.
    """
    _refuse_existing(key, folder, sure, overwrite)
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".gradexp-") as staging:
            yield Path(staging)
            names = sorted(os.listdir(staging))
            _refuse_existing(key, folder, names, overwrite)
            for name in names:
                place(Path(staging) / name, folder / name, overwrite)
    except OSError as error:
        _remove_empty(missing)
        raise UserError(key, folder, f"cannot be written: {error.strerror or error}") from None
    except UserError:
        _remove_empty(missing)
        raise


def place(made: Path, path: Path, overwrite: bool = False) -> None:
    """Brings a file to its place; without `overwrite` only where nothing is."""
    if not overwrite:
        with suppress(PermissionError):  # a disk without links
            os.link(made, path)
            return made.unlink()
    os.replace(made, path)


def _refuse_existing(key: str, folder: Path, names: Iterable[str], overwrite: bool) -> None:
    for name in names:
        path = folder / name
        if overwrite and path.is_dir() and not path.is_symlink():
            raise UserError(key, path, "is a folder, which --overwrite does not replace")
        if not overwrite and os.path.lexists(path):
            raise UserError(key, path, "is there already; --overwrite replaces it")


def _made(key: str, folder: Path) -> list[Path]:
    """Makes an output folder, and gives those of its parents and itself that were not there."""
    missing: list[Path] = []
    try:
        check_empty(key, folder)
        missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _remove_empty(missing)
        raise UserError(key, folder, f"cannot be written: {error.strerror}") from None
    return missing


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def check_job_folders(sweep: Path, folders: Iterable[Path], others: Iterable[Path]) -> None:
    """Checks that jobs write to folders of their own, strictly below their sweep's.

    Args:
        sweep: its folder.
        folders: the jobs'.
        others: those of jobs that were checked before.

    Raises:
        UserError: one lies elsewhere, by its name or by a link, in another job's, or where
            the sweep itself writes.
    """
    key, real = "hydra.sweep.subdir", Path(os.path.realpath(sweep))
    chosen = list(folders)
    taken = {*chosen, *others}
    for folder in chosen:
        inside = os.path.relpath(folder, sweep)
        if not folder.is_relative_to(sweep) or folder == sweep:
            raise UserError(key, inside, f"must lie below the sweep's folder, {sweep}")
        if any(len(os.fsencode(part)) > _LONGEST for part in Path(inside).parts):
            raise UserError(key, inside, f"has a name of more than {_LONGEST} bytes")
        if Path(inside).parts[0] in (*_SWEEP_FILES, *_BESIDE, _CLAIM):
            raise UserError(key, inside, "is a name that the sweep itself writes to")
        above = folder.parent
        while above != sweep:
            if above in taken:
                raise UserError(key, inside, f"lies in another job's folder, {above}")
            above = above.parent
        if Path(os.path.realpath(folder)) != real / inside:
            raise UserError(key, inside, "leads out of the sweep's folder by a link")
        for place in (folder, folder / _CLAIM):
            if place.is_symlink() or (place.exists() and not place.is_dir()):
                raise UserError(key, inside, f"{place} is not a folder, where a folder must be")


def check_links(sweep: Path, more: Iterable[str]) -> None:
    """Checks that none of the files that a sweep writes is a link to another.

    Args:
        sweep: its folder.
        more: names of files besides those of every sweep.

    Raises:
        UserError: one is.
    """
    for name in (*_SWEEP_FILES, *more):
        path = sweep / name
        if path.is_symlink():
            raise UserError("", sweep, f"{path} is a link: nothing is written through it")
        if path.exists() and not path.is_file():
            raise UserError("", sweep, f"{path} is not a file, where a file must be")


def clear(folder: Path, more: Iterable[str] = ()) -> None:
    """Removes what a run writes into its folder, by name.

    Args:
        folder: a run's, a job's or a sweep's.
        more: further names of files.
    """
    names = [*RUN_FILES, *more]
    hydra = folder / _CLAIM
    found = [path for name in names for path in folder.glob(name)]
    if not hydra.is_symlink():
        found += [hydra / f"{name}.yaml" for name in ("config", "hydra", "overrides")]
    for path in found:
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            path.unlink()
    _remove_empty([hydra])
