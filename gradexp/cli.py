"""The command line."""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from gradexp import __version__, environment
from gradexp.mistakes import Mistake, machine_failure, nearest, printable

if TYPE_CHECKING:
    from gradexp.sweeps.ledger import Ledger

_DESCRIPTION = "Experiments on what decides whether, where and how fast optimizers converge."


def main(arguments: Sequence[str] | None = None) -> int:
    """The program `gradexp`; returns its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):  # a terminal without Greek letters still gets the rest
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    environment.hand_on()
    warnings.formatwarning = _one_line
    # Of a config that says so of its own keys: a person who wrote it knows.
    warnings.filterwarnings("ignore", "(?s).*is deprecated. Change your code and config to use")
    try:
        status = _dispatch(given)
        if sys.stdout is not None:
            sys.stdout.flush()  # what cannot be written is to be said here
        return status
    except Mistake as mistake:
        print(f"gradexp: {printable(' '.join(str(mistake).split()))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"gradexp: interrupted{_how_to_go_on(interrupt)}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has gone
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
    """Lets what is still to be written to the output go nowhere, so that nothing is said of it."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _one_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """A warning as a person wants it: without the line of code that it came from."""
    return f"gradexp: {printable(' '.join(str(message).split()))}\n"


def _dispatch(given: list[str]) -> int:
    if given[:1] == ["run"]:
        return _run(given[1:])
    if given[:1] in (["-sc"], ["--shell-completion"]):
        return _complete(given) if "query" in given[-1] else _run(given)
    parser = _Parser(prog="gradexp", description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"gradexp {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser(
        "run", add_help=False, help="one run, or a sweep with -m (gradexp run --help)"
    )
    resuming = commands.add_parser("resume", help="goes on with a sweep that was interrupted")
    resuming.add_argument("folder", type=Path, help="the sweep's")
    replaying = commands.add_parser("replay", help="repeats a run and compares it with its record")
    replaying.add_argument("folder", type=Path, help="the run's")
    comparing = commands.add_parser("compare", help="tables and figures over the runs of sweeps")
    comparing.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="of a sweep")
    comparing.add_argument(
        "--by", nargs="+", default=[], metavar="KEY", help="the config keys to compare"
    )
    comparing.add_argument("--metric", metavar="NAME", help="such as steps_to_gap.1e-06")
    comparing.add_argument(
        "--rank", metavar="HOW", help="the best first by par10 (usual), ert or median"
    )
    comparing.add_argument("--where", metavar="EXPR", help="such as 'optimizer.lr < 0.01'")
    comparing.add_argument("--save", type=Path, metavar="FOLDER", help="where to write all of it")
    comparing.add_argument("--overwrite", action="store_true", help="replace what is there")
    comparing.add_argument(
        "--formats",
        metavar="LIST",
        help="what to write: csv, parquet, latex; png, pdf, svg, gif (csv,png)",
    )
    showing = commands.add_parser("show", help="a picture of a surface, or of a run")
    showing.add_argument(
        "what", nargs="*", metavar="OVERRIDE | FOLDER", help="surface=NAME …, or a run's folder"
    )
    showing.add_argument("--save", type=Path, metavar="FILE", help="a .png, .pdf or .svg")
    showing.add_argument("--overwrite", action="store_true", help="replace what is there")
    listing = commands.add_parser("list", help="what can be chosen, with its keys and defaults")
    listing.add_argument("what", nargs="?", help="a group such as surfaces, or experiments")
    args = parser.parse_args(given)
    if args.command == "resume":
        return _resume(args.folder)
    if args.command == "replay":
        return _replay(args.folder)
    if args.command == "compare":
        return _compare(args)
    if args.command == "show":
        return _show(args.what, args.save, args.overwrite)
    return _list(args.what)


class _Parser(argparse.ArgumentParser):
    """One whose commands, too, say in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        raise Mistake("", "", f"{message}; see {self.prog} --help")


def _run(given: list[str]) -> int:
    from gradexp import hydra_app, terminal

    runs = hydra_app.main(given)
    if runs is None:
        return 0
    if runs.result is not None:
        terminal.show_run(runs.result)
    if runs.forecast is not None:
        terminal.show_forecast(runs.forecast)
        return 1 if runs.forecast.failures else 0
    return 0 if runs.sweep is None else _ended(runs.sweep)


def _resume(folder: Path) -> int:
    from gradexp import hydra_app

    runs = hydra_app.resume(folder)
    assert runs.sweep is not None
    return _ended(runs.sweep)


def _ended(sweep: Ledger) -> int:
    from gradexp import terminal

    terminal.show_sweep(sweep)
    return 1 if sweep.failed else 0


def _how_to_go_on(end: BaseException) -> str:
    """What to add where a sweep was interrupted, or could not go on."""
    sweep = getattr(end, "sweep", None)
    if sweep is None:
        return ""
    from gradexp import terminal

    with suppress(OSError):
        sweep.update()
    done = f": {len(sweep.rows) - len(sweep.failed)} of {sweep.jobs} jobs are done"
    go_on = f"to go on: {terminal.resume_command(sweep.folder)}"
    return f"{done if sweep.jobs else ''}; {go_on}"


def _replay(folder: Path) -> int:
    from gradexp.replay import replay

    replayed = replay(folder)
    print("\n".join(printable(line) for line in replayed.lines))
    return 0 if replayed.identical else 1


def _compare(args: argparse.Namespace) -> int:
    from gradexp import report, terminal
    from gradexp.comparison import compare, gather

    if args.formats is not None and args.save is None:
        raise Mistake("--formats", args.formats, "needs --save FOLDER")
    formats = report.checked(args.formats or report.USUAL)
    sample = gather(args.folders, args.by, args.metric, args.where, args.rank)
    tables = compare(sample)
    undrawn: list[str] = []
    if args.save is not None:  # first: who reads the tables may go before they end
        undrawn = report.save(args.save, formats, sample, tables, args.overwrite)
    terminal.show_tables(tables)
    for line in undrawn:
        print(line)
    if args.save is not None:
        print(f"saved:  {args.save}")
    return 0


def _show(what: Sequence[str], to: Path | None, overwrite: bool) -> int:
    from gradexp.show import show

    for path in show(what, to, overwrite):
        print(f"figure: {path}")
    return 0


def _list(what: str | None) -> int:
    from gradexp import config_files, terminal

    folders = {group: config_files.CONF / group for group in config_files.groups()}
    folders["experiment"] = config_files.EXPERIMENTS
    plurals = {f"{name}s": name for name in folders}
    if what is None:
        counts = {name: len(list(folder.glob("*.yaml"))) for name, folder in folders.items()}
        terminal.show_groups(counts)
        return 0
    name = plurals.get(what, what)
    if name not in folders:
        raise Mistake("list", what, f"no such list; {nearest(what, plurals)}")
    terminal.show_choices(config_files.choices(folders[name]))
    return 0


def _complete(given: list[str]) -> int:
    """Answers the shell, which asks `gradexp` and not `gradexp run` how a line may go on."""
    line = os.environ.get("COMP_LINE", "")
    program, _, rest = line.partition(" ")
    command, space, overrides = rest.lstrip().partition(" ")
    if not space:
        print(
            "\n".join(
                name
                for name in ("compare", "list", "replay", "resume", "run", "show")
                if name.startswith(command)
            )
        )
        return 0
    if command == "run":
        os.environ["COMP_LINE"] = f"{program} {overrides}"
        return _run(given)
    return 0
