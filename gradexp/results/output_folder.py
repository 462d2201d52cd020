"""Output folders: each must be empty at first, and belongs to a single run or sweep.

gradexp deletes only files with the names that it writes itself, and only in the folder of the run
or sweep that it makes or resumes. All other files are kept.
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
"""Other entries of a sweep's folder: Optuna's results, and the summary for TensorBoard."""

_LONGEST = 255
"""The most bytes in a file name that all common file systems allow."""

_CLAIM = ".hydra"
"""The subfolder whose creation decides which of two runs gets an output folder."""

_SWEEP_FILES = (
    *("multirun.yaml", ".multirun.yaml.partial", "sweep.json", ".sweep.json.partial"),
    *("runs.parquet", ".runs.parquet.partial"),
)


def check_empty(key: str, folder: Path, but: str | None = None) -> None:
    """Checks that an output folder is missing or empty.

    Args:
        key: the config key that sets the folder.
        folder: the folder.
        but: the name of an entry to ignore.

    Raises:
        UserError: if it is not a folder, or not empty; the message names an entry.
        OSError: if its entries cannot be listed.
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
    """Creates an output folder and claims it for one run or sweep.

    After a `UserError` its files are removed again, unless a run in it is complete.

    Args:
        key: the config key that sets the folder.
        folder: the folder.
        log: the name of the log file in it.

    Yields:
        A function that gives up the claim early, once a file there keeps others out.

    Raises:
        UserError: if the folder is not empty, another run is writing to it, or it cannot be
            written to.
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
        check_empty(key, folder, but=_CLAIM)  # again, now that nobody else can claim it
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
    """Gives up the claim to an output folder, also the claim of a run that was killed.

    Files that were written there are kept.
    """
    with suppress(OSError):
        (folder / _CLAIM).rmdir()


@contextmanager
def staged(key: str, folder: Path, overwrite: bool, sure: Iterable[str] = ()) -> Iterator[Path]:
    """Creates a temporary folder for files that are moved to `folder` once all are complete.

    Args:
        key: the option that sets the folder.
        folder: where the files go; it is created if it is missing.
        overwrite: whether they may replace existing files.
        sure: names of files that will certainly be written. They are checked before any work.

    Yields:
        The temporary folder.

    Raises:
        UserError: if a file exists already, there is a folder in the place of a file, or `folder`
            cannot be written to. In the first two cases nothing was written.
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
    """Moves a file to its final path.

    Args:
        made: the file.
        path: where it goes.
        overwrite: whether an existing file is replaced. On a disk without hard links one always is.

    Raises:
        FileExistsError: if there is a file already, and it may not be replaced.
    """
    if not overwrite:
        with suppress(PermissionError):  # raised by a disk without hard links
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
    """Creates an output folder; returns which of it and its parents were missing before."""
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
    """Checks that the folders of jobs lie inside their sweep's folder, and not inside each other.

    Args:
        sweep: the sweep's folder.
        folders: the folders of the jobs.
        others: those of jobs that were checked before.

    Raises:
        UserError: if a folder is outside the sweep's (also because of a link), in another job's, or
            has a name that the sweep itself uses or that no file may have.
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
    """Checks that none of the files that a sweep writes is a link, or anything else but a file.

    Args:
        sweep: the sweep's folder.
        more: names of further files, besides those of every sweep.

    Raises:
        UserError: if one is.
    """
    for name in (*_SWEEP_FILES, *more):
        path = sweep / name
        if path.is_symlink():
            raise UserError("", sweep, f"{path} is a link: nothing is written through it")
        if path.exists() and not path.is_file():
            raise UserError("", sweep, f"{path} is not a file, where a file must be")


def clear(folder: Path, more: Iterable[str] = ()) -> None:
    """Removes the files that a run writes to its folder, identified by their names.

    Args:
        folder: the folder of a run, a job or a sweep.
        more: names of further files to remove.
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
