"""What all tests share."""

import os

from tests import precompiled

# Read when gradexp or torch is imported, and by the processes that tests start.
os.environ["GRADEXP_CACHE"] = str(precompiled.CACHE / "programs")
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # threads that spin take the other workers' time
CXX = precompiled.compiler()
if CXX is not None:
    os.environ["CXX"] = CXX

# ruff: noqa: E402
import gc
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from torch import Tensor

from gradexp.cli import main
from gradexp.engine.codegen import build
from gradexp.processes import environment
from gradexp.processes.environment import AT_START
from gradexp.surfaces import Surface
from gradexp.sweeps import shortcuts

setattr(environment, "hand_on", lambda: None)  # noqa: B010
# What it hands on to other processes would reach the tests that follow.
torch.set_num_threads(1)  # small tensors: a second thread costs more than it gives


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option that tests sweeps without their shortcuts."""
    reason = "lets Hydra compose and run each job of a sweep (gradexp.sweeps.shortcuts)"
    parser.addoption("--without-shortcuts", action="store_true", help=reason)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keeps the garbage collector from looking at torch again and again: a seventh of the time."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    """Precompiles g++'s headers, before pytest-xdist starts its workers; collects tests, and no
    garbage meanwhile."""
    gc.disable()
    shortcuts._given_up = config.getoption("--without-shortcuts")
    if CXX is not None and not hasattr(config, "workerinput"):
        precompiled.precompile(build._command())


class Undecorated(Surface):
    """The facts of a surface, in a class that is no dataclass."""

    family: ClassVar[Any] = "convex"
    dim: ClassVar[int] = 2
    domain: ClassVar[Any] = ((-1.0, 1.0),) * 2
    start: ClassVar[Any] = (0.5, 0.25)

    def value(self, point: Any) -> Tensor:
        raise NotImplementedError


COVERING = ("ackley", "cross_in_tray", "log_cosh", "quadratic", "rastrigin", "rosenbrock")
"""Surfaces whose programs have between them every function that a surface's program has: tested."""


def in_tiers(cases: Iterable[Any], quick: Callable[[Any], bool]) -> list[Any]:
    """Cases for `parametrize`: the quick ones are in both tiers, the others in the long one."""
    return [
        case
        if quick(case)
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        for case in cases
    ]


@pytest.fixture
def shortcuts_allowed() -> None:
    """Skips what is about the time that shortcuts save where they are switched off."""
    if not shortcuts.allowed():
        pytest.skip("--without-shortcuts was given")


Gradexp = Callable[..., tuple[int, str, str]]


@pytest.fixture
def gradexp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Gradexp:
    """The program, in an empty folder: takes arguments, gives exit status, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gradexp.config.gate.components.FOLDER", tmp_path)
    monkeypatch.delitem(AT_START, "GRADEXP_TRUST", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        root = logging.getLogger()
        before = list(root.handlers)
        try:
            status = main(arguments)
        finally:
            GlobalHydra.instance().clear()
            HydraConfig.instance().cfg = None
            for handler in root.handlers:  # what Hydra has set up ends with the command
                if handler not in before:
                    handler.close()
            root.handlers[:] = before
        out, err = capfd.readouterr()
        return status, out, err

    return run


def left_behind(folder: Path) -> list[str]:
    """Everything in a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def only_run(folder: Path) -> Path:
    """The one whole run folder below a folder."""
    (record,) = folder.rglob("run.json")
    return record.parent


def same(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether two tensors are equal to the bit, NaN with NaN; or both are missing."""
    if one is None or other is None:
        return one is other
    return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
