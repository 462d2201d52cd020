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
from gradexp.engine import Trace, choose_device, optimize
from gradexp.experiment import Experiment, build, settings_of
from gradexp.initializations import starts
from gradexp.progress import StepProgress
from gradexp.results import identity, write_run

log = logging.getLogger(__name__)

_FIGURES = 16
"""So many jobs of a sweep get a figure of their own unless told otherwise: one costs 0.2 s."""


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


def perform(config: DictConfig, folder: Path, number: int | None) -> Result:
    """Makes the run of a config and writes its folder.

    Args:
        config: composed.
        folder: exists.
        number: the job's number in a sweep, or None.

    Raises:
        Mistake: something in the config is not allowed; nothing was written.
    """
    started, clock = time.time(), time.perf_counter()
    experiment = build(config)
    device = choose_device(experiment.device)
    if experiment.device == "auto" and number is None:
        log.info(f"device: {device.type}" + ("" if device.type == "cuda" else " (no CUDA found)"))
    trace = _optimize(experiment)
    outcome = judge(experiment.surface, experiment.stop, trace)
    tolerances = tuple(float(tolerance) for tolerance in experiment.record.tolerances)
    figures = metrics(experiment.surface, trace, 0, tolerances)
    parts = trace.run(0)._asdict()
    arrays = {name: part.numpy() for name, part in parts.items() if part is not None}

    images = {}
    if "point" in arrays and _wants_figure(experiment, number):
        name = experiment.surface.label()
        title = f"{name}: {outcome.word} after {figures['steps']} steps"
        images["trajectory"] = _drawn(experiment, arrays, title, folder)
    if experiment.log.tensorboard:
        from gradexp.tensorboard import hyperparameters, write_events

        write_events(
            folder,
            started=started,
            settings=hyperparameters(settings_of(config), experiment.labels()),
            step=arrays["step"],
            scalars=_curves(experiment, arrays),
            images=images,
        )
    record = {
        "outcome": outcome.word,
        "evidence": {"because": outcome.because, **outcome.evidence},
        "metrics": figures,
        "identity": identity({**experiment.decisive(), "device": device.type}),
        "engine": trace.engine,
        "device": device.type,
        "dtype": experiment.dtype,
        "versions": _versions(),
        "seconds": round(time.perf_counter() - clock, 4),
    }
    write_run(folder, arrays, record)
    place = coordinates(outcome.evidence["nearest"]["point"]) if outcome.evidence["reached"] else ""
    return Result(outcome.word, outcome.because, place, figures, device.type, folder)


def _optimize(experiment: Experiment) -> Trace:
    with StepProgress(experiment.steps) as progress:
        return optimize(
            experiment.surface,
            starts(experiment.init, experiment.surface, batch=1),
            experiment.optimizer,
            steps=experiment.steps,
            schedule=experiment.schedule,
            noise=experiment.noise,
            stop=experiment.stop,
            record=experiment.record,
            dtype=experiment.dtype,
            device=experiment.device,
            engine=experiment.engine,
            progress=progress.advance,
        ).cpu()


def _wants_figure(experiment: Experiment, number: int | None) -> bool:
    wish = experiment.log.trajectory
    return wish == "always" or (wish == "auto" and (number is None or number < _FIGURES))


def _drawn(
    experiment: Experiment, arrays: dict[str, np.ndarray], title: str, folder: Path
) -> bytes:
    """The trajectory's figure, as it was written into the folder."""
    from gradexp.plots import draw_trajectory, png  # matplotlib takes 0.4 s to import

    image = png(draw_trajectory(experiment.surface, **arrays, title=title))
    (folder / "trajectory.png").write_bytes(image)
    return image


def _curves(experiment: Experiment, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
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
    schedule, lr = experiment.schedule, experiment.optimizer.lr
    rates = [float(schedule.learning_rate(lr, step)) for step in arrays["step"].tolist()]
    return {**scalars, "learning_rate": np.array(rates)}


def _versions() -> dict[str, str]:
    names = ("gradexp", "torch", "numpy", "hydra-core")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
