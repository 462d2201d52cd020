"""The command line: one module per command, and the output to the terminal."""

from gradexp.cli.program import main

__all__ = ["main"]
