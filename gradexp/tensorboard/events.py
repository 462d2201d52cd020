"""One TensorBoard run: scalars, the trajectory's image, hyperparameters, in one event file."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata, plugin_data_pb2
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.summary_v2 import hparams_pb

from gradexp.tensorboard.records import record, scalar_records

Setting = bool | int | float | str

_HYPERPARAMETERS = ("surface", "init", "optimizer", "schedule", "noise", "engine")
_PLAIN = ("steps", "seed", "dtype")

_POINTS = 1000
"""TensorBoard keeps at most so many points of a scalar, and drops the rest unseen."""


def write_events(
    folder: Path,
    *,
    started: float,
    settings: Mapping[str, Setting],
    step: np.ndarray,
    scalars: Mapping[str, np.ndarray],
    images: Mapping[str, bytes],
) -> Path:
    """Writes a run's event file.

    Through ``SummaryWriter`` a point costs about 35 µs, most of it overhead, and hyperparameters
    would make a second run.

    Args:
        folder: where to.
        started: when the run began, in seconds since 1970.
        settings: its hyperparameters.
        step: ``(R,)``, ascending.
        scalars: by tag, ``(R,)``; values that are not finite in float32 are left out.
        images: by tag, PNG files.

    Returns:
        The file.
    """
    now = time.time()
    path = folder / f"events.out.tfevents.{int(started):010d}.{socket.gethostname()}.{os.getpid()}"
    with path.open("wb") as file:

        def write(event: Event) -> None:
            file.write(record(event))

        write(Event(wall_time=started, file_version="brain.Event:2"))
        trial = f"{folder.parent.name}/{folder.name}"
        session = hparams_pb(dict(settings), trial_id=trial, start_time_secs=started)
        write(Event(wall_time=started, summary=session))
        times = np.linspace(started, now, len(step))  # when each step was made is not recorded
        rows = _rows(len(step))
        kept = {tag: column[rows] for tag, column in scalars.items()}
        file.write(scalar_records(times[rows], step[rows], kept))
        for tag, png in images.items():
            value = Summary.Value(tag=tag, image=_image(png))
            last = int(step[-1]) if len(step) else 0
            write(Event(wall_time=now, step=last, summary=Summary(value=[value])))
        write(Event(wall_time=now, summary=_session_end(now)))
    return path


def hyperparameters(settings: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Setting]:
    """What is listed of a run: the names chosen, and plain values by their config path.

    Args:
        settings: the composed config as plain values.
        labels: what was chosen in each config group.
    """
    found: dict[str, Setting] = {}

    def flatten(path: str, node: Any) -> None:
        if isinstance(node, dict):
            for name, value in node.items():
                if name != "_target_":
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


def _rows(count: int) -> np.ndarray:
    """At most `_POINTS` rows out of `count`, evenly spaced, the first and the last among them."""
    return np.linspace(0, count - 1, min(count, _POINTS)).round().astype(np.int64)


def _image(png: bytes) -> Summary.Image:
    """A PNG file as TensorBoard wants it; width and height stand in its header."""
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    return Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)


def _session_end(now: float) -> Summary:
    """The end of the session that the hyperparameters opened.

    TensorBoard's own function for it is in a module that imports TensorFlow.
    """
    end = plugin_data_pb2.SessionEndInfo(status=Status.Value("STATUS_SUCCESS"), end_time_secs=now)
    data = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    value = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG, metadata=metadata.create_summary_metadata(data)
    )
    value.tensor.CopyFrom(metadata.NULL_TENSOR)
    return Summary(value=[value])
