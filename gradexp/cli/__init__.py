"""The command line: one module a command, and what the terminal shows."""

from gradexp.cli.program import main

__all__ = ["main"]
