"""What is too large is refused within seconds, before anything is made; what can be done works."""

import time
from pathlib import Path

import pytest

from gradexp.results import read_record
from tests.conftest import Gradexp, left_behind

LARGE = [
    (["-m", "seed=range(0,1000000000)"], "seed=range(0,1000000000): has 1,000,000,000 values"),
    (["-m", "optimizer.lr=range(0,1,1e-12)"], "has 1,000,000,000,000 values"),
    (["-m", "optimizer.lr=linspace(0,1,1000000000)"], "at most 100,000"),
    (["-m", "optimizer.lr=logspace(0,1,1000000)"], "at most 100,000"),
    (["-m", "optimizer.lr=range(0,inf)"], "must have finite ends"),
    (["-m", "optimizer.lr=range(0,1,0)"], "a step that is not 0"),
    (["-m", "seed=range(1000)", "optimizer.lr=linspace(1,2,1000)"], "make 1,000,000 jobs"),
    (
        ["-m", "seed=zip(range(0,400))", "init.point=zip(range(0,400))", "steps=range(1,401)"],
        "make 160,000 jobs",  # the paired ones count once
    ),
    (["-m", "seed=range(1000000000)", "--dry-run"], "has 1,000,000,000 values"),
    (["-m", "seed=range(1000000000)", "hydra/sweeper=optuna"], "has 1,000,000,000 values"),
    (["surface=sphere", "surface.dim=1000000", "steps=100000", "engine.compile=never"], "GB"),
    (["steps=2147483646", "record.points=2147483646"], "GB"),
]


@pytest.mark.parametrize(("arguments", "part"), LARGE, ids=lambda value: str(value))
def test_what_is_too_large(
    arguments: list[str], part: str, gradexp: Gradexp, tmp_path: Path
) -> None:
    began = time.monotonic()
    status, _, err = gradexp("run", *arguments)
    assert time.monotonic() - began < 20
    assert status == 2
    assert err.splitlines()[-1].startswith("gradexp: ")
    assert part in err
    assert not any(name.endswith((".json", ".npz")) for name in left_behind(tmp_path))


def test_as_many_jobs_as_are_allowed_are_axes(gradexp: Gradexp) -> None:
    axes = ["optimizer.lr=zip(linspace(1e-4,1e-3,3))", "seed=zip(1,2,3)"]
    assert gradexp("run", "-m", *axes, "steps=3", "log=none")[0] == 0


@pytest.mark.parametrize(
    "dim", [100_000, pytest.param(1_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
@pytest.mark.parametrize("surface", ["sphere", "quadratic"])
def test_many_dimensions_work_where_points_are_not_recorded(
    surface: str, dim: int, gradexp: Gradexp, tmp_path: Path
) -> None:
    # 3 s; of a million 30 s and 6 GB
    chosen = [f"surface={surface}", f"surface.dim={dim}", "record=metrics", "log=none"]
    status, _, err = gradexp("run", *chosen, "steps=5", "optimizer.lr=0.1", "hydra.run.dir=r")
    assert status == 0, err
    metrics = read_record(tmp_path / "r")["metrics"]
    assert metrics["steps"] == 5
    assert 0 < metrics["final_loss"] < metrics["loss_gap"] * 1.01
