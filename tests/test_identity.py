"""A run's identity: by what its classes are called, and by what a person's own say."""

import json
import sys
from pathlib import Path

import pytest

from gradexp.experiment import plain_values
from gradexp.optimizers import SGD, External
from gradexp.processes.environment import AT_START
from gradexp.results import read_record
from gradexp.surfaces import get
from tests.conftest import Gradexp

ONE = "def bowl(point, depth: float = 1.0):\n    x, y = point\n    return x**2 + depth * y**2\n"
OTHER = ONE.replace("depth * y**2", "depth * y**4")
CLASS = """
from dataclasses import dataclass
from gradexp.surfaces import Surface
@dataclass(frozen=True)
class Bowl(Surface):
    family = "convex"
    dim: int = 2
    domain = ((-1.0, 1.0),) * 2
    start = (0.5, 0.25)
    def value(self, point):
        x, y = point
        return x**2 + POWER
"""


def test_gradexps_classes_are_named_by_their_package() -> None:
    import torch

    surface = plain_values(get("rosenbrock"))
    assert surface == {"_target_": "gradexp.surfaces.Rosenbrock", "dim": 2, "b": 100.0}
    assert plain_values(SGD(0.1))["_target_"] == "gradexp.optimizers.SGD"
    adam = plain_values(External(factory=torch.optim.Adam, options=()))
    assert adam["factory"] == "torch.optim.Adam"


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        (ONE, OTHER, "bowl"),
        (CLASS.replace("POWER", "y**2"), CLASS.replace("POWER", "y**4"), "Bowl"),
    ],
    ids=["function", "class"],
)
def test_surfaces_of_ones_own_with_one_name_are_two(
    one: str,
    other: str,
    name: str,
    gradexp: Gradexp,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(AT_START, "GRADEXP_TRUST", "first_bowl,second_bowl,third_bowl")
    monkeypatch.syspath_prepend(str(tmp_path))
    identities = []
    for module, text in (("first_bowl", one), ("second_bowl", other), ("third_bowl", one)):
        (tmp_path / f"{module}.py").write_text(text)
        command = ["run", "surface=own", f"surface._target_={module}.{name}", "steps=3", "log=none"]
        assert gradexp(*command, f"hydra.run.dir={module}")[0] == 0
        identities.append(read_record(tmp_path / module)["identity"])
    assert len(set(identities)) == 3
    # The same name in the same module, written anew.
    sys.modules.pop("first_bowl")
    (tmp_path / "first_bowl.py").write_text(other + "# another\n")
    command = ["run", "surface=own", f"surface._target_=first_bowl.{name}", "steps=3", "log=none"]
    assert gradexp(*command, "hydra.run.dir=again")[0] == 0
    assert read_record(tmp_path / "again")["identity"] not in identities
    for module in ("first_bowl", "second_bowl", "third_bowl"):
        sys.modules.pop(module, None)
    status, out, _ = gradexp("compare", "first_bowl", "again")
    assert status == 0
    assert "run again in another folder" not in out
    status, out, _ = gradexp("compare", "first_bowl", "first_bowl")
    assert status == 0


def test_a_run_of_the_same_settings_is_the_same(gradexp: Gradexp, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        assert gradexp("run", "steps=3", "log=none", f"hydra.run.dir={folder}")[0] == 0
    records = [json.loads((tmp_path / name / "run.json").read_text()) for name in "ab"]
    assert records[0]["identity"] == records[1]["identity"]


def test_a_sweep_made_twice_counts_once_whatever_was_recorded(
    gradexp: Gradexp, tmp_path: Path
) -> None:
    """Costs 3 s."""
    axes = ["optimizer.lr=1e-3,2e-3", "steps=20", "log=none"]
    ways = [[], ["record=metrics"], ["record.what=loss", "record.points=5", "engine.compile=never"]]
    for number, way in enumerate(ways):
        assert gradexp("run", "-m", *axes, *way, f"hydra.sweep.dir=s{number}")[0] == 0
    status, out, _ = gradexp("compare", "s0", "s1", "s2")
    assert status == 0
    assert "2 runs" in out
    assert "6 runs" not in out
    found = {}
    for number in range(3):
        found[number] = read_record(tmp_path / f"s{number}" / "0")["identity"]
    assert len(set(found.values())) == 1
