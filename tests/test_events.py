"""Event files, read by TensorBoard's own reader, which checks their checksums."""

from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

from gradexp.results.tensorboard.records import record, scalar_records


def read(data: bytes, folder: Path) -> list[Event]:
    path = folder / "events.out.tfevents"
    path.write_bytes(data)
    return list(LegacyEventFileLoader(str(path)).Load())


def test_scalars_are_read_as_they_were_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    count = 400
    steps = np.arange(count)
    steps[-4:] = [2**7, 2**14, 2**21, 2**40]
    times = 1.7e9 + np.arange(count) / 7
    sizes = 10.0 ** rng.integers(-30, 30, (3, count))
    names = ("loss", "distance", "λ" * 80)
    scalars = dict(zip(names, rng.normal(size=(3, count)) * sizes, strict=True))
    scalars["loss"][5:9] = np.nan
    scalars["distance"][7] = np.inf
    scalars["distance"][50] = 1e300  # beyond float32
    for column in scalars.values():
        column[60] = np.nan
    found = read(scalar_records(times, steps, scalars), tmp_path)
    assert [event.step for event in found] == steps.tolist()
    assert [event.wall_time for event in found] == times.tolist()
    with np.errstate(over="ignore"):
        single = {name: column.astype(np.float32) for name, column in scalars.items()}
    for row, event in enumerate(found):
        values = {value.tag: value.simple_value for value in event.summary.value}
        kept = {tag: column[row] for tag, column in single.items() if np.isfinite(column[row])}
        assert values == kept


def test_nothing_is_written_of_nothing() -> None:
    nothing = np.zeros(0)
    assert scalar_records(nothing, nothing.astype(np.int64), {"loss": nothing}) == b""


def test_an_event_is_read_as_it_was_written(tmp_path: Path) -> None:
    event = Event(wall_time=12.5, file_version="brain.Event:2")
    assert read(record(event), tmp_path) == [event]
