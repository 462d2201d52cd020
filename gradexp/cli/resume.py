"""`gradexp resume`: goes on with a sweep that was interrupted, or of which jobs failed."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from gradexp.errors import UserError

SUMMARY = "goes on with a sweep that was interrupted"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="the sweep's")


def run(args: Namespace) -> int:
    """
    Raises:
        UserError: the folder holds no sweep, it was moved, or the sweep is still running.
    """
    from gradexp.cli import run
    from gradexp.sweeps.plan import read_plan

    plan, folder = read_plan(args.folder), Path(os.path.abspath(args.folder))
    if not Path(plan.cwd).is_dir():
        raise UserError("", folder, f"the folder where the sweep was begun is gone: {plan.cwd}")
    os.chdir(plan.cwd)
    return run.main(plan.arguments, resumed=(folder, plan))
