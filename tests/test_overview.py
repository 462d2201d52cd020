"""The TensorBoard run that sums a sweep up."""

from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

from gradexp.comparison.tensorboard_summary import write_tensorboard_summary
from gradexp.errors import UserError
from gradexp.results import read_run
from tests.conftest import Gradexp, left_behind

ARGUMENTS = ("surface=himmelblau", "init=uniform", "steps=200", "hydra.sweep.dir=s")


def events(folder: Path) -> EventAccumulator:
    guidance = {"scalars": 0, "images": 0, "tensors": 0}
    return EventAccumulator(str(folder), size_guidance=guidance).Reload()


def test_it_holds_quartiles_by_setting_and_the_figures(gradexp: Gradexp, tmp_path: Path) -> None:
    axes = ["optimizer.lr=1e-4,1e-3,1e-2", "optimizer.momentum=0,0.9", "seed=range(8)"]
    assert gradexp("run", "-m", *axes, *ARGUMENTS)[0] == 0
    found = events(tmp_path / "s" / "summary")
    tags = found.Tags()
    assert set(tags["images"]) == {"heat_map", "trajectories", "contact_sheet", "starts"}
    assert len(tags["scalars"]) == 6 * 3
    losses = []
    for number in range(8):  # the first setting's jobs: the last axis changes first
        loss = read_run(tmp_path / "s" / str(number))[0]["loss"]
        assert len(loss) == 201
        losses.append(loss)
    expected = np.quantile(
        np.stack(losses), (0.25, 0.5, 0.75), axis=0, method="averaged_inverted_cdf"
    )
    names = ("first_quartile", "median", "third_quartile")
    for name, quartile in zip(names, expected, strict=True):
        points = found.Scalars(f"lr 0.0001, momentum 0/{name}")
        assert [point.step for point in points] == list(range(201))
        assert np.array_equal([p.value for p in points], quartile.astype(np.float32))
    (layout,) = found.Tensors("custom_scalars__config__")
    (category,) = Layout.FromString(layout.tensor_proto.string_val[0]).category
    assert len(category.chart) == 1 + 6
    assert category.chart[1].margin.series[0].lower.endswith("/first_quartile")


def test_of_optimizers_it_shows_the_steps_by_learning_rate(
    gradexp: Gradexp, tmp_path: Path
) -> None:
    axes = ["optimizer=sgd,adam", "optimizer.lr=1e-3,3e-3,1e-2", "seed=1,2"]
    assert gradexp("run", "-m", *axes, *ARGUMENTS)[0] == 0
    assert "learning_rates" in events(tmp_path / "s" / "summary").Tags()["images"]


def test_a_resumed_sweep_has_one_summary_of_all_jobs(gradexp: Gradexp, tmp_path: Path) -> None:
    assert gradexp("run", "-m", "seed=range(3)", *ARGUMENTS, "optimizer.lr=1e-3")[0] == 0
    (tmp_path / "s" / "1" / "run.json").unlink()
    assert gradexp("resume", "s")[0] == 0
    (file,) = (tmp_path / "s" / "summary").iterdir()
    assert events(file).Tags()["scalars"] == [
        f"all runs/{name}" for name in ("median", "first_quartile", "third_quartile")
    ]


def test_it_is_left_out_where_it_is_not_wanted(gradexp: Gradexp, tmp_path: Path) -> None:
    for number, wish in enumerate(("sweep.summary=false", "log=none")):
        arguments = (*ARGUMENTS[:-1], f"hydra.sweep.dir={number}", wish)
        assert gradexp("run", "-m", "seed=1,2", *arguments)[0] == 0
        assert not (tmp_path / str(number) / "summary").exists()


def test_a_job_of_that_name_keeps_its_folder(gradexp: Gradexp, tmp_path: Path) -> None:
    assert gradexp("run", "-m", "seed=1,2", *ARGUMENTS, "sweep.summary=false")[0] == 0
    sweep = tmp_path / "s"
    (sweep / "1").rename(sweep / "summary")
    before = left_behind(sweep)
    with pytest.raises(UserError, match="is the folder of a run"):
        write_tensorboard_summary(sweep, 0.0)
    assert left_behind(sweep) == before


def test_what_cannot_be_summed_up_does_not_fail_the_sweep(
    gradexp: Gradexp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folders: object) -> NoReturn:
        raise OSError("the disk is full")

    monkeypatch.setattr("gradexp.comparison.tensorboard_summary.gather", refuse)
    status, out, err = gradexp("run", "-m", "seed=1,2", *ARGUMENTS)
    assert status == 0
    assert "no summary for TensorBoard: " in err
    assert "folder: s" in out
