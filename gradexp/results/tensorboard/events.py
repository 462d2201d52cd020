"""Writes TensorBoard's event files: one for each run, and one that summarizes a sweep."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata, plugin_data_pb2
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.summary_v2 import hparams_pb

from gradexp.results import EVENTS
from gradexp.results.tensorboard.layouts import curve_tags, run_layout, summary_layout
from gradexp.results.tensorboard.records import record, scalar_records

Setting = bool | int | float | str

_HYPERPARAMETERS = ("surface", "init", "optimizer", "schedule", "noise", "clip", "engine")
_PLAIN = ("steps", "seed", "dtype")

_POINTS = 1000
"""The most points of a scalar that TensorBoard keeps; it silently drops the rest."""

_SUMMARY_POINTS = 250
"""The most points of a curve in a sweep's summary, which has many curves."""


class Curve(NamedTuple):
    """The median and the quartiles of a value along the steps."""

    step: np.ndarray
    """``(R,)``, ascending"""
    low: np.ndarray
    """``(R,)``, the first quartile"""
    middle: np.ndarray
    """``(R,)``, the median"""
    high: np.ndarray
    """``(R,)``, the third quartile"""


def write_events(
    folder: Path,
    *,
    started: float,
    settings: Mapping[str, Setting],
    step: np.ndarray,
    scalars: Mapping[str, np.ndarray],
    finals: Mapping[str, float],
    images: Mapping[str, bytes],
) -> Path:
    """Writes a run's event file.

    ``SummaryWriter`` is not used: it takes about 35 µs per point, most of it overhead, and its
    hyperparameters would appear as a second run.

    Args:
        folder: the folder to write to.
        started: when the run began, in seconds since 1970.
        settings: the run's hyperparameters, by name.
        step: ``(R,)``, ascending.
        scalars: the curves, ``(R,)`` by tag; values that are not finite in float32 are left out.
        finals: the values that are known only at the end, by tag.
        images: PNG files by tag.

    Returns:
        The path of the file.
    """
    now = time.time()
    with _event_file(folder, started) as (path, file):
        trial = f"{folder.parent.name}/{folder.name}"
        session = hparams_pb(dict(settings), trial_id=trial, start_time_secs=started)
        file.write(record(Event(wall_time=started, summary=session)))
        file.write(record(Event(wall_time=started, summary=run_layout())))
        file.write(_curves(started, now, step, scalars))
        last = int(step[-1]) if len(step) else 0
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in finals.items()]
        file.write(record(Event(wall_time=now, step=last, summary=Summary(value=values))))
        _write_images(file, now, last, images)
        file.write(record(Event(wall_time=now, summary=_session_end(now))))
    return path


def write_summary(
    folder: Path, *, started: float, curves: Mapping[str, Curve], images: Mapping[str, bytes]
) -> Path:
    """Writes the event file of the TensorBoard run that summarizes a sweep, replacing an older one.

    Args:
        folder: the folder to write to, which is created if it is missing.
        started: when the sweep began, in seconds since 1970.
        curves: a curve for each setting, by the setting's name.
        images: PNG files by tag.

    Returns:
        The path of the file.
    """
    now = time.time()
    folder.mkdir(exist_ok=True)
    with _event_file(folder, started) as (path, file):
        file.write(record(Event(wall_time=started, summary=summary_layout(list(curves)))))
        for name, curve in curves.items():
            parts = (curve.middle, curve.low, curve.high)
            tags = curve_tags(name)
            scalars = dict(zip(tags, parts, strict=True))
            file.write(_curves(started, now, curve.step, scalars, _SUMMARY_POINTS))
        _write_images(file, now, 0, images)
    return path


@contextmanager
def _event_file(folder: Path, started: float) -> Iterator[tuple[Path, BinaryIO]]:
    """Opens a new event file and writes its header; deletes older ones, which may be incomplete."""
    for older in folder.glob(f"{EVENTS}*"):
        older.unlink()
    path = folder / f"{EVENTS}{int(started):010d}.{socket.gethostname()}.{os.getpid()}"
    with path.open("wb") as file:
        file.write(record(Event(wall_time=started, file_version="brain.Event:2")))
        yield path, file


def _curves(
    started: float,
    now: float,
    step: np.ndarray,
    scalars: Mapping[str, np.ndarray],
    points: int = _POINTS,
) -> bytes:
    """Returns the records of scalars along the steps, thinned out to so many points."""
    times = np.linspace(started, now, len(step))  # the real time of each step is not recorded
    rows = _rows(len(step), points)
    kept = {tag: column[rows] for tag, column in scalars.items()}
    return scalar_records(times[rows], step[rows], kept)


def _write_images(file: BinaryIO, now: float, step: int, images: Mapping[str, bytes]) -> None:
    for tag, png in images.items():
        value = Summary.Value(tag=tag, image=_image(png))
        file.write(record(Event(wall_time=now, step=step, summary=Summary(value=[value]))))


def hyperparameters(settings: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Setting]:
    """Returns the hyperparameters that TensorBoard lists for a run.

    These are the choices in the config groups, and plain values by their config path. Seeds of
    components are left out if they are the run's seed.

    Args:
        settings: the composed config as plain values.
        labels: the name of the choice in each config group.
    """
    found: dict[str, Setting] = {}

    def flatten(path: str, node: Any) -> None:
        if isinstance(node, dict):
            for name, value in node.items():
                if name != "_target_" and (name, value) != ("seed", settings["seed"]):
                    flatten(f"{path}.{name}", value)
        elif isinstance(node, list):
            found[path] = str(node)
        elif node is not None:
            found[path] = node

    for name in (*_HYPERPARAMETERS, *_PLAIN):
        if name in labels:
            found[name] = labels[name]
        flatten(name, settings[name])
    return found


def _rows(count: int, points: int) -> np.ndarray:
    """Returns at most `points` of `count` row indices, evenly spaced, including both ends."""
    return np.linspace(0, count - 1, min(count, points)).round().astype(np.int64)


def _image(png: bytes) -> Summary.Image:
    """Returns a PNG file as TensorBoard's image; width and height are read from its header."""
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    return Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)


def _session_end(now: float) -> Summary:
    """Returns the end of the session that the hyperparameters began.

    TensorBoard's own function for this is in a module that imports TensorFlow.
    """
    end = plugin_data_pb2.SessionEndInfo(status=Status.Value("STATUS_SUCCESS"), end_time_secs=now)
    data = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    value = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG, metadata=metadata.create_summary_metadata(data)
    )
    value.tensor.CopyFrom(metadata.NULL_TENSOR)
    return Summary(value=[value])
