"""One job: makes the run of a composed config and writes its folder."""

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
"""In a sweep of more jobs none gets a figure of its own unless told so: one costs 0.2 s."""


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

    def __float__(self) -> float:
        """The final loss: what Hydra's sweepers that search take."""
        return float(self.metrics["final_loss"])


def perform(settings: dict[str, Any], folder: Path, jobs: int | None, queue: BatchQueue) -> Result:
    """Makes the run of a config and writes its folder.

    Args:
        settings: the composed config as plain values.
        folder: exists.
        jobs: how many the sweep has that it is of, or None.
        queue: runs that are computed already.

    Raises:
        UserError: something in the config is not allowed; nothing was written.
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
    """What the run of a whole folder came to."""
    return _result(read_record(folder), folder)


def _result(record: dict[str, Any], folder: Path) -> Result:
    evidence = record["evidence"]
    place = coordinates(evidence["nearest"]["point"]) if evidence["reached"] else ""
    ended = record["outcome"], evidence["because"], place
    return Result(*ended, record["metrics"], record["device"], folder)


def _computed(experiment: Experiment, alone: bool) -> Computed:
    """The run of an experiment; where it is all that a person waits for, what it does is shown."""
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
    """The trajectory's figure, as it was written into the folder."""
    from gradexp.plots import draw_trajectory, png  # matplotlib takes 0.4 s to import

    image = png(draw_trajectory(experiment.surface, arrays, title))
    (folder / "trajectory.png").write_bytes(image)
    return image


def _curves(experiment: Experiment, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The curves that TensorBoard shows, by tag; what was not recorded is left out."""
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
    """How gradients were clipped, if they were."""
    if isinstance(clip, Unclipped):
        return None
    return {"by": clip.label(), **{field.name: getattr(clip, field.name) for field in fields(clip)}}


def _finals(figures: dict[str, Any]) -> dict[str, float]:
    """What the table of hyperparameters shows of a run's end besides its curves' last values.

    Of its columns TensorBoard shows the first five by name, and leaves runs out of its plots that
    lack a value in one: what not every run has comes late in the alphabet.
    """
    gaps, gradients = figures["steps_to_gap"], figures["steps_to_gradient"]
    kind = "gap" if any(step is not None for step in gaps.values()) else "gradient"
    hitting_times = gaps if kind == "gap" else gradients
    found = {f"steps_to_{kind}/{size}": step for size, step in hitting_times.items()}
    known = {tag: float(step) for tag, step in found.items() if step is not None}
    return {"end/steps": figures["steps"], **known}


@cache
def versions() -> dict[str, str]:
    """The versions of what a run's numbers depend on."""
    others = {name: version(name) for name in ("torch", "numpy", "hydra-core")}
    return {"python": platform.python_version(), "gradexp": __version__, **others}
