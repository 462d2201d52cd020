"""Builds the components of a run from a composed config, and checks that they fit together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from inspect import isfunction
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from torch import Tensor

from gradexp.config.gate.components import construct
from gradexp.config.gate.environment import guarded_environment
from gradexp.engine import DTYPES, check_fit, check_precision, choose_device
from gradexp.errors import UserError, nearest
from gradexp.experiment import GROUPS, Experiment, Sweep
from gradexp.files.yaml import read_config
from gradexp.initializations import starts
from gradexp.numbers import Component, in_lanes, padded
from gradexp.optimizers import External
from gradexp.surfaces import Surface, from_function, value_and_gradient


def settings_of(config: DictConfig) -> dict[str, Any]:
    """Returns the composed config as plain values, with interpolations resolved.

    Raises:
        UserError: if a value is missing, or an interpolation cannot be resolved.
    """
    try:
        with guarded_environment():
            plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        missing = isinstance(error, MissingMandatoryValue)
        reason = "needs a value" if missing else str(error).splitlines()[0]
        raise UserError(str(error.full_key or ""), "", reason) from None
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


def recorded(folder: Path) -> Experiment:
    """Builds the experiment from the config in a run's folder.

    Raises:
        UserError: if it cannot be built here: the config is missing or damaged, or names a
            user-defined component that is missing or not allowed.
    """
    path = folder / ".hydra" / "config.yaml"
    if not path.exists():
        raise UserError("", folder, f"{folder}: its config is not there")
    config = read_config(path)
    if not isinstance(config, DictConfig):
        raise UserError("", folder, f"{path}: is damaged (it is not a mapping)")
    return build(settings_of(config))


def build(settings: dict[str, Any]) -> Experiment:
    """Builds the experiment that a composed config describes.

    Args:
        settings: the config as plain values.

    Raises:
        UserError: if something in the config is not allowed, or its parts do not fit together.
    """
    return Builder().build(settings)


class Builder:
    """Builds the experiments of many configs.

    What several configs have in common is built and checked once. This takes 0.3 ms per run
    instead of 3 ms.
    """

    def __init__(self) -> None:
        self._parts: dict[str, Any] = {}
        self._checked: set[tuple[str, ...]] = set()

    def build(self, settings: dict[str, Any]) -> Experiment:
        """Builds one experiment: see the function `build`."""
        known = [field.name for field in fields(Experiment)]
        for name, value in settings.items():
            if name not in known:
                raise UserError(name, value, f"no such key; {nearest(name, known)}")
        for name in known:
            if name not in settings:
                raise UserError(name, "", "needs a value")
        texts = {name: f"{name}={settings[name]!r}" for name in known}
        parts = {name: self._part(name, settings[name], texts[name]) for name in known}
        experiment = Experiment(**parts)
        choose_device(experiment.device)  # raises if there is no such device
        for name in GROUPS:
            part = getattr(experiment, name)
            precise = partial(check_precision, name, part, DTYPES[experiment.dtype])
            self._once(precise, texts[name], experiment.dtype)
        startable = partial(_check_start, experiment)
        self._once(startable, texts["surface"], texts["init"], experiment.dtype)
        self._once(partial(_check_engine, experiment), texts["engine"], texts["optimizer"])
        parts_that_fit = ("surface", "optimizer", "schedule", "steps")
        fits = partial(check_fit, *(getattr(experiment, name) for name in parts_that_fit))
        self._once(fits, *(texts[name] for name in parts_that_fit))
        if experiment.log.trajectory == "always" and experiment.record.what != "trace":
            raise UserError(
                "log.trajectory", "always", "needs record=trace, for it draws the points"
            )
        return experiment

    def _part(self, name: str, node: Any, text: str) -> Any:
        """Returns what one key of the config describes; it is built only once.

        Args:
            name: the key.
            node: its value.
            text: the key and the value as a string. It identifies the part, because 1 and 1.0 are
                equal but not the same in a config.

        Raises:
            UserError: if the value is not allowed, or does not belong to the key.
        """
        if text not in self._parts:
            part = construct(name, node, _make)
            if name == "sweep":
                if not isinstance(part, dict):
                    raise UserError(name, node, "must be a mapping")
                part = _make(name, Sweep, part)
            if not isinstance(part, GROUPS.get(name, object)):
                raise UserError(name, node, f"does not make what belongs to the group {name}")
            self._parts[text] = part
        return self._parts[text]

    def _once(self, check: Callable[[], None], *texts: str) -> None:
        """Runs a check, unless it has passed before with the same texts.

        Args:
            check: raises if something is wrong.
            *texts: what the result of the check depends on.
        """
        if texts not in self._checked:
            check()
            self._checked.add(texts)


def _check_start(experiment: Experiment) -> None:
    """Checks that the initialization gives a start on the surface, and the surface a value there.

    Raises:
        UserError: if it does not.
    """
    try:
        start = starts(experiment.init, experiment.surface, batch=1)
    except UserError as mistake:
        raise mistake.under("init") from None
    _check_value(experiment.surface, start.to(DTYPES[experiment.dtype]))


def _check_engine(experiment: Experiment) -> None:
    """Checks that the engine can run the optimizer.

    Raises:
        UserError: if it cannot.
    """
    try:
        experiment.engine.check(experiment.optimizer)
    except UserError as mistake:
        raise mistake.under("optimizer") from None


def _check_value(surface: Surface, start: Tensor) -> None:
    """Evaluates the surface as the engine does, because a user-defined one may not work.

    Raises:
        UserError: if the surface raised an exception, or did not return one value for each run.
    """
    name, point = type(surface).__name__, padded(start)
    lanes = in_lanes(surface, start.shape[1], start.dtype, start.device)
    try:
        value = lanes.value(point)
        if isinstance(value, Tensor) and value.shape == point.shape[1:]:
            value_and_gradient(lanes, point)
    except Exception as error:
        reason = f"its value or gradient at the start failed: {error!r}"
        raise UserError("surface", name, reason) from error
    if not isinstance(value, Tensor) or value.shape != point.shape[1:]:
        given = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        reason = f"its value must be a tensor of the coordinates' shape, {tuple(point.shape[1:])}"
        raise UserError("surface", name, f"{reason}, not {given}")


def _make(key: str, found: Any, settings: dict[str, Any]) -> Any:
    """Makes the object that a config node describes.

    Args:
        key: the node's path in the config.
        found: the class or function that its target names.
        settings: its other values.

    Raises:
        UserError: if the settings do not fit, or the class is of no suitable kind.
    """
    try:
        if isfunction(found):
            return from_function(found).from_settings(settings)
        if isinstance(found, type) and issubclass(found, Component):
            parameters = vars(found).get("__dataclass_params__")
            if parameters is None or not parameters.frozen:
                raise UserError(
                    "_target_", found.__name__, "must be decorated @dataclass(frozen=True)"
                )
            return found.from_settings(settings)
        if isinstance(found, type) and issubclass(found, torch.optim.Optimizer):
            return External(factory=found, options=tuple(settings.items()))
    except UserError as mistake:
        raise mistake.under(key) from None
    raise UserError(f"{key}._target_", found, "is not a component, an optimizer or a function")
