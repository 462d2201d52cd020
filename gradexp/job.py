"""One job: makes the run of a composed config and writes its folder."""

from __future__ import annotations

import logging
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from gradexp.analysis import coordinates, distance_to_minimizer, judge, metrics
from gradexp.engine import End, Record, choose_device, optimize
from gradexp.experiment import Experiment, build, settings_of
from gradexp.initializations import starts
from gradexp.progress import StepProgress
from gradexp.results import identity, write_run

log = logging.getLogger(__name__)

_FIGURES = 16
"""So many jobs of a sweep get a figure of their own unless told otherwise: one costs 0.2 s."""

_HYPERPARAMETERS = ("surface", "init", "optimizer", "schedule", "noise", "engine")


@dataclass(frozen=True)
class Result:
    """What a job came to, as far as it is shown in the terminal."""

    outcome: str
    because: str
    place: str
    """The declared stationary point that the run came to rest at, or nothing."""
    metrics: dict[str, Any]
    device: str
    folder: Path


def perform(
    config: DictConfig, choices: dict[str, str], folder: Path, number: int | None
) -> Result:
    """Makes the run of a config and writes its folder.

    Args:
        config: composed.
        choices: the name chosen in each config group.
        folder: exists.
        number: the job's number in a sweep, or None.

    Raises:
        Mistake: something in the config is not allowed; nothing was written.
    """
    started, clock = time.time(), time.perf_counter()
    experiment, settings = build(config), settings_of(config)
    device = choose_device(experiment.device)
    if experiment.device == "auto" and number is None:
        log.info(f"device: {device.type}" + ("" if device.type == "cuda" else " (no CUDA found)"))

    record = experiment.record
    with StepProgress(experiment.steps) as progress:
        trace = optimize(
            experiment.surface,
            starts(experiment.init, experiment.surface, batch=1),
            experiment.optimizer,
            steps=experiment.steps,
            schedule=experiment.schedule,
            noise=experiment.noise,
            stop=experiment.stop,
            record=record,
            dtype=experiment.dtype,
            device=device.type if device.index is None else str(device),
            engine=experiment.engine,
            progress=progress.advance,
        )
    end, steps = End(int(trace.end[0])), int(trace.steps[0])
    outcome = judge(experiment.surface, trace.final_point[:, 0], end, steps, experiment.stop)
    figures = metrics(experiment.surface, trace, 0, _tolerances(record))
    run = trace.run(0)
    arrays = {name: part.numpy() for name, part in run._asdict().items() if part is not None}

    images = {}
    if _wants_figure(experiment, number) and run.point is not None:
        from gradexp.plots import draw_trajectory, png

        name = choices.get("surface", experiment.surface.name())
        title = f"{name}: {outcome.word} after {steps} steps"
        images["trajectory"] = png(draw_trajectory(experiment.surface, **arrays, title=title))
        (folder / "trajectory.png").write_bytes(images["trajectory"])
    if experiment.log.tensorboard:
        from gradexp.tensorboard import write_events

        write_events(
            folder,
            started=started,
            settings=hyperparameters(settings, choices),
            step=arrays["step"],
            scalars=_scalars(experiment, arrays),
            images=images,
        )
    decisive = {name: value for name, value in settings.items() if name not in ("log", "device")}
    write_run(
        folder,
        arrays,
        {
            "outcome": outcome.word,
            "evidence": {"because": outcome.because, **outcome.evidence},
            "metrics": figures,
            "identity": identity({**decisive, "device": device.type}),
            "engine": type(experiment.engine).__name__.lower(),
            "device": device.type,
            "dtype": experiment.dtype,
            "versions": _versions(),
            "seconds": round(time.perf_counter() - clock, 4),
        },
    )
    place = coordinates(outcome.evidence["nearest"]["point"]) if outcome.evidence["reached"] else ""
    return Result(outcome.word, outcome.because, place, figures, device.type, folder)


def hyperparameters(
    settings: dict[str, Any], choices: dict[str, str]
) -> dict[str, bool | int | float | str]:
    """What TensorBoard lists of a run: names chosen and plain values by config path."""
    found: dict[str, bool | int | float | str] = {}

    def flatten(path: str, node: Any) -> None:
        if isinstance(node, dict):
            for name, value in node.items():
                if name != "_target_":
                    flatten(f"{path}.{name}", value)
        elif isinstance(node, list):
            found[path] = str(node)
        elif node is not None:
            found[path] = node

    for name in (*_HYPERPARAMETERS, "steps", "seed", "dtype"):
        if name in choices:
            found[name] = choices[name]
        flatten(name, settings[name])
    return found


def _tolerances(record: Record) -> tuple[float, ...]:
    return tuple(float(tolerance) for tolerance in record.tolerances)


def _wants_figure(experiment: Experiment, number: int | None) -> bool:
    wish = experiment.log.trajectory
    return wish == "always" or (wish == "auto" and (number is None or number < _FIGURES))


def _scalars(experiment: Experiment, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The curves that TensorBoard shows, by tag; what was not recorded is left out."""
    scalars: dict[str, np.ndarray] = {
        name: arrays[name] for name in ("loss", "gradient_norm") if name in arrays
    }
    minimum = experiment.surface.minimum
    if minimum is not None and "loss" in arrays:
        scalars["loss_gap"] = arrays["loss"] - float(minimum)
    if "point" in arrays:
        points = torch.as_tensor(arrays["point"]).double()
        distance = distance_to_minimizer(experiment.surface, points)
        if distance is not None:
            scalars["distance"] = distance.numpy()
    lr = [
        float(experiment.schedule.learning_rate(experiment.optimizer.lr, step))
        for step in arrays["step"].tolist()
    ]
    return {**scalars, "learning_rate": np.array(lr)}


def _versions() -> dict[str, str]:
    names = ("gradexp", "torch", "numpy", "hydra-core")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
