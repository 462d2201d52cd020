"""Writes events as the records of an event file, the scalars of many steps at a time.

Made one by one, events take 4 µs per point, even if several points share an event. The events of a
run differ only in numbers, which are at the same positions in each. So they are made together, as a
table of bytes with a row for each event.
"""

from __future__ import annotations

from collections.abc import Mapping

import google_crc32c
import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary


def record(event: Event) -> bytes:
    """Returns an event as a record of an event file."""
    return _framed(np.frombuffer(event.SerializeToString(), np.uint8)[None])


def scalar_records(
    times: np.ndarray, steps: np.ndarray, scalars: Mapping[str, np.ndarray]
) -> bytes:
    """Returns the records of one event for each step, with the scalars that are finite there.

    Args:
        times: ``(N,)``, seconds since 1970.
        steps: ``(N,)``, int64, not negative.
        scalars: ``(N,)`` by tag; TensorBoard keeps them in float32.
    """
    with np.errstate(over="ignore"):
        values = np.array([column.astype("<f4") for column in scalars.values()])
    finite = np.isfinite(values)
    # Steps whose events have the same length, with numbers at the same positions, go together.
    widths = np.searchsorted(2 ** (7 * np.arange(1, 9)), steps, side="right") + 1
    likes = np.vstack([finite, widths])
    ends = np.flatnonzero((likes[:, 1:] != likes[:, :-1]).any(axis=0)) + 1
    records = []
    for rows in np.split(np.arange(len(steps)), ends) if len(steps) else ():
        present = finite[:, rows[0]]
        tags = [tag for tag, kept in zip(scalars, present, strict=True) if kept]
        events = _events(times[rows], steps[rows], widths[rows[0]], tags, values[present][:, rows])
        records.append(_framed(events))
    return b"".join(records)


def _events(
    times: np.ndarray, steps: np.ndarray, width: int, tags: list[str], values: np.ndarray
) -> np.ndarray:
    """Returns serialized events, one in each row.

    Args:
        times: ``(N,)``, seconds since 1970.
        steps: ``(N,)``, each of which takes `width` bytes as a varint.
        width: at least 1.
        tags: the tags of the scalars.
        values: ``(len(tags), N)``, float32.
    """
    # Protocol buffers write fields in order: time, step, values. A value ends with its number.
    some = Summary(value=[Summary.Value(tag=tag, simple_value=1.0) for tag in tags])
    pattern = Event(wall_time=1.0, step=1 << 7 * (width - 1), summary=some).SerializeToString()
    events = np.tile(np.frombuffer(pattern, np.uint8), (len(steps), 1))
    events[:, 1:9] = times.astype("<f8")[:, None].view(np.uint8)
    for byte in range(width):
        more = 0x80 if byte < width - 1 else 0
        events[:, 10 + byte] = (steps >> 7 * byte) & 0x7F | more
    end = len(pattern)
    for tag, column in zip(reversed(tags), reversed(values), strict=True):
        events[:, end - 4 : end] = column[:, None].view(np.uint8)
        end -= Summary(value=[Summary.Value(tag=tag, simple_value=1.0)]).ByteSize()
    return events


def _framed(events: np.ndarray) -> bytes:
    """Returns events as records: length, checksum of the length, event, checksum of the event."""
    count, length = events.shape
    header = length.to_bytes(8, "little")
    checksum = _masked(np.array([google_crc32c.value(header)], np.uint32)).tobytes()
    whole = events.tobytes()
    sums = [google_crc32c.value(whole[at : at + length]) for at in range(0, len(whole), length)]
    front = np.tile(np.frombuffer(header + checksum, np.uint8), (count, 1))
    back = _masked(np.array(sums, np.uint32))[:, None].view(np.uint8)
    return np.hstack([front, events, back]).tobytes()


def _masked(checksums: np.ndarray) -> np.ndarray:
    """Masks CRC-32C checksums as event files require: rotates them and adds a constant.

    A plain CRC is a poor checksum of data that itself contains CRCs.
    """
    turned = (checksums >> np.uint32(15)) | (checksums << np.uint32(17))
    return (turned + np.uint32(0xA282EAD8)).astype("<u4")
