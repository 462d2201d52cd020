"""Every choice of every config group runs, and mirrors its class. New ones are found here."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gradexp.config.choices import CONF
from gradexp.config.gate.components import locate
from gradexp.results import read_run
from gradexp.surfaces import get, names
from tests.conftest import COVERING, Gradexp, in_tiers, only_run

QUICK = ["init=uniform", "seed=3", "optimizer.lr=0.01", "optimizer.momentum=0.9", "steps=50"]


@pytest.mark.parametrize("surface", in_tiers(names(), COVERING.__contains__))
def test_every_surface_runs(surface: str, gradexp: Gradexp, tmp_path: Path) -> None:
    status, _, err = gradexp("run", f"surface={surface}", *QUICK)
    assert status == 0, err
    folder = only_run(tmp_path)
    assert (folder / "trajectory.png").stat().st_size > 10_000
    low, high = zip(*get(surface).domain, strict=True)
    start = read_run(folder)[0]["point"][0]
    assert bool(((low <= start) & (start <= high)).all())


CHOICES = sorted(
    (path.parent.name, path.stem) for path in CONF.glob("*/*.yaml") if path.parent.name != "surface"
)
NEEDS = {
    "torch": ["engine=reference", "optimizer._target_=torch.optim.Adam"],
    "own": ["optimizer._target_=gradexp.optimizers.Adam"],
    "point": ["init.point=[0.5,0.5]"],
}


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_choice_runs(group: str, name: str, gradexp: Gradexp, tmp_path: Path) -> None:
    more = NEEDS.get(name, [])
    more = more if group == "log" else [*more, "log.trajectory=never"]
    status, _, err = gradexp("run", "surface=himmelblau", f"{group}={name}", *more, "steps=20")
    assert status == 0, err
    trace, record = read_run(only_run(tmp_path))
    recorded = ["step", "loss", "gradient_norm", "point"]
    kept = recorded[: {"loss": 2, "metrics": 1}.get(name, 4)]
    assert set(kept) <= set(trace)
    scheduled = set(trace) - set(kept)
    assert bool(scheduled) == (group == "schedule" and name != "constant")
    assert scheduled <= {"lr", "momentum"}
    expected = "reference" if "reference" in f"{name} {more}" else "eager"
    assert record["engine"] == expected


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_choice_mirrors_its_class(group: str, name: str) -> None:
    text = (CONF / group / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    settings = yaml.safe_load(text)
    target = settings.pop("_target_")
    if target == "???":
        assert not settings
        return
    cls = locate("_target_", target)
    declared = {field.name: field.default for field in dataclasses.fields(cls)}
    chosen = [key.partition("@")[2] for key in _chosen(settings.pop("defaults", []))]
    plain = {key: value for key, value in settings.items() if key not in chosen}
    assert [*chosen, *plain] == list(declared)
    for key, value in plain.items():
        assert re.search(rf"^{key}: .+ # \w", text, re.MULTILINE), f"{key} has no comment"
        if key == "seed":
            assert value == "${seed}"
        elif value == "${steps}":  # of a length that is the whole run where nothing else is said
            assert declared[key] is dataclasses.MISSING
        elif declared[key] is not dataclasses.MISSING and group not in ("record", "log"):
            assert (tuple(value) if isinstance(value, list) else value) == declared[key], key


def _chosen(defaults: list[Any]) -> list[str]:
    """The groups that a file's defaults list chooses from."""
    return [group for entry in defaults if isinstance(entry, dict) for group in entry]
