"""Surfaces and optimizers of a person's own, and the examples of them in the docs."""

import itertools
import re
from pathlib import Path

import pytest
import torch

from gradexp.errors import UserError
from gradexp.processes.environment import AT_START
from gradexp.results import read_run
from gradexp.surfaces import from_function
from tests.conftest import Gradexp

PAGE = (Path(__file__).parent.parent / "docs" / "own_components.md").read_text()

_modules = (f"mine{number}" for number in itertools.count())


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module of a person's own, in the folder where they work."""
    name = next(_modules)
    (tmp_path / f"{name}.py").write_text(
        "from dataclasses import dataclass\n"
        "import os\n"
        "from gradexp.numbers import Number\n"
        "from gradexp.optimizers import SGD\n"
        "from gradexp.surfaces import Surface\n"
        "def bowl(point, depth=2.0):\n"
        "    x, y = point\n"
        "    return depth * (x**2 + 3 * y**2)\n"
        "def broken(point):\n"
        "    return 1 / 0\n"
        "def scalar(point):\n"
        "    return 3.0\n"
        "def branching(point):\n"
        "    return point[0] ** 2 if point[0] > 0 else -point[0]\n"
        "def detached(point):\n"
        "    return point[0].detach() ** 2\n"
        "def named(point, dim=2.0):\n"
        "    return point[0] * dim\n"
        "class Bare(Surface):\n"
        "    family, dim, domain, start = 'convex', 1, ((0.0, 1.0),), (0.5,)\n"
        "@dataclass(frozen=True)\n"
        "class Silent(Surface):\n"
        "    dim = 1\n"
        "    def value(self, point):\n"
        "        return point[0] ** 2\n"
        "@dataclass(frozen=True)\n"
        "class Cubic(Surface):\n"
        "    family = 'saddle'\n"
        "    dim = 1\n"
        "    start = (1.0,)\n"
        "    slope: Number\n"
        "    domain: tuple[tuple[float, float], ...] = ((-2.0, 2.0),)\n"
        "    def value(self, point):\n"
        "        return self.slope * point[0] ** 3\n"
        "@dataclass(frozen=True)\n"
        "class Loose(SGD):\n"
        "    def update(self, point, gradient, state, step):\n"
        "        return tuple(x - g for x, g in zip(point, gradient)), state\n"
        "@dataclass(frozen=True)\n"
        "class Lost(SGD):\n"
        "    def update(self, point, gradient, state, step):\n"
        "        return None\n"
        "@dataclass(frozen=True)\n"
        "class Plain(SGD):\n"
        "    lr: float = 0.1\n"
    )
    return name


def test_a_function_and_a_class(
    module: str, gradexp: Gradexp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(AT_START, "GRADEXP_TRUST", f"other, {module}")
    bowl = (f"surface._target_={module}.bowl", "surface.depth=0.5", "optimizer.lr=0.1")
    cubic = (f"surface._target_={module}.Cubic", "+surface.slope=2", "steps=7")
    for folder, arguments in (("bowl", bowl), ("cubic", cubic)):
        status, _, err = gradexp("run", "surface=own", *arguments, f"hydra.run.dir={folder}")
        assert status == 0, err
    trace, record = read_run(tmp_path / "bowl")
    assert record["outcome"] == "converged"
    assert trace["point"][1].tolist() == pytest.approx([3.0 * 0.9, 3.0 * 0.7])
    assert read_run(tmp_path / "cubic")[0]["point"].shape == (8, 1)


@pytest.mark.parametrize(
    ("target", "more", "part"),
    [
        ("nothing", (), "has no nothing"),
        ("os.getcwd", (), "GRADEXP_TRUST"),
        ("bowl", ("+surface.deph=1",), "did you mean depth?"),
        ("bowl", ("surface.depth=deep",), "a finite number"),
        ("bowl", ("+surface.dim=3",), "too many values to unpack"),
        ("Cubic", (), "surface.slope: Cubic needs a value here"),
        ("broken", (), "ZeroDivisionError"),
        ("branching", (), "ambiguous"),
        ("detached", (), "does not require grad"),
        ("named", (), "must not call a number dim"),
        ("Bare", (), "@dataclass(frozen=True)"),
        ("Silent", (), "Silent must state its family"),
        ("bowl", ("+surface.domain=5",), "pairs [low, high]"),
        ("bowl", ("+surface.domain=[[1],[2]]",), "pairs [low, high]"),
        ("bowl", ("+surface.domain=[[1,-1],[1,2]]",), "below its high"),
        ("bowl", ("+surface.domain=[[1,2]]",), "each of the 2 dimensions"),
        ("scalar", (), "must be a tensor of the coordinates' shape, (32,), not 3.0"),
    ],
)
def test_mistakes(
    target: str,
    more: tuple[str, ...],
    part: str,
    module: str,
    gradexp: Gradexp,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(AT_START, "GRADEXP_TRUST", module)
    status, _, err = gradexp("run", "surface=own", f"surface._target_={module}.{target}", *more)
    assert status == 2
    assert part in err
    assert err.count("\n") == 1


def test_nothing_is_imported_without_trust(module: str, gradexp: Gradexp) -> None:
    status, _, err = gradexp("run", "surface=own", f"surface._target_={module}.bowl")
    assert status == 2
    assert "GRADEXP_TRUST=package" in err


def test_what_is_no_formula_is_refused() -> None:
    def nothing() -> torch.Tensor:
        return torch.zeros(1)

    def anything(point: torch.Tensor, *numbers: float) -> torch.Tensor:
        return point[0]

    for function in (nothing, anything):
        with pytest.raises(UserError):
            from_function(function)


def test_the_example_of_a_surface_of_ones_own(
    gradexp: Gradexp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = PAGE
    function, cls = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[:2]
    (tmp_path / "mysurfaces.py").write_text(f"{cls}\n\n{function}")
    commands = re.findall(r"^GRADEXP_TRUST=mysurfaces gradexp (.*)$", section, re.MULTILINE)
    assert commands
    monkeypatch.setitem(AT_START, "GRADEXP_TRUST", "mysurfaces")
    for command in commands:
        status, out, err = gradexp(*command.split())
        assert status == 0, err
        assert "converged" in out
    bowl = "surface=own surface._target_=mysurfaces.Bowl surface.depth=0.5 optimizer.lr=0.1"
    status, out, err = gradexp("run", *bowl.split())
    assert status == 0, err
    assert "declared minimizer (0, 0)" in out


@pytest.mark.parametrize(
    ("target", "more", "part"),
    [
        ("Loose", ("optimizer.lr=0.1",), "in the form of the one that it is given"),
        ("Lost", ("optimizer.lr=0.1",), "a step of it failed: TypeError"),
        ("Plain", (), "has no number lr: annotate it"),
    ],
)
def test_mistakes_in_optimizers(
    target: str,
    more: tuple[str, ...],
    part: str,
    module: str,
    gradexp: Gradexp,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(AT_START, "GRADEXP_TRUST", module)
    chosen = ("optimizer=own", f"optimizer._target_={module}.{target}", *more)
    status, _, err = gradexp("run", *chosen)
    assert status == 2
    assert part in err
    assert err.count("\n") == 1
    assert not (tmp_path / "outputs").exists()


def test_the_example_of_an_optimizer_of_ones_own(
    gradexp: Gradexp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = PAGE.split("## An optimizer")[1]
    (tmp_path / "myrules.py").write_text(re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0])
    (command,) = re.findall(r"^GRADEXP_TRUST=myrules gradexp (.*)$", section, re.MULTILINE)
    monkeypatch.setitem(AT_START, "GRADEXP_TRUST", "myrules")
    losses = []
    for how in ("never", "always"):
        given = (*command.split(), f"engine.compile={how}", f"hydra.sweep.dir={how}")
        status, _, err = gradexp(*given)
        assert status == 0, err
        losses.append([read_run(tmp_path / how / job)[1]["metrics"]["final_loss"] for job in "01"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
