"""Repeats a run from its folder, and reports what is different."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gradexp.analysis.metric import flatten
from gradexp.config.build import recorded
from gradexp.engine import Batched
from gradexp.errors import UserError
from gradexp.experiment import Experiment
from gradexp.jobs.batches import Computed, compute
from gradexp.jobs.job import versions
from gradexp.results import as_json, is_whole, read_run

FORMAT_OF_STOPS = 3
"""The first format of ``run.json`` that was written with the present stop rules."""


class Replayed(NamedTuple):
    """The result of repeating a run."""

    identical: bool
    """whether the trace is equal to the last bit, and outcome and metrics are as recorded; these
    are not compared if the record was written with older stop rules"""
    lines: list[str]
    """what to print"""


def replay(folder: Path) -> Replayed:
    """Repeats the run of a folder, with the same kind of engine on the same kind of device.

    Raises:
        UserError: if the folder holds no complete run, or the run cannot be repeated here.
    """
    if not is_whole(folder):
        if (folder / "multirun.yaml").exists():
            raise UserError("", folder, f"{folder}: is a sweep's; name one of its runs")
        raise UserError("", folder, f"{folder}: holds no whole run")
    expected, record = read_run(folder)
    found = compute([_experiment(folder, record)])[0]
    difference = first_difference(expected, found.arrays)
    changed = _since(record, found)
    if difference is None and not changed and (wrong := _misstated(record, found)):
        return Replayed(False, wrong)
    if difference is None:
        return Replayed(True, [f"identical: {record['metrics']['steps']} steps", *changed])
    here = {**versions(), "engine": found.engine, "device": found.device}
    there = {**record["versions"], "engine": record["engine"], "device": record["device"]}
    return Replayed(False, [difference, *_circumstances(here, there), *changed])


def _experiment(folder: Path, record: Mapping[str, Any]) -> Experiment:
    run = recorded(folder)
    if isinstance(run.engine, Batched):
        compiled = record["engine"] == "compiled"
        engine = Batched(compile="always") if compiled else Batched(compile="never")
        run = dataclasses.replace(run, engine=engine)
    if run.device == "auto":
        run = dataclasses.replace(run, device=record["device"])
    return run


def first_difference(
    expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]
) -> str | None:
    """Describes the first step at which two traces differ; None if they are equal.

    Args:
        expected: the recorded trace: arrays ``(R, …)`` by name, including ``step``.
        found: the new trace, likewise.
    """
    if set(expected) != set(found):
        return f"recorded was {', '.join(sorted(expected))}, now {', '.join(sorted(found))}"
    for name in expected:
        was, now = expected[name].shape[1:], found[name].shape[1:]
        if was != now:
            return f"recorded was {name} of shape (steps, {was[0]}), now (steps, {now[0]})"
    rows = min(len(expected["step"]), len(found["step"]))
    first, what = rows, ""
    for name in expected:
        one, other = expected[name][:rows], found[name][:rows]
        same = (one == other) | ((one != one) & (other != other))
        unequal = np.flatnonzero(~same.reshape(rows, -1).all(axis=1))
        if len(unequal) and unequal[0] < first:
            first, what = int(unequal[0]), name
    if what:
        step, was, now = expected["step"][first], expected[what][first], found[what][first]
        return f"differs from step {step} on: {what} was {was.tolist()}, is now {now.tolist()}"
    if len(expected["step"]) != len(found["step"]):
        ends = expected["step"][-1], found["step"][-1]
        return f"differs in its end: it made {ends[0]} steps, now {ends[1]}"
    return None


def _since(record: Mapping[str, Any], found: Computed) -> list[str]:
    """Returns what has changed in the stop rules since the record was written, line by line."""
    if record.get("format", 0) >= FORMAT_OF_STOPS:
        return []
    told = [
        "the stop rules changed since: a run now rests only where its moves vanish, too, and where "
        "it would have stayed"
    ]
    if record["outcome"] != found.outcome.word:
        told.append(f"outcome: was {record['outcome']}, is now {found.outcome.word}")
    return told


def _misstated(record: Mapping[str, Any], found: Computed) -> list[str]:
    """Returns how the recorded outcome and metrics differ from those found, line by line."""
    was = {"outcome": record["outcome"], **dict(flatten(record["metrics"]))}
    now = as_json({"outcome": found.outcome.word, **dict(flatten(found.figures))})
    names = dict.fromkeys([*was, *now])
    return [
        f"differs in {name}: was {was.get(name, 'missing')}, is now {now.get(name, 'missing')}"
        for name in names
        if name not in was or name not in now or was[name] != now[name]
    ]


def _circumstances(here: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """Returns how the versions, the engine and the device differ, line by line."""
    return [
        f"{name}: was {there.get(name, 'unknown')}, is now {here[name]}"
        for name in here
        if here[name] != there.get(name)
    ]
