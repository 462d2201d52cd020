"""One job: computes the run that a composed config describes, and writes its folder."""

from __future__ import annotations

import logging
import platform
import time
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gradexp import __version__
from gradexp.analysis import distance_to_minimizer
from gradexp.clips import Clip, Unclipped
from gradexp.config.build import build
from gradexp.engine import choose_device
from gradexp.errors import coordinates
from gradexp.experiment import Experiment
from gradexp.jobs.batches import BatchQueue, Computed, compute
from gradexp.jobs.progress import StepProgress
from gradexp.results import identity, read_record, write_run

log = logging.getLogger(__name__)

_FIGURES = 16
"""The largest sweep, in jobs, whose jobs each get a figure by default: drawing one takes 0.2 s."""


@dataclass(frozen=True)
class Result:
    """The result of a job, as far as it is shown in the terminal."""

    outcome: str
    because: str
    place: str
    """the declared stationary point at which the run came to rest; empty if there is none"""
    metrics: dict[str, Any]
    device: str
    folder: Path

    def __float__(self) -> float:
        """Returns the final loss, which is what Hydra's optimizing sweepers use."""
        return float(self.metrics["final_loss"])


def perform(settings: dict[str, Any], folder: Path, jobs: int | None, queue: BatchQueue) -> Result:
    """Computes the run that a config describes, and writes its folder.

    Args:
        settings: the composed config as plain values.
        folder: the run's folder, which exists.
        jobs: the number of jobs in its sweep, or None if it is not part of one.
        queue: the runs that have been computed already.

    Raises:
        UserError: if something in the config is not allowed; nothing was written.
    """
    started, clock = time.time(), time.perf_counter()
    run = queue.take(settings)
    computed = run is not None
    if run is None:
        run = _computed(build(settings), alone=jobs is None)
    experiment, arrays, outcome = run.experiment, run.arrays, run.outcome

    images = {}
    if "point" in arrays and _wants_figure(experiment, jobs):
        title = f"{experiment.in_words()}: {outcome.word} after {run.figures['steps']} steps"
        images["trajectory"] = _drawn(experiment, arrays, title, folder)
    if experiment.log.tensorboard:
        from gradexp.results.tensorboard import hyperparameters, write_events

        write_events(
            folder,
            started=started,
            settings=hyperparameters(settings, experiment.labels()),
            step=arrays["step"],
            scalars=_curves(experiment, arrays),
            finals=_finals(run.figures),
            images=images,
        )
    minimum = experiment.surface.minimum
    seconds = time.perf_counter() - clock + (run.seconds if computed else 0.0)
    record = {
        "outcome": outcome.word,
        "evidence": {"because": outcome.because, **outcome.evidence},
        "metrics": run.figures,
        "theory": run.theory,
        "identity": identity({**experiment.decisive(), "engine": run.engine, "device": run.device}),
        "dim": experiment.surface.dim,
        "minimum": None if minimum is None else float(minimum),
        "clipping": _clipping(experiment.clip),
        "engine": run.engine,
        "device": run.device,
        "dtype": experiment.dtype,
        "versions": versions(),
        "seconds": round(seconds, 4),
    }
    write_run(folder, arrays, record)
    return _result(record, folder)


def recall(folder: Path) -> Result:
    """Returns the result of a complete run, read from its folder."""
    return _result(read_record(folder), folder)


def _result(record: dict[str, Any], folder: Path) -> Result:
    evidence = record["evidence"]
    place = coordinates(evidence["nearest"]["point"]) if evidence["reached"] else ""
    ended = record["outcome"], evidence["because"], place
    return Result(*ended, record["metrics"], record["device"], folder)


def _computed(experiment: Experiment, alone: bool) -> Computed:
    """Computes one run; shows the device and the progress if it is not part of a sweep."""
    if not alone:
        return compute([experiment])[0]
    if experiment.device == "auto":
        device = choose_device("auto").type
        log.info(f"device: {device}" + ("" if device == "cuda" else " (no CUDA found)"))
    with StepProgress(experiment.steps) as progress:
        return compute([experiment], progress.advance)[0]


def _wants_figure(experiment: Experiment, jobs: int | None) -> bool:
    wish = experiment.log.trajectory
    return wish == "always" or (wish == "auto" and (jobs is None or jobs <= _FIGURES))


def _drawn(
    experiment: Experiment, arrays: dict[str, np.ndarray], title: str, folder: Path
) -> bytes:
    """Draws the trajectory, writes it to the folder, and returns it as a PNG file."""
    from gradexp.plots import draw_trajectory, png  # matplotlib takes 0.4 s to import

    image = png(draw_trajectory(experiment.surface, arrays, title))
    (folder / "trajectory.png").write_bytes(image)
    return image


def _curves(experiment: Experiment, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the curves that TensorBoard shows, by tag; those not recorded are left out."""
    scalars: dict[str, np.ndarray] = {
        name: arrays[name] for name in ("loss", "gradient_norm", "evaluations") if name in arrays
    }
    minimum = experiment.surface.minimum
    if minimum is not None and "loss" in arrays:
        scalars["loss_gap"] = arrays["loss"] - float(minimum)
    if "point" in arrays:
        points = torch.as_tensor(arrays["point"]).double()
        distance = distance_to_minimizer(experiment.surface, points)
        if distance is not None:
            scalars["distance"] = distance.numpy()
    for name, value in experiment.optimizer.hyperparameters().items():
        tag = {"lr": "learning_rate"}.get(name, name.replace("[", ".").rstrip("]"))
        if name in arrays:
            scalars[tag] = arrays[name]
        elif name in ("lr", "momentum"):
            scalars[tag] = np.full(len(arrays["step"]), float(value))
    return scalars


def _clipping(clip: Clip) -> dict[str, Any] | None:
    """Returns how gradients were clipped, or None if they were not."""
    if isinstance(clip, Unclipped):
        return None
    return {"by": clip.label(), **{field.name: getattr(clip, field.name) for field in fields(clip)}}


def _finals(figures: dict[str, Any]) -> dict[str, float]:
    """Returns what TensorBoard's table of hyperparameters shows besides the curves' last values.

    TensorBoard shows the first five columns in alphabetical order, and leaves out of its plots the
    runs that lack a value in one of them. The names of values that some runs lack therefore come
    late in the alphabet.
    """
    gaps, gradients = figures["steps_to_gap"], figures["steps_to_gradient"]
    kind = "gap" if any(step is not None for step in gaps.values()) else "gradient"
    hitting_times = gaps if kind == "gap" else gradients
    found = {f"steps_to_{kind}/{size}": step for size, step in hitting_times.items()}
    known = {tag: float(step) for tag, step in found.items() if step is not None}
    return {"end/steps": figures["steps"], **known}


@cache
def versions() -> dict[str, str]:
    """Returns the versions of Python, gradexp and the libraries that a run's numbers depend on."""
    others = {name: version(name) for name in ("torch", "numpy", "hydra-core")}
    return {"python": platform.python_version(), "gradexp": __version__, **others}
