"""Sweeps over the choices of a group, with keys that not every choice has."""

import json
from pathlib import Path

import pytest
import yaml

from tests.conftest import Gradexp


@pytest.mark.parametrize(
    ("axis", "key"),
    [
        ("optimizer=adam,adamw", "optimizer.eps=1e-06"),
        pytest.param("optimizer=adam,lion", "optimizer.betas=[0.8,0.9]", marks=pytest.mark.slow),
        ("optimizer=adam,lion", "optimizer.betas.0=0.8"),
        pytest.param(
            "schedule=multi_step,piecewise", "schedule.milestones=[2]", marks=pytest.mark.slow
        ),
        pytest.param("noise=gaussian,student_t", "noise.relative=0.1", marks=pytest.mark.slow),
        ("optimizer=torch", "+optimizer.lr=0.1,0.2"),
    ],
)
def test_a_key_that_the_default_choice_has_not(
    axis: str, key: str, gradexp: Gradexp, tmp_path: Path
) -> None:
    torch = ["engine=reference", "optimizer._target_=torch.optim.Adam"]
    others = ["steps=5", "log=none", *(torch if axis == "optimizer=torch" else [])]
    assert gradexp("run", "-m", key, axis, *others, "hydra.sweep.dir=s")[0] == 0
    first = [f"{name}={values.split(',')[0]}" for name, values in (axis.split("="),)]
    given = key.split(",")[0] if "[" not in key else key
    assert gradexp("run", *first, given, *others, "hydra.run.dir=r")[0] == 0
    digests = [
        json.loads((tmp_path / run / "run.json").read_text())["digest"] for run in ("s/0", "r")
    ]
    assert digests[0] == digests[1]
    told = yaml.safe_load((tmp_path / "s/0/.hydra/overrides.yaml").read_text())
    assert told == [given, *first, *others]
    assert gradexp("replay", "s/1")[0] == 0
    (tmp_path / "s/1/run.json").unlink()
    assert gradexp("resume", "s")[0] == 0
    assert (tmp_path / "s/1/run.json").exists()


def test_a_key_that_one_of_the_choices_has_not(gradexp: Gradexp, tmp_path: Path) -> None:
    status, _, err = gradexp("run", "-m", "optimizer=sgd,adam", "optimizer.nesterov=true")
    assert status == 2
    assert err.startswith("gradexp: optimizer.nesterov=True: no such key in optimizer=adam;")
    assert not list(tmp_path.iterdir())
