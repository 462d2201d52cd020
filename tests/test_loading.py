"""`gradexp.load`: what sweeps and runs left, as tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import gradexp as package
from gradexp.errors import UserError
from gradexp.results import read_run
from tests.conftest import Gradexp

ARGUMENTS = ("surface=himmelblau", "steps=40", "log=none", "hydra.sweep.dir=s")


def test_a_grid_has_the_swept_keys_as_dimensions(gradexp: Gradexp, tmp_path: Path) -> None:
    axes = ["optimizer.lr=0.001,0.01", "optimizer.momentum=0,0.5,0.9", "seed=1,2", "init=uniform"]
    assert gradexp("run", "-m", *axes, *ARGUMENTS)[0] == 0
    runs, traces = package.load(tmp_path / "s")
    assert len(runs) == 12
    assert dict(traces.loss.sizes) == {
        "optimizer.lr": 2, "optimizer.momentum": 3, "seed": 2, "step": 41,
    }  # fmt: skip
    assert traces.point.dims[-2:] == ("step", "coordinate")
    for _, run in runs.iterrows():
        trace, record = read_run(tmp_path / "s" / run["folder"])
        chosen = {key: run[key] for key in ("optimizer.lr", "optimizer.momentum", "seed")}
        one = traces.sel(chosen)
        last = len(trace["step"])
        for name in ("loss", "gradient_norm", "point"):
            assert np.array_equal(one[name].to_numpy()[:last], trace[name])
            assert np.isnan(one[name].to_numpy()[last:]).all()
        assert run["metrics.final_loss"] == record["metrics"]["final_loss"]
    # The example of the documentation.
    lines = traces.loss.sel({"optimizer.lr": 0.01, "seed": 1}).plot.line(x="step", yscale="log")
    assert len(lines) == 3


def test_other_sweeps_have_jobs_that_can_be_selected_by_their_keys(
    gradexp: Gradexp, tmp_path: Path
) -> None:
    axes = ["optimizer.lr=zip(0.001,0.01,0.01,-1)", "seed=zip(1,2,3,4)", "init=uniform"]
    assert gradexp("run", "-m", *axes, *ARGUMENTS, "record.points=6")[0] == 1
    runs, traces = package.load(str(tmp_path / "s"))
    assert runs["outcome"].tolist()[-1] == "failed"
    assert traces.loss.dims == ("job", "step")
    assert traces.step.to_numpy().tolist() == [0, 8, 16, 24, 32, 40]
    assert traces.loss.sel({"optimizer.lr": 0.01}).sizes == {"job": 2, "step": 6}
    assert np.isnan(traces.loss.sel(seed=4)).all()
    expected = read_run(tmp_path / "s" / "1")[0]["loss"]
    found = traces.loss.sel(seed=2).to_numpy()
    assert np.array_equal(found[:4], expected[:4])
    assert len(expected) == 5  # it ended between two recorded steps, which the others do not have
    assert np.isnan(found[4:]).all()


def test_runs_that_the_table_lacks_are_read_from_their_folders(
    gradexp: Gradexp, tmp_path: Path
) -> None:
    axes = ["optimizer.lr=0.001,0.01", "seed=1,2", "init=uniform"]
    assert gradexp("run", "-m", *axes, *ARGUMENTS)[0] == 0
    table = tmp_path / "s" / "runs.parquet"
    whole = package.load("s").runs
    whole.head(2).to_parquet(table)
    pd.testing.assert_frame_equal(package.load("s").runs, whole, check_like=True)
    table.unlink()
    pd.testing.assert_frame_equal(package.load("s").runs, whole, check_like=True)


def test_a_missing_value_is_no_place_on_an_axis(gradexp: Gradexp) -> None:
    axes = ["init=normal", "init.center=null,[0,1]", "optimizer.lr=0.001,0.01"]
    assert gradexp("run", "-m", *axes, *ARGUMENTS)[0] == 0
    traces = package.load("s").traces
    assert traces.sizes["job"] == 4
    assert not np.isnan(traces.loss[:, 0]).any()


def test_runs_recorded_at_different_steps_keep_all_of_them() -> None:
    from gradexp.results.loading import _grid

    fine, rough = np.arange(101), np.array([*range(0, 1000, 100), 950])
    assert _grid([fine, rough]).tolist() == [*range(101), *range(200, 1000, 100)]
    assert _grid([rough]).tolist() == rough.tolist()


def test_what_was_not_recorded_is_not_there(gradexp: Gradexp, tmp_path: Path) -> None:
    assert gradexp("run", "-m", "seed=1,2", "record=loss", *ARGUMENTS)[0] == 0
    assert set(package.load("s").traces) == {"loss"}
    arguments = [*ARGUMENTS[:-1], "hydra.sweep.dir=m", "record=metrics"]
    assert gradexp("run", "-m", "seed=1,2", *arguments)[0] == 0
    assert not set(package.load("m").traces)
    assert package.load("m").runs["metrics.rate"].isna().all()


def test_surfaces_of_different_dimension(gradexp: Gradexp, tmp_path: Path) -> None:
    axes = ["surface.dim=2,5", "surface=rosenbrock"]
    assert gradexp("run", "-m", *axes, *ARGUMENTS[1:], "optimizer.lr=1e-4")[0] == 0
    point = package.load("s").traces.point
    assert point.sizes == {"surface.dim": 2, "step": 41, "coordinate": 5}
    assert np.isnan(point.sel({"surface.dim": 2})[:, 2:]).all()
    assert not np.isnan(point.sel({"surface.dim": 5})).any()


def test_one_run(gradexp: Gradexp, tmp_path: Path) -> None:
    arguments = ["optimizer.lr=1e-3", "steps=1000", "record.points=11", "hydra.run.dir=r"]
    assert gradexp("run", *arguments, "surface=sphere", "init.point=[1,2]", "init=point")[0] == 0
    runs, traces = package.load("r")
    assert runs["optimizer.lr"].tolist() == [0.001]
    assert runs["init.point"].tolist() == ["[1, 2]"]
    assert traces.loss.shape == (1, 11)


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        package.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="neither a sweep nor a run"):
        package.load(tmp_path)


def test_late_runs_are_found_by_any_name_in_a_sweep_and_nowhere_else(
    gradexp: Gradexp, tmp_path: Path
) -> None:
    """Costs 1 s."""
    named = "hydra.sweep.subdir=lr/${hydra.job.override_dirname}"
    axes = ("optimizer.lr=0.001,0.01", named, *ARGUMENTS)
    assert gradexp("run", "-m", *axes)[0] == 0
    known = package.load(tmp_path / "s").runs
    (tmp_path / "s" / "runs.parquet").unlink()  # as of a sweep that was killed early
    late = package.load(tmp_path / "s").runs
    assert late["folder"].tolist() == known["folder"].tolist()
    assert late["metrics.final_loss"].tolist() == known["metrics.final_loss"].tolist()
    with pytest.raises(UserError, match="holds neither a sweep nor a run"):
        package.load(tmp_path)
