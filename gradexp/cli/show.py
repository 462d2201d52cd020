"""`gradexp show`: figures of a surface or of a run."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradexp.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUMMARY = "a picture of a surface, or of a run"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "what", nargs="*", metavar="OVERRIDE | FOLDER", help="surface=NAME …, or a run's folder"
    )
    parser.add_argument("--save", type=Path, metavar="FILE", help="a .png, .pdf or .svg")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")


def run(args: Namespace) -> int:
    for path in show(args.what, args.save, args.overwrite):
        print(f"figure: {path}")
    return 0


def show(arguments: Sequence[str], to: Path | None, overwrite: bool = False) -> list[Path]:
    """Draws the run of a folder, or the surface of a config.

    Args:
        arguments: a run's folder, or overrides like those of ``gradexp run``.
        to: the file to write: PNG, PDF or SVG. If None, a PNG in the current folder, named after
            the surface.
        overwrite: whether existing files are replaced.

    Returns:
        The files that were written. For a run in more than one dimension a second file shows the
        surface in three dimensions.

    Raises:
        UserError: if the arguments cannot be used, or a file exists already; nothing was written.
    """
    from gradexp.plots import FORMATS, save
    from gradexp.results import is_whole
    from gradexp.results.output_folder import staged

    if to is not None and to.suffix.removeprefix(".") not in FORMATS:
        raise UserError("--save", to, f"must end in {', '.join(f'.{kind}' for kind in FORMATS)}")
    alone = arguments[0] if len(arguments) == 1 else ""
    folder = Path(alone)
    if alone and folder.is_dir() and ("=" not in alone or is_whole(folder)):
        name, figures = _of_run(folder)
    elif alone and "=" not in alone:
        raise UserError("", alone, f"{alone}: there is no such folder; a surface is surface=NAME")
    else:
        name, figures = _of_surface(arguments)
    path = to or Path(f"{name}.png")
    paths = [path, *(path.with_stem(f"{path.stem}_{kind}") for kind in list(figures)[1:])]
    with staged("--save", path.parent, overwrite, [place.name for place in paths]) as staging:
        for figure, place in zip(figures.values(), paths, strict=True):
            save(figure, staging / place.name)
    return paths


def _of_surface(arguments: Sequence[str]) -> tuple[str, dict[str, Figure]]:
    from gradexp.cli.run import parse
    from gradexp.config.application import compose
    from gradexp.config.build import build, settings_of
    from gradexp.plots.relief import draw_surface

    _, args = parse(arguments, "gradexp show")
    experiment = build(settings_of(compose(args)))
    name = experiment.surface.label()
    return name, {"surface": draw_surface(experiment.surface, name.replace("_", " "))}


def _of_run(folder: Path) -> tuple[str, dict[str, Figure]]:
    from gradexp.config.build import recorded
    from gradexp.plots import draw_trajectory
    from gradexp.plots.relief import draw_relief
    from gradexp.results import read_run

    if (folder / "multirun.yaml").exists():
        raise UserError("", folder, f"{folder}: is a sweep's; gradexp compare draws it")
    trace, record = read_run(folder)
    if "point" not in trace:
        raise UserError("", folder, f"{folder}: its points were not recorded (record=trace)")
    run = recorded(folder)
    surface, steps = run.surface, record["metrics"]["steps"]
    if trace["point"].shape[1] != surface.dim:
        raise UserError("", folder, f"{folder}: its points are not of the surface's dimension")
    title = f"{run.in_words()}: {record['outcome']} after {steps} steps"
    figures = {"run": draw_trajectory(surface, trace, title)}
    if surface.dim > 1:
        figures["relief"] = draw_relief(surface, trace["point"], title)
    return surface.label(), figures
