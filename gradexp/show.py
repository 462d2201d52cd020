"""`gradexp show`: pictures of a surface, or of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from gradexp.experiment import build, recorded, settings_of
from gradexp.mistakes import Mistake
from gradexp.output_folder import staged
from gradexp.plots import draw_trajectory, save
from gradexp.plots.relief import draw_relief, draw_surface
from gradexp.report import FIGURES
from gradexp.results import is_whole, read_run


def show(arguments: Sequence[str], to: Path | None, overwrite: bool = False) -> list[Path]:
    """Draws the run of a folder, or the surface of a config.

    Args:
        arguments: a run's folder, or overrides as those of ``gradexp run``.
        to: the file to write, a PNG, PDF or SVG; in this folder, named after the surface, if None.
        overwrite: whether files that are there are replaced.

    Returns:
        The files that were written: of a run, a second one with its relief.

    Raises:
        Mistake: a person's mistake; nothing was written.
    """
    if to is not None and to.suffix.removeprefix(".") not in FIGURES:
        raise Mistake("--save", to, f"must end in {', '.join(f'.{kind}' for kind in FIGURES)}")
    alone = arguments[0] if len(arguments) == 1 else ""
    folder = Path(alone)
    if alone and folder.is_dir() and ("=" not in alone or is_whole(folder)):
        name, figures = _of_run(folder)
    elif alone and "=" not in alone:
        raise Mistake("", alone, f"{alone}: there is no such folder; a surface is surface=NAME")
    else:
        name, figures = _of_surface(arguments)
    path = to or Path(f"{name}.png")
    paths = [path, *(path.with_stem(f"{path.stem}_{kind}") for kind in list(figures)[1:])]
    with staged("--save", path.parent, overwrite, [place.name for place in paths]) as staging:
        for figure, place in zip(figures.values(), paths, strict=True):
            save(figure, staging / place.name)
    return paths


def _of_surface(arguments: Sequence[str]) -> tuple[str, dict[str, Figure]]:
    from gradexp import hydra_app

    experiment = build(settings_of(hydra_app.compose(arguments)))
    name = experiment.surface.label()
    return name, {"surface": draw_surface(experiment.surface, name.replace("_", " "))}


def _of_run(folder: Path) -> tuple[str, dict[str, Figure]]:
    if (folder / "multirun.yaml").exists():
        raise Mistake("", folder, f"{folder}: is a sweep's; gradexp compare draws it")
    trace, record = read_run(folder)
    if "point" not in trace:
        raise Mistake("", folder, f"{folder}: its points were not recorded (record=trace)")
    run = recorded(folder)
    surface, steps = run.surface, record["metrics"]["steps"]
    if trace["point"].shape[1] != surface.dim:
        raise Mistake("", folder, f"{folder}: its points are not of the surface's dimension")
    title = f"{run.in_words()}: {record['outcome']} after {steps} steps"
    figures = {"run": draw_trajectory(surface, trace, title)}
    if surface.dim > 1:
        figures["relief"] = draw_relief(surface, trace["point"], title)
    return surface.label(), figures
