"""`gradexp replay`: repeats a run and reports whether it is identical to the last bit."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from gradexp.errors import printable

SUMMARY = "repeats a run and compares it with its record"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="the run's")


def run(args: Namespace) -> int:
    from gradexp.jobs.replay import replay

    replayed = replay(args.folder)
    print("\n".join(printable(line) for line in replayed.lines))
    return 0 if replayed.identical else 1
