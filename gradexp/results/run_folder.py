"""Reads and writes the folder of a run: its trace and its record.

``trace.npz`` holds the arrays, and ``run.json`` the results. ``run.json`` is written last, by
rename, so a folder that has it is complete, however the program ended.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from gradexp.errors import UserError, machine_failure
from gradexp.files.plain import read_small

EVENTS = "events.out.tfevents."
"""The beginning of the names of TensorBoard's event files."""

FORMAT = 3
"""The format of ``run.json``. It is raised when a reader of the previous format would misread the
new one. The first files had none. In format 1 a single small gradient ended a run, and cycles were
found in the recorded points; in format 2 a run counted as at rest even if it would have moved
on."""

_RECORD = "run.json"
_TRACE = "trace.npz"
_FAILURE = "failure.json"

RUN_FILES = (
    *(name for whole in (_RECORD, _TRACE, _FAILURE) for name in (whole, f".{whole}.partial")),
    "trajectory.png",
    f"{EVENTS}*",
)
"""Patterns for all files that gradexp writes to a run's folder, except Hydra's and the log."""


def is_whole(folder: Path) -> bool:
    """Whether the folder holds a complete run."""
    # No `Path`, to be fast: a sweep checks thousands of folders twice a second.
    return os.path.isfile(f"{folder}/{_RECORD}")


def write_run(folder: Path, trace: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> None:
    """Writes the trace, then the record with the trace's digest.

    Args:
        folder: the run's folder, which exists and already holds the run's other files.
        trace: the arrays by name.
        record: the results as plain values; numbers that are not finite become null.
    """
    with _whole(folder / _TRACE) as file:
        np.savez(file, allow_pickle=False, **trace)
    whole = as_json({"format": FORMAT, **record, "digest": digest(trace)})
    text = json.dumps(whole, indent=2, allow_nan=False)
    with _whole(folder / _RECORD) as file:
        file.write(f"{text}\n".encode())


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """Opens a file that gets its name only when it is complete and on the disk."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    with partial.open("xb") as file:  # "x" never writes through an existing link
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def write_failure(folder: Path, reason: str) -> None:
    """Writes why a job of a sweep failed, in one line."""
    with _whole(folder / _FAILURE) as file:
        file.write(f"{json.dumps({'reason': reason})}\n".encode())


def read_failure(folder: Path) -> str | None:
    """Returns why a job of a sweep failed; None if it did not fail, or has not ended."""
    path = f"{folder}/{_FAILURE}"
    if not os.path.exists(path):
        return None
    try:
        return str(json.loads(read_small(Path(path)))["reason"])
    except (ValueError, TypeError, KeyError, OSError):
        return f"{_FAILURE} is damaged"


_REQUIRED: dict[str, type] = {
    "outcome": str,
    "evidence": dict,
    "metrics": dict,
    "versions": dict,
    "engine": str,
    "device": str,
    "digest": str,
}


def read_record(folder: Path) -> dict[str, Any]:
    """Reads the record of a complete run.

    Raises:
        UserError: if it is damaged, or was written by a newer gradexp.
    """
    path = folder / _RECORD
    try:
        record = json.loads(read_small(path))
    except (ValueError, RecursionError, OSError) as error:
        raise _damaged(path, error) from None
    if not isinstance(record, dict):
        raise _damaged(path, "is no mapping")
    written = record.get("format", 0)
    if not isinstance(written, int) or written > FORMAT:
        reason = f"{path}: is of format {written}; this gradexp reads up to {FORMAT}: use a newer"
        raise UserError("", folder, reason)
    for name, kind in _REQUIRED.items():
        if not isinstance(record.get(name), kind):
            raise _damaged(path, f"has no {name}")
    evidence = record["evidence"]
    if not {"because", "reached"} <= set(evidence) or (
        evidence["reached"] and not _is_point(evidence.get("nearest"))
    ):
        raise _damaged(path, "its evidence is not whole")
    if type(record["metrics"].get("steps")) is not int:
        raise _damaged(path, "its metrics are not whole")
    for name in ("metrics", "theory"):
        if not _are_figures(record.get(name, {})):
            raise _damaged(path, f"its {name} are no numbers")
    if not all(_is_text(record.get(name, "")) for name in ("outcome", "identity", "dtype")):
        raise _damaged(path, "its outcome, identity or dtype is no text")
    if not (_is_text(evidence["because"]) and _is_number(record.get("minimum"))):
        raise _damaged(path, "its reason is no text, or its minimum no number")
    return record


def _is_point(nearest: Any) -> bool:
    point = nearest.get("point") if isinstance(nearest, dict) else None
    return isinstance(point, list) and all(x is not None and _is_number(x) for x in point)


def _is_number(value: Any) -> bool:
    """Whether a value is null, or a number that a column of a table can hold."""
    if isinstance(value, int):
        return abs(value) < 2**63
    return value is None or (isinstance(value, float) and math.isfinite(value))


def _are_figures(values: Any) -> bool:
    """Whether a value is a mapping of numbers by name, or by name and tolerance."""
    if not isinstance(values, dict):
        return False
    for name, value in values.items():
        by_tolerance = value.items() if isinstance(value, dict) else ((1, value),)
        if not name.isidentifier():
            return False
        for tolerance, number in by_tolerance:
            if not _is_number(number) or not _is_tolerance(tolerance):
                return False
    return True


def _is_tolerance(text: Any) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _damaged(path: Path, why: object) -> UserError:
    reason = str(why).splitlines()[0] if str(why) else type(why).__name__
    return UserError("", path, f"{path}: is damaged ({reason})")


def read_run(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads the trace and the record of a complete run.

    Raises:
        UserError: if one of them is missing or damaged.
    """
    if not ((folder / _TRACE).exists() and is_whole(folder)):
        reason = read_failure(folder)
        told = "holds no whole run" if reason is None else f"the job failed: {reason}"
        raise UserError("", folder, f"{folder}: {told}")
    return _read_trace(folder / _TRACE), read_record(folder)


def _read_trace(path: Path) -> dict[str, np.ndarray]:
    """Reads the arrays of a trace, none of which may be compressed or pickled.

    Without compression they take no more memory than the file has bytes.

    Raises:
        UserError: if it is damaged.
    """
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("it is not a plain file")
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            stored = all(part.compress_type == zipfile.ZIP_STORED for part in parts)
            if not stored or sum(part.file_size for part in parts) > about.st_size:
                raise ValueError("its arrays are larger than the file")
            for part in parts:
                with archive.open(part) as file:
                    _check_header(file, part.file_size)
        with np.load(path, allow_pickle=False) as file:
            trace = {name: file[name] for name in file.files}
    except (*_UNREADABLE, OSError) as error:
        if machine_failure(error) is not None:
            raise
        raise _damaged(path, error) from None
    step = trace.get("step")
    if step is None or step.ndim != 1 or step.dtype.kind not in "iu" or not len(step):
        raise _damaged(path, "it has no steps")
    if (np.diff(step) <= 0).any():
        raise _damaged(path, "its steps do not ascend")
    for name, array in trace.items():
        if array.ndim != (2 if name == "point" else 1) or len(array) != len(step):
            raise _damaged(path, f"{name} is of shape {array.shape}")
        if array.dtype not in _ARRAYS:
            raise _damaged(path, f"{name} is of {array.dtype}")
    if "point" in trace and not (trace["point"].shape[1] and "loss" in trace):
        raise _damaged(path, "its points are none, or have no losses")
    return trace


_ARRAYS = (np.dtype("float64"), np.dtype("float32"), np.dtype("int64"))

_UNREADABLE = (ValueError, EOFError, KeyError, RuntimeError, SyntaxError, zipfile.BadZipFile)
"""The exceptions that reading a file raises if it is not a trace."""


def _check_header(file: IO[bytes], size: int) -> None:
    """Checks the header of an array in a trace.

    Args:
        file: the array's file.
        size: its size in bytes.

    Raises:
        ValueError: if the array holds anything but numbers and booleans, or its size is not what
            the header says.
    """
    version = np.lib.format.read_magic(file)
    read: Any = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"an array of format {version}")
    shape, _, dtype = read(file)
    if dtype.hasobject or dtype.kind not in "biuf":
        raise ValueError(f"an array of {dtype}")
    if math.prod(shape) * dtype.itemsize != size - file.tell():
        raise ValueError(f"an array says to be of shape {shape}")


def is_sound(folder: Path) -> bool:
    """Whether the folder holds a run that can be read, and whose trace matches its digest."""
    try:
        trace, record = read_run(folder)
        return bool(digest(trace) == record["digest"])
    except UserError:
        return False


def digest(trace: Mapping[str, np.ndarray]) -> str:
    """Returns the SHA-256 of the arrays' names, types, shapes and bytes, ordered by name."""
    state = hashlib.sha256()
    for name in sorted(trace):
        array = np.ascontiguousarray(trace[name])
        state.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        state.update(array.tobytes())
    return state.hexdigest()


def identity(settings: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of what decides a run's numbers.

    Runs with the same identity must have the same numbers.
    """
    text = json.dumps(as_json(settings), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def as_json(value: Any) -> Any:
    """Returns the value as strict JSON can hold it: numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
