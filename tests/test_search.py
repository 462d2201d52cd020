"""Searches: Optuna chooses the numbers, a batch at a time."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from gradexp.config import axes as spaced
from gradexp.results import read_record
from gradexp.sweeps import search
from tests.conftest import Gradexp, left_behind
from tests.test_sweeps import QUICK, state, table

optuna = pytest.importorskip("optuna", reason="it is of the extra `optuna`")

SEARCH = [
    "run", "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=12", "hydra.sweeper.n_jobs=4",
    "optimizer.lr=tag(log,interval(1e-5,1))", "hydra.sweep.dir=s", *QUICK,
]  # fmt: skip


def test_a_search_asks_for_batches_and_keeps_the_best(gradexp: Gradexp, tmp_path: Path) -> None:
    axes = ["optimizer.momentum=interval(0,0.95)", "surface=sphere,quadratic"]
    status, _, err = gradexp(*SEARCH, *axes)
    assert status == 0
    rows = table(tmp_path / "s")
    assert [row["job"] for row in rows] == list(range(12))
    assert {row["surface"] for row in rows} == {"sphere", "quadratic"}
    assert all(1e-5 <= row["optimizer.lr"] <= 1 for row in rows)
    assert all(0 <= row["optimizer.momentum"] <= 0.95 for row in rows)
    best = min(rows, key=lambda row: row["metrics.final_loss"])
    result = OmegaConf.load(tmp_path / "s" / "optimization_results.yaml")
    assert result.best_value == best["metrics.final_loss"]
    assert result.best_params == {
        key: best[key] for key in ("optimizer.lr", "optimizer.momentum", "surface")
    }
    assert f"in job {best['job']}" in err


def test_the_next_batch_learns_from_the_ones_before(gradexp: Gradexp, tmp_path: Path) -> None:
    # With so narrow a valley of good rates a search that learns draws most of its later ones there.
    many = ["hydra.sweeper.n_trials=60", "hydra.sweeper.n_jobs=10", "surface=sphere", "init=point"]
    assert gradexp(*SEARCH, *many, "init.point=[1,1]")[0] == 0
    away = [abs(math.log10(row["optimizer.lr"] / 0.5)) for row in table(tmp_path / "s")]
    assert sum(d < 0.5 for d in away[40:]) > 2 * sum(d < 0.5 for d in away[:20])


def test_a_search_goes_on_where_it_was_interrupted(
    gradexp: Gradexp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradexp.results import write_run

    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    assert gradexp(*SEARCH)[0] == 0
    monkeypatch.chdir(tmp_path / "broken")
    written: list[Path] = []

    def write(*args: Any) -> None:
        if len(written) == 6:
            raise KeyboardInterrupt
        write_run(*args)
        written.append(args[0])

    with monkeypatch.context() as patch:
        patch.setattr("gradexp.jobs.job.write_run", write)
        assert gradexp(*SEARCH)[0] == 130
    assert gradexp("resume", "s")[0] == 0
    assert state(tmp_path / "broken" / "s") == state(tmp_path / "whole" / "s")


@pytest.mark.parametrize("sampler", ["tpe", "gp", "qmc", "random"])
def test_samplers(sampler: str, gradexp: Gradexp, tmp_path: Path) -> None:
    axes = ["optimizer.momentum=interval(0,0.95)", f"hydra.sweeper.sampler={sampler}"]
    assert gradexp(*SEARCH, *axes)[0] == 0
    assert len({row["optimizer.lr"] for row in table(tmp_path / "s")}) == 12


def test_a_search_of_more_than_sixteen_jobs_draws_no_figures(
    gradexp: Gradexp, tmp_path: Path
) -> None:
    assert gradexp(*SEARCH, "log=standard", "hydra.sweeper.n_trials=17")[0] == 0
    assert len(list(tmp_path.rglob("run.json"))) == 17
    assert not list(tmp_path.rglob("trajectory.png"))


def test_what_fails_or_is_never_reached_is_no_best(gradexp: Gradexp, tmp_path: Path) -> None:
    steps = "hydra.sweeper.metric=steps_to_gap.1e-06"
    axes = ["optimizer.momentum=choice(0,0.5,-1)", "surface=sphere", "record=metrics"]
    assert gradexp(*SEARCH, *axes, steps)[0] == 1
    rows = table(tmp_path / "s")
    assert {row["outcome"] for row in rows} > {"failed"}
    reached = [row["metrics.steps_to_gap.1e-06"] for row in rows]
    result = OmegaConf.load(tmp_path / "s" / "optimization_results.yaml")
    assert result.best_value == min(step for step in reached if step is not None)


def test_a_run_that_diverged_is_no_best_however_low_it_got() -> None:
    ended = {"budget": 2.0, "diverged": -1e30}
    for word, loss in ended.items():
        result = SimpleNamespace(metrics={"final_loss": loss}, outcome=word)
        worst = {"minimize": math.inf, "maximize": -math.inf}
        for direction, lost in worst.items():
            found = search._value(result, "final_loss", direction)
            assert found == (lost if word == "diverged" else loss)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["optimizer.lr=0.1"], "hydra/sweeper=optuna: needs an axis to search, such as"),
        (["hydra.sweeper.sampler=tep"], "hydra.sweeper.sampler=tep: no such sampler; did you mean"),
        (["hydra.sweeper.sampler=cmaes"], "hydra.sweeper.sampler=cmaes: needs no_such_module: pip"),
        (["hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0: must be a whole number, at"),
        (["hydra.sweeper.n_jobs=1.5"], "hydra.sweeper.n_jobs=1.5: must be a whole number, at"),
        (["hydra.sweeper.direction=up"], "hydra.sweeper.direction=up: must be minimize or max"),
        (["optimizer.lr=tag(log,interval(0,1))"], "optimizer.lr=tag(log,interval(0,1)): "),
        (["optimizer.lr=range(3,3)"], "optimizer.lr=range(3,3): has no values"),
        (["optimizer.momentum=-1"], "optimizer.momentum=-1: must be a number in [0, 1)"),
    ],
)
def test_mistakes(
    arguments: list[str],
    part: str,
    gradexp: Gradexp,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(search._SAMPLERS, "cmaes", ("CmaEsSampler", "no_such_module", {}))
    status, _, err = gradexp(*SEARCH, *arguments)
    assert status == 2
    assert part in err
    assert len(err.splitlines()) == 1
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("metric", ["loss", "steps_to_gap", "steps_to_gap.0.5"])
def test_an_unknown_metric_is_a_mistake(metric: str, gradexp: Gradexp, tmp_path: Path) -> None:
    status, _, err = gradexp(*SEARCH, f"hydra.sweeper.metric={metric}")
    assert status == 2
    assert f"hydra.sweeper.metric={metric}: no such metric; " in err
    assert read_record(tmp_path / "s" / "0")["metrics"]["final_loss"] > 0


@pytest.mark.parametrize(
    ("axis", "distribution"),
    [
        ("interval(1,3)", "FloatDistribution(1.0, 3.0)"),
        ("int(interval(1,3))", "IntDistribution(1, 3)"),
        ("tag(log,interval(1e-3,1))", "FloatDistribution(1e-3, 1.0, log=True)"),
        ("tag(log,int(interval(1,100)))", "IntDistribution(1, 100, log=True)"),
        ("range(1,8,3)", "IntDistribution(1, 7, step=3)"),
        ("range(7,0,-3)", "IntDistribution(1, 7, step=3)"),
        ("range(0.0,1.0,0.25)", "FloatDistribution(0.0, 0.75, step=0.25)"),
        ("choice(a,b)", "CategoricalDistribution(['a', 'b'])"),
        ("1,2.5", "CategoricalDistribution(['1', '2.5'])"),
        ("logspace(0,1,2)", "CategoricalDistribution(['1.0', '10.0'])"),
    ],
)
def test_axes(axis: str, distribution: str) -> None:
    spaced.register()
    (override,) = OverridesParser.create().parse_overrides([f"key={axis}"])
    expected = eval(distribution, vars(optuna.distributions))
    assert search._distribution(override) == expected
