"""The program `gradexp`: runs the command, and reports an error in one line."""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn, Protocol

from gradexp import __version__
from gradexp.cli import compare, completion, replay, resume, show
from gradexp.cli import list as list_
from gradexp.errors import UserError, machine_failure, printable
from gradexp.processes import environment


class Command(Protocol):
    """The interface of the modules in this package that each define a command."""

    SUMMARY: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the command's arguments to its parser."""

    def run(self, args: argparse.Namespace) -> int:
        """Runs the command with parsed arguments; returns the exit status."""


COMMANDS: dict[str, Command] = {
    "resume": resume,
    "replay": replay,
    "compare": compare,
    "show": show,
    "list": list_,
}
"""All commands except ``run``, whose arguments are Hydra's. Their modules import nothing slow until
a command is run."""

_DESCRIPTION = "Experiments on what decides whether, where and how fast optimizers converge."


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `gradexp`.

    Args:
        arguments: the command line without the program's name; ``sys.argv[1:]`` if None.

    Returns:
        The exit status: that of the command; 2 after a user error or where the machine lacks
        something, such as disk space; 130 after Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):  # a terminal may be unable to encode Greek letters
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    environment.hand_on()
    warnings.formatwarning = _one_line
    # Issued for keys that a config itself marks as deprecated, which its author knows.
    warnings.filterwarnings("ignore", "(?s).*is deprecated. Change your code and config to use")
    try:
        status = _dispatch(given)
        if sys.stdout is not None:
            sys.stdout.flush()  # so that a failure to write is reported below
        return status
    except UserError as mistake:
        print(f"gradexp: {printable(' '.join(str(mistake).split()))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"gradexp: interrupted{_how_to_go_on(interrupt)}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has ended
        _discard_output()
        print("gradexp: nobody read the output to its end", file=sys.stderr)
        return 2
    except Exception as error:
        reason = machine_failure(error)
        if reason is None:
            raise
        _discard_output()
        print(f"gradexp: {printable(reason)}{_how_to_go_on(error)}", file=sys.stderr)
        return 2


def _discard_output() -> None:
    """Redirects standard output to the null device, so that flushing it at exit cannot fail."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _one_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """Formats a warning as one line, without the source line that issued it."""
    return f"gradexp: {printable(' '.join(str(message).split()))}\n"


def _dispatch(given: list[str]) -> int:
    """Runs the command that the arguments name; returns its exit status."""
    if given[:1] == ["run"]:
        return _run(given[1:])
    if given[:1] in (["-sc"], ["--shell-completion"]):
        return completion.answer(given) if "query" in given[-1] else _run(given)
    parser = _Parser(prog="gradexp", description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"gradexp {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser(
        "run", add_help=False, help="one run, or a sweep with -m (gradexp run --help)"
    )
    parsers = {}
    for name, command in COMMANDS.items():
        parsers[name] = commands.add_parser(name, help=command.SUMMARY)
        command.add_arguments(parsers[name])
    args, unknown = parser.parse_known_args(given)
    if unknown:
        parsers[args.command].error(f"unrecognized arguments: {' '.join(unknown)}")
    return COMMANDS[args.command].run(args)


def _run(arguments: list[str]) -> int:
    from gradexp.cli import run  # imports Hydra, which is slow

    return run.main(arguments)


class _Parser(argparse.ArgumentParser):
    """A parser that raises a `UserError`; so do the parsers of its commands."""

    def error(self, message: str) -> NoReturn:
        raise UserError("", "", f"{message}; see {self.prog} --help")


def _how_to_go_on(end: BaseException) -> str:
    """Returns what to tell the user about a sweep that `end` stopped; empty if it stopped none.

    It says how many jobs are done, and which command resumes the sweep.
    """
    sweep = getattr(end, "sweep", None)
    if sweep is None:
        return ""
    from gradexp.cli import terminal

    with suppress(OSError):
        sweep.update()
    done = f": {len(sweep.rows) - len(sweep.failed)} of {sweep.jobs} jobs are done"
    go_on = f"to go on: {terminal.resume_command(sweep.folder)}"
    return f"{done if sweep.jobs else ''}; {go_on}"
