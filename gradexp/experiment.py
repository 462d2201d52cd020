"""The experiment that describes one run: its config as components, and what identifies it."""

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
    """Which logs and figures of a run are written.

    Args:
        tensorboard: whether to write a TensorBoard event file.
        trajectory: when to draw the trajectory over the contours of the surface: ``always``,
            ``never``, or ``auto``, which means unless the run is part of a sweep of more than 16
            jobs.
    """

    tensorboard: bool = True
    trajectory: Literal["auto", "always", "never"] = "auto"


@dataclass(frozen=True)
class Sweep(Component):
    """Settings of a sweep.

    Args:
        fail_fast: whether to stop at the first job that fails.
        summary: whether to write a TensorBoard run that summarizes the sweep, if its jobs log to
            TensorBoard.
    """

    fail_fast: bool = False
    summary: bool = True


@dataclass(frozen=True)
class Experiment(Component):
    """All settings of one run: its config as components."""

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
        """Returns the label of the component chosen in each config group, made from its class."""
        parts = {group: getattr(self, group) for group in GROUPS}
        return {
            group: snake_case(part.factory.__name__) if isinstance(part, External) else part.label()
            for group, part in parts.items()
        }

    def in_words(self) -> str:
        """Describes the run in one line, for the title of a figure."""
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
        """Returns the settings that determine the run's numbers, as plain values.

        The engine and the device are left out, as are the settings of logs, recording and sweeps,
        which do not affect the numbers. So is the seed, because the components that use it already
        contain it.
        """
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
"""the config groups and the types of their components"""


def plain_values(value: Any) -> Any:
    """Converts settings to plain values, with each component as a mapping that names its class.

    The values come from the components and not from the config, in which the same number may be
    written as 0 or as 0.0.
    """
    if isinstance(value, Component):
        inside = {field.name: plain_values(getattr(value, field.name)) for field in fields(value)}
        return {"_target_": _name_of(type(value)), **inside}
    if isinstance(value, tuple | list):
        return [plain_values(item) for item in value]
    if isinstance(value, type):
        return _name_of(value)
    return value


def _name_of(kind: type) -> str:
    """Returns the name of a class that identifies it in a run's settings.

    For a class of gradexp or ``torch.optim``, the name has the package but not the module. For a
    user-defined class, it also has a digest of the module's source, which may change.
    """
    made_of: Any = kind.function if issubclass(kind, Formula) else kind
    packages, name = made_of.__module__.split("."), made_of.__qualname__
    if packages[0] == "gradexp" or packages[:2] == ["torch", "optim"]:
        return ".".join([*packages[:2], name])
    return f"{made_of.__module__}.{name} {_source_digest(made_of)}"


def _source_digest(made_of: Any) -> str:
    """Returns the SHA-256 of the source of the module that defines a class or a function.

    If that source is not available, the source of the object itself is used, and else its bytecode.
    """
    sources: list[Any] = [inspect.getmodule(made_of), made_of]
    for whole in sources:
        try:
            return hashlib.sha256(inspect.getsource(whole).encode()).hexdigest()
        except (OSError, TypeError):  # for example, if it was defined at a prompt
            continue
    code = getattr(made_of, "__code__", None)
    return hashlib.sha256(
        repr((code and code.co_code, code and code.co_consts)).encode()
    ).hexdigest()
