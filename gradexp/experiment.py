"""One run's setting: from a composed config to components, or to the mistake in it."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import isfunction
from typing import Annotated, Any, Literal

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from torch import Tensor

from gradexp.engine import Batched, Record, Reference, Stop, choose_device
from gradexp.initializations import Initialization, starts
from gradexp.mistakes import Mistake, nearest
from gradexp.noises import Noise
from gradexp.numbers import AtLeast, Component, Count
from gradexp.optimizers import External, Optimizer
from gradexp.schedules import Schedule
from gradexp.surfaces import Surface, from_function
from gradexp.trust import construct


@dataclass(frozen=True)
class Log(Component):
    """What is written for a person to look at.

    Args:
        tensorboard: the event file.
        trajectory: the figure over the contours: ``always``, ``never``, or ``auto``: always but
            for the jobs of a sweep after the sixteenth.
    """

    tensorboard: bool = True
    trajectory: Literal["auto", "always", "never"] = "auto"


@dataclass(frozen=True)
class Experiment(Component):
    """One run's setting: the config, as components."""

    surface: Surface
    init: Initialization
    optimizer: Optimizer | External
    schedule: Schedule
    noise: Noise
    engine: Batched | Reference
    record: Record
    stop: Stop
    log: Log
    steps: Count
    seed: Annotated[int, AtLeast(0)]
    dtype: Literal["float64", "float32"]
    device: str


_KINDS: dict[str, Any] = {
    "surface": Surface,
    "init": Initialization,
    "optimizer": Optimizer | External,
    "schedule": Schedule,
    "noise": Noise,
    "engine": Batched | Reference,
    "record": Record,
    "stop": Stop,
    "log": Log,
}
"""The config groups, and what their choices make."""


def settings_of(config: DictConfig) -> dict[str, Any]:
    """The composed config as plain values, interpolations resolved.

    Raises:
        Mistake: a value is missing, or an interpolation leads nowhere.
    """
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        missing = isinstance(error, MissingMandatoryValue)
        reason = "needs a value" if missing else str(error).splitlines()[0]
        raise Mistake(str(error.full_key or ""), "", reason) from None
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


def build(config: DictConfig) -> Experiment:
    """The run that a composed config describes.

    Raises:
        Mistake: something in the config is not allowed, or does not fit together.
    """
    settings = settings_of(config)
    known = [*_KINDS, "steps", "seed", "dtype", "device"]
    for name, value in settings.items():
        if name not in known:
            raise Mistake(name, value, f"no such key; {nearest(name, known)}")
    for name in known:
        if name not in settings:
            raise Mistake(name, "", "needs a value")
    parts = {name: construct(name, settings[name], _make) for name in known}
    for name, kind in _KINDS.items():
        if not isinstance(parts[name], kind):
            raise Mistake(name, settings[name], f"does not make what belongs to the group {name}")
    experiment = Experiment(**parts)
    choose_device(experiment.device)  # a device that is not there is a mistake, too
    try:
        start = starts(experiment.init, experiment.surface, batch=1)
    except Mistake as mistake:
        raise mistake.under("init") from None
    _check_value(experiment.surface, start)
    if isinstance(experiment.optimizer, External) and isinstance(experiment.engine, Batched):
        name = experiment.optimizer.factory.__name__
        reason = "has no batched rule; engine=reference runs it, one run at a time"
        raise Mistake("optimizer._target_", name, reason)
    return experiment


def _check_value(surface: Surface, start: Tensor) -> None:
    """Evaluates the surface once: one of a person's own may not work.

    Raises:
        Mistake: it raised an exception, or gave something else than a value for each run.
    """
    name = type(surface).__name__
    try:
        value = surface.value(start)
    except Exception as error:
        raise Mistake("surface", name, f"its value at the start failed: {error!r}") from error
    if not isinstance(value, Tensor) or value.shape != start.shape[1:]:
        shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        reason = f"its value must be a tensor of shape {list(start.shape[1:])}, not {shape}"
        raise Mistake("surface", name, reason)


def _make(key: str, found: Any, settings: dict[str, Any]) -> Any:
    """The object of a config node, from what its target names and its settings."""
    try:
        if isfunction(found):
            return from_function(found).from_settings(settings)
        if isinstance(found, type) and issubclass(found, Component):
            return found.from_settings(settings)
        if isinstance(found, type) and issubclass(found, torch.optim.Optimizer):
            return External(factory=found, options=tuple(settings.items()))
    except Mistake as mistake:
        raise mistake.under(key) from None
    raise Mistake(f"{key}._target_", found, "is not a component, an optimizer or a function")
