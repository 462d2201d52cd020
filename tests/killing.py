"""The program in processes that can be killed at any moment."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from gradexp.cli import main

_ROOT = Path(__file__).parents[1]
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.warm"])
os.environ["PYTHONPATH"] = os.pathsep.join(  # by which the server finds what it is to import
    [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
)


def begin(folder: Path, *arguments: str) -> ForkServerProcess:
    """Begins the program in a folder; what it prints is kept beside that: see `output`."""
    process = _CONTEXT.Process(target=_run, args=(folder, arguments))
    process.start()
    return process


def output(folder: Path) -> str:
    """What the program that was begun last in a folder printed."""
    return _output(folder).read_text(errors="replace")


def _output(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.output")


def _run(folder: Path, arguments: tuple[str, ...]) -> None:
    os.chdir(folder)
    file = os.open(_output(folder), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.exit(main(arguments))


def killed(process: ForkServerProcess, when: Callable[[], bool], patience: float = 60) -> bool:
    """Kills a process as soon as something holds; whether it was killed before it ended.

    Args:
        process: that was begun.
        when: is asked again and again.
        patience: seconds in which the process must have ended or been killed.
    """
    end = time.monotonic() + patience
    while process.is_alive() and not when():
        assert time.monotonic() < end, "it neither ended nor came to the moment to be killed at"
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL
