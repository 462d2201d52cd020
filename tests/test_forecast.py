"""``--dry-run``: what a sweep would take, beside what it takes."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradexp.cli import terminal
from gradexp.experiment import Experiment
from gradexp.jobs import batches
from gradexp.sweeps import forecast as sweeps_forecast
from gradexp.sweeps.forecast import Batch, Forecast
from tests.conftest import Gradexp, left_behind

QUICK = ("record=metrics", "log=none", "steps=50")

DryRun = Callable[..., tuple[int, Forecast | None, str]]


@pytest.fixture
def dry_run(
    gradexp: Gradexp,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> DryRun:
    """``gradexp run --dry-run``: gives exit status, forecast, and output and errors."""
    scratch = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    told: list[Forecast] = []
    show = terminal.show_forecast

    def shown(forecast: Forecast) -> None:
        told.append(forecast)
        show(forecast)

    monkeypatch.setattr(terminal, "show_forecast", shown)

    def run(*arguments: str) -> tuple[int, Forecast | None, str]:
        told.clear()
        before = left_behind(tmp_path)
        status, out, err = gradexp("run", "--dry-run", *arguments)
        assert "Traceback" not in err
        assert left_behind(tmp_path) == before
        assert not list(scratch.glob("gradexp-*"))
        return status, told[0] if told else None, out + err

    return run


def test_it_foresees_the_batches(
    dry_run: DryRun, gradexp: Gradexp, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Batch] = []
    traced = batches._traced

    def watched(runs: list[Experiment], *others: Any) -> Any:
        found = traced(runs, *others)
        made.append(Batch(len(runs), runs[0].steps, found.trace.engine))
        return found

    monkeypatch.setattr(batches, "_MOST_RUNS", 7)
    sweep = ("-m", *QUICK, "optimizer.lr=linspace(1e-4,1e-3,9)", "surface=rosenbrock,beale")
    status, told, out = dry_run(*sweep)
    assert told is not None
    monkeypatch.setattr(batches, "_traced", watched)
    assert (status, gradexp("run", *sweep)[0]) == (0, 0)
    assert told.jobs == 18
    assert told.batches == made
    assert "4 runs of 50 steps, eager" in out


@pytest.mark.parametrize(
    "choices",
    [
        ("record=trace", "steps=3000", "log=standard"),  # cut short
        pytest.param(
            ("record=trace", "steps=300", "log=standard", "log.trajectory=always"),
            marks=pytest.mark.slow,
        ),
        ("record=metrics", "steps=300", "log=none"),
    ],
    ids=" ".join,
)
def test_it_foresees_the_room_on_the_disk(
    choices: tuple[str, ...], dry_run: DryRun, gradexp: Gradexp, tmp_path: Path
) -> None:
    sweep = ("-m", *choices, "optimizer.lr=1e-6,2e-6,3e-6,4e-6", "hydra.sweep.dir=out")
    _, told, _ = dry_run(*sweep)
    assert told is not None
    assert gradexp("run", *sweep)[0] == 0
    jobs = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    inside = [path for job in jobs for path in (job, *job.rglob("*"))]
    took = sum(path.stat().st_blocks * 512 for path in inside) / len(jobs)
    assert told.room == pytest.approx(took, rel=0.15)
    status, again, out = dry_run(*sweep)
    assert (status, again) == (2, None)
    assert "holds a run or a sweep already" in out


def test_large_jobs_are_tried_for_few_steps(
    dry_run: DryRun, gradexp: Gradexp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    traced = batches._traced

    def watched(runs: list[Experiment], *others: Any) -> Any:
        made.append(max(run.steps for run in runs))
        return traced(runs, *others)

    monkeypatch.setattr(batches, "_traced", watched)
    monkeypatch.setattr(sweeps_forecast, "_BYTES", 2**20)
    large = ("surface=quadratic", "surface.dim=100", "steps=2000", "optimizer.lr=1e-6")
    _, told, _ = dry_run("-m", *large, "log=none")
    assert told is not None
    assert set(made) == {250}  # three of them make traces of 0.6 MB
    assert told.batches == [Batch(1, 2000, "eager")]
    assert gradexp("run", *large, "log=none", "hydra.run.dir=out")[0] == 0
    took = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*"))
    assert told.room == pytest.approx(took, rel=0.15)


def test_it_foresees_what_fails(dry_run: DryRun, gradexp: Gradexp, tmp_path: Path) -> None:
    sweep = ("-m", *QUICK, "optimizer.lr=1e-3,-1,1e-4", "hydra.sweep.dir=out")
    status, told, out = dry_run(*sweep)
    assert told is not None
    assert gradexp("run", *sweep)[0] == status == 1
    reason = json.loads((tmp_path / "out/1/failure.json").read_text())["reason"]
    assert told.failures == {1: reason}
    assert f"job 1 would fail: {reason}" in out
    status, told, out = dry_run("-m", "optimizer.lr=-1,-2")
    assert (status, told, out.count("\n")) == (2, None, 1)


def test_time_is_that_of_the_steps_and_of_the_files(dry_run: DryRun) -> None:
    lasting = ("-m", "record=metrics", "log=none", "optimizer.lr=1e-6,2e-6")
    _, few, _ = dry_run(*lasting, "steps=100")
    _, many, out = dry_run(*lasting, "steps=1000000000")
    assert few is not None
    assert many is not None
    assert few.batches == [Batch(2, 100, "eager")]
    assert many.batches == [Batch(2, 1_000_000_000, "compiled")]
    assert few.steps < 1 < 3600 < many.steps
    assert few.besides is not None
    assert 0 < few.besides < 1
    assert " where none ends early, " in out


def test_the_reference_engine_has_batches_too(dry_run: DryRun) -> None:
    _, reference, _ = dry_run("-m", *QUICK, "engine=reference", "optimizer.lr=1e-3,1e-4")
    assert reference is not None
    assert reference.batches == [Batch(2, 50, "reference")]
    assert reference.besides is not None


def test_what_is_not_vectorized(dry_run: DryRun) -> None:
    _, elsewhere, out = dry_run("-m", *QUICK, "hydra/launcher=basic", "optimizer.lr=1e-3,1e-4")
    assert elsewhere is not None
    assert elsewhere.batches == [Batch(1, 50, "eager")] * 2
    assert elsewhere.besides is None
    assert "not known for this launcher" in out


def test_one_run(dry_run: DryRun) -> None:
    status, told, _ = dry_run(*QUICK)
    assert told is not None
    assert (status, told.jobs, told.batches) == (0, 1, [Batch(1, 50, "eager")])
    assert dry_run("optimizer.lr=-1")[0] == 2
    assert dry_run("optimizer.lr=1,2")[0] == 2


def test_a_search(dry_run: DryRun) -> None:
    pytest.importorskip("optuna", reason="of an optional extra")
    search = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=30", "hydra.sweeper.n_jobs=5")
    _, told, _ = dry_run("-m", *QUICK, *search, "optimizer.lr=interval(1e-5,1e-4)")
    assert told is not None
    assert (told.jobs, told.batches) == (30, [Batch(5, 50, "eager")] * 6)
