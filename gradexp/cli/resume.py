"""`gradexp resume`: resumes a sweep that was interrupted or had failed jobs."""

from __future__ import annotations

import os
import re
from argparse import ArgumentParser, Namespace
from pathlib import Path

from gradexp.errors import UserError

SUMMARY = "goes on with a sweep that was interrupted"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="the sweep's")


def run(args: Namespace) -> int:
    """Resumes the sweep; returns the exit status.

    Raises:
        UserError: if the folder holds no sweep or was moved, or the sweep is still running.
    """
    from gradexp.cli import run
    from gradexp.sweeps.plan import read_plan

    plan, folder = read_plan(args.folder), Path(os.path.abspath(args.folder))
    if not Path(plan.cwd).is_dir():
        raise UserError("", folder, f"the folder where the sweep was begun is gone: {plan.cwd}")
    os.chdir(plan.cwd)
    arguments = [_without_environment(argument, folder) for argument in plan.arguments]
    return run.main(arguments, resumed=(folder, plan))


def _without_environment(argument: str, folder: Path) -> str:
    """Returns an argument as it is, or, if it names the sweep's folder by variables of the
    environment, with the folder itself: only what is typed may read variables that are no numbers,
    and ``sweep.json`` is a file."""
    if not (argument.startswith("hydra.sweep.dir=") and "${oc.env:" in argument):
        return argument
    # In Hydra's grammar backslashes are special before a quote, and nowhere else.
    quoted = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + (found[2] and r"\'"), str(folder))
    return f"hydra.sweep.dir='{quoted}'"
