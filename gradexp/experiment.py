"""What one run is: the config, as components, and what identifies it."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from gradexp.clips import Clip
from gradexp.engine import Batched, Record, Reference, Steps, Stop
from gradexp.initializations import Initialization
from gradexp.noises import Noise
from gradexp.numbers import Component, Whole, snake_case
from gradexp.optimizers import External, Optimizer
from gradexp.schedules import Schedule
from gradexp.surfaces import Surface
from gradexp.surfaces.own import Formula


@dataclass(frozen=True)
class Log(Component):
    """What is written for a person to look at.

    Args:
        tensorboard: the event file.
        trajectory: the figure over the contours: ``always``, ``never``, or ``auto``: always but
            in a sweep of more than sixteen jobs.
    """

    tensorboard: bool = True
    trajectory: Literal["auto", "always", "never"] = "auto"


@dataclass(frozen=True)
class Sweep(Component):
    """How a sweep goes.

    Args:
        fail_fast: whether it stops at the first job that fails.
        summary: whether a TensorBoard run sums it up, where its jobs have one.
    """

    fail_fast: bool = False
    summary: bool = True


@dataclass(frozen=True)
class Experiment(Component):
    """One run's setting: the config, as components."""

    surface: Surface
    init: Initialization
    optimizer: Optimizer | External
    schedule: Schedule
    noise: Noise
    clip: Clip
    engine: Batched | Reference
    record: Record
    stop: Stop
    log: Log
    steps: Steps
    seed: Annotated[int, Whole(0)]
    dtype: Literal["float64", "float32"]
    device: str
    sweep: Sweep

    def labels(self) -> dict[str, str]:
        """What was chosen in each config group, by the name of its class."""
        parts = {group: getattr(self, group) for group in GROUPS}
        return {
            group: snake_case(part.factory.__name__) if isinstance(part, External) else part.label()
            for group, part in parts.items()
        }

    def in_words(self) -> str:
        """What is run, as far as a figure's title says it."""
        labels = self.labels()
        numbers = self.optimizer.hyperparameters()
        told = [
            f"{name} {float(numbers[name]):g}" for name in ("lr", "momentum") if numbers.get(name)
        ]
        words = [labels["surface"].replace("_", " "), " ".join([labels["optimizer"], *told])]
        plain = {"schedule": "constant", "noise": "noiseless", "clip": "unclipped"}
        words += [
            labels[group].replace("_", " ")
            for group, usual in plain.items()
            if labels[group] != usual
        ]
        return ", ".join(words)

    def decisive(self) -> dict[str, Any]:
        """What decides the run's numbers but for the engine and the device that made them: classes
        and their fields, as plain values. What is recorded, and how, does not; nor does the seed,
        but through the components that it has reached."""
        chosen = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: plain_values(part)
            for name, part in chosen.items()
            if name not in ("log", "record", "engine", "device", "seed", "sweep")
        }


GROUPS: dict[str, Any] = {
    "surface": Surface,
    "init": Initialization,
    "optimizer": Optimizer | External,
    "schedule": Schedule,
    "noise": Noise,
    "clip": Clip,
    "engine": Batched | Reference,
    "record": Record,
    "stop": Stop,
    "log": Log,
}
"""The config groups, and what their choices make."""


def plain_values(value: Any) -> Any:
    """What decides a run's numbers, as plain values: components as mappings with their class, so
    that 0 and 0.0 in a config are the same."""
    if isinstance(value, Component):
        inside = {field.name: plain_values(getattr(value, field.name)) for field in fields(value)}
        return {"_target_": _name_of(type(value)), **inside}
    if isinstance(value, tuple | list):
        return [plain_values(item) for item in value]
    if isinstance(value, type):
        return _name_of(value)
    return value


def _name_of(kind: type) -> str:
    """A class as an identity has it: gradexp's and torch's by the package that they are of, in
    whatever module; a person's own with a digest of their module's source, which may change."""
    made_of: Any = kind.function if issubclass(kind, Formula) else kind
    packages, name = made_of.__module__.split("."), made_of.__qualname__
    if packages[0] == "gradexp" or packages[:2] == ["torch", "optim"]:
        return ".".join([*packages[:2], name])
    return f"{made_of.__module__}.{name} {_source_digest(made_of)}"


def _source_digest(made_of: Any) -> str:
    """SHA-256 of the source that a class or a function stands in."""
    sources: list[Any] = [inspect.getmodule(made_of), made_of]
    for whole in sources:
        try:
            return hashlib.sha256(inspect.getsource(whole).encode()).hexdigest()
        except (OSError, TypeError):  # typed at a prompt, say
            continue
    code = getattr(made_of, "__code__", None)
    return hashlib.sha256(
        repr((code and code.co_code, code and code.co_consts)).encode()
    ).hexdigest()
