"""Completion of `gradexp` command lines for a shell."""

from __future__ import annotations

import os
from collections.abc import Sequence


def answer(given: Sequence[str]) -> int:
    """Prints the completions of a command line; Hydra prints those of ``gradexp run``.

    Args:
        given: the arguments of `gradexp`. The line to complete is read from ``$COMP_LINE``.

    Returns:
        The exit status.
    """
    from gradexp.cli import program, run

    line = os.environ.get("COMP_LINE", "")
    name, _, rest = line.partition(" ")
    command, space, overrides = rest.lstrip().partition(" ")
    if not space:
        commands = sorted(["run", *program.COMMANDS])
        print("\n".join(one for one in commands if one.startswith(command)))
        return 0
    if command == "run":
        os.environ["COMP_LINE"] = f"{name} {overrides}"
        return run.main(given)
    return 0
