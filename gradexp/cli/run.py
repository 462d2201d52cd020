"""`gradexp run`: one run, or a sweep with ``-m``; also Hydra's own flags, such as ``--cfg``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from gradexp.cli import terminal
from gradexp.config.application import Application, application, arguments_parser
from gradexp.errors import UserError, one_line

if TYPE_CHECKING:
    from gradexp.sweeps.plan import Plan
    from gradexp.sweeps.running import Runs


def main(arguments: Sequence[str], resumed: tuple[Path, Plan] | None = None) -> int:
    """Does what the arguments of ``gradexp run`` say, and prints the results.

    Args:
        arguments: what follows ``gradexp run``.
        resumed: the folder and the plan of the sweep to resume, if any.

    Returns:
        The exit status: 1 if jobs of a sweep failed, or would fail according to a dry run; else 0.

    Raises:
        UserError: if the user made an error; files are left behind only if some runs are complete.
        gradexp.sweeps.running.Interrupted: if the user interrupted a sweep.
    """
    runs = run(arguments, resumed)
    if runs is None:
        return 0
    if runs.result is not None:
        terminal.show_run(runs.result)
    if runs.forecast is not None:
        terminal.show_forecast(runs.forecast)
        return 1 if runs.forecast.failures else 0
    if runs.sweep is None:
        return 0
    terminal.show_sweep(runs.sweep)
    return 1 if runs.sweep.failed else 0


def run(arguments: Sequence[str], resumed: tuple[Path, Plan] | None = None) -> Runs | None:
    """Does the work of `main`, except printing the results.

    Returns:
        What was run, or None if a flag such as ``--help`` asked to print something instead.
    """
    parser, args = parse(arguments, "gradexp run")
    if resumed is not None and not _is_sweep(args):
        raise UserError("", resumed[0], f"{resumed[0]}: its sweep.json does not describe a sweep")
    with application(args, typed=resumed is None) as app:
        if _show(app, args, parser):
            return None
        from gradexp.sweeps import running  # imports torch, which takes a second

        return running.run(app, args, arguments, resumed)


def parse(arguments: Sequence[str], program: str) -> tuple[ArgumentParser, Namespace]:
    """Parses the arguments of ``gradexp run``, or of another program that takes the same ones.

    Args:
        arguments: the arguments.
        program: the name of the program, for messages.

    Returns:
        The parser, and the parsed arguments.

    Raises:
        UserError: if the arguments cannot be parsed.
    """
    parser = arguments_parser(program)

    def refuse(message: str) -> NoReturn:
        raise UserError("", "", f"{message}; see {program} --help")

    parser.error = refuse  # type: ignore[method-assign]
    parser.add_argument(
        "--dry-run", action="store_true", help="run nothing; say what jobs, time and disk it takes"
    )
    args = parser.parse_intermixed_args(arguments)
    if args.experimental_rerun:
        raise UserError(
            "--experimental-rerun", args.experimental_rerun, "pickles are not used here"
        )
    return parser, args


def _is_sweep(args: Namespace) -> bool:
    """Whether the arguments can start a sweep: no ``--run``, ``--dry-run`` or printing flag."""
    shown = (args.help, args.hydra_help, args.cfg, args.info, args.shell_completion, args.dry_run)
    return not args.run and not any(shown)


def _show(app: Application, args: Namespace, parser: ArgumentParser) -> bool:
    """Prints what a flag such as ``--help`` or ``--cfg`` asks for; returns False without one."""
    hydra, name, overrides = app.hydra, app.name, app.overrides
    if args.help:
        try:
            hydra.app_help(config_name=name, args_parser=parser, args=args)
        except (KeyError, ValueError) as error:  # raised by string.Template
            reason = f"cannot be filled in: {one_line(error)}"
            raise UserError("hydra.help.template", "", reason) from None
    elif args.hydra_help:
        hydra.hydra_help(config_name=name, args_parser=parser, args=args)
    elif args.cfg:
        try:
            hydra.show_cfg(name, overrides, args.cfg, args.package, args.resolve)
        except SystemExit:
            raise UserError("--package", args.package, "is not in the config") from None
    elif args.info:
        hydra.show_info(args.info, config_name=name, overrides=overrides)
    elif args.shell_completion:
        try:
            hydra.shell_completion(config_name=name, overrides=overrides)
        except (ValueError, KeyError, NotImplementedError):  # not a request that a shell makes
            told = " ".join(overrides)
            reason = "is written install=bash, uninstall=bash or query=bash; also zsh and fish"
            raise UserError("--shell-completion", told, reason) from None
    else:
        return False
    return True
