"""`gradexp list`: the config groups, their choices, and the experiments."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from gradexp.errors import UserError, nearest

SUMMARY = "what can be chosen, with its keys and defaults"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", help="a group such as surfaces, or experiments")


def run(args: Namespace) -> int:
    from gradexp.cli import terminal
    from gradexp.config import choices

    folders = {group: choices.CONF / group for group in choices.groups()}
    folders["experiment"] = choices.EXPERIMENTS
    plurals = {f"{name}s": name for name in folders}
    if args.what is None:
        counts = {name: len(list(folder.glob("*.yaml"))) for name, folder in folders.items()}
        terminal.show_groups(counts)
        return 0
    name = plurals.get(args.what, args.what)
    if name not in folders:
        raise UserError("list", args.what, f"no such list; {nearest(args.what, plurals)}")
    terminal.show_choices(choices.choices(folders[name]))
    return 0
