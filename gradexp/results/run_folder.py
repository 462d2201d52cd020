"""A run's folder: its trace and its record, whole or recognizably not.

``trace.npz`` holds the arrays, ``run.json`` what they come to. ``run.json`` is written last, by
rename: a folder that has it is whole, however the program ended.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gradexp.mistakes import Mistake

EVENTS = "events.out.tfevents."
"""How the names of TensorBoard's files begin."""

_RECORD = "run.json"
_TRACE = "trace.npz"
_FAILURE = "failure.json"


def is_whole(folder: Path) -> bool:
    """Whether the folder holds a run that was written to its end."""
    return os.path.exists(f"{folder}/{_RECORD}")  # a sweep looks at thousands twice a second


def write_run(folder: Path, trace: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> None:
    """Writes the trace, then the record with the trace's digest.

    Args:
        folder: exists, and holds everything else of the run already.
        trace: arrays by name.
        record: plain values; numbers that are not finite become null.
    """
    with _whole(folder / _TRACE) as file:
        np.savez(file, allow_pickle=False, **trace)
    text = json.dumps(_plain({**record, "digest": digest(trace)}), indent=2, allow_nan=False)
    with _whole(folder / _RECORD) as file:
        file.write(f"{text}\n".encode())


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """A file that comes to its name when it is complete, and on the disk."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def write_failure(folder: Path, reason: str) -> None:
    """Writes why a job of a sweep could not be run, in one line."""
    with _whole(folder / _FAILURE) as file:
        file.write(f"{json.dumps({'reason': reason})}\n".encode())


def read_failure(folder: Path) -> str | None:
    """Why a job of a sweep could not be run; None where it could, or has not ended."""
    path = f"{folder}/{_FAILURE}"
    if not os.path.exists(path):
        return None
    return str(json.loads(Path(path).read_text())["reason"])


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a whole run folder."""
    record: dict[str, Any] = json.loads((folder / _RECORD).read_text())
    return record


def read_run(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The trace and the record of a whole run folder.

    Raises:
        Mistake: something of it is gone.
    """
    if not ((folder / _TRACE).exists() and is_whole(folder)):
        reason = read_failure(folder)
        told = "holds no whole run" if reason is None else f"the job failed: {reason}"
        raise Mistake("", folder, f"{folder}: {told}")
    with np.load(folder / _TRACE) as file:
        trace = {name: file[name] for name in file.files}
    return trace, read_record(folder)


def digest(trace: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over the names, types, shapes and bytes of the arrays, in order of their names."""
    state = hashlib.sha256()
    for name in sorted(trace):
        array = np.ascontiguousarray(trace[name])
        state.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        state.update(array.tobytes())
    return state.hexdigest()


def identity(settings: Mapping[str, Any]) -> str:
    """SHA-256 of what decides a run's numbers: equal for runs that must come out equal."""
    text = json.dumps(_plain(settings), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """The value as strict JSON can hold it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
