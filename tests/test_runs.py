"""`gradexp run`: the folder it writes, the events in it, and what a person sees."""

import hashlib
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from gradexp.analysis import distance_to_minimizer
from gradexp.config.build import recorded
from gradexp.results import identity, read_run
from gradexp.surfaces import get
from tests.conftest import Gradexp, left_behind, only_run
from tests.killing import begin, killed

CONVERGES = ("surface=himmelblau", "optimizer.lr=0.01", "optimizer.momentum=0.9", "seed=3")


def accumulated(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    return events.Reload()


def test_a_run_leaves_its_folder_and_says_what_it_came_to(gradexp: Gradexp, tmp_path: Path) -> None:
    status, out, err = gradexp("run", *CONVERGES, "init=uniform")
    assert status == 0
    folder = only_run(tmp_path)
    assert folder.relative_to(tmp_path).parts[0] == "outputs"
    files = left_behind(folder)
    assert [name for name in files if "tfevents" not in name] == [
        ".hydra",
        ".hydra/config.yaml",
        ".hydra/hydra.yaml",
        ".hydra/overrides.yaml",
        "gradexp.log",
        "run.json",
        "trace.npz",
        "trajectory.png",
    ]
    assert len([name for name in files if "tfevents" in name]) == 1

    trace, record = read_run(folder)
    assert record["outcome"] == "converged"
    assert set(record) == {
        "format", "outcome", "evidence", "metrics", "digest", "identity", "engine", "device",
        "dtype", "versions", "seconds", "theory", "dim", "minimum", "clipping",
    }  # fmt: skip
    assert {"steps", "final_loss", "best_loss", "gradient_norm", "distance"} <= set(
        record["metrics"]
    )
    assert (record["engine"], record["device"], record["dtype"]) == ("eager", "cpu", "float64")
    steps = record["metrics"]["steps"]
    assert trace["step"].tolist() == list(range(steps + 1))
    assert trace["point"].shape == (steps + 1, 2)
    assert trace["loss"][-1] == record["metrics"]["final_loss"]
    assert trace["gradient_norm"][-1] == record["metrics"]["gradient_norm"]

    state = hashlib.sha256()
    for name in sorted(trace):
        state.update(f"{name} {trace[name].dtype.str} {trace[name].shape}\n".encode())
        state.update(trace[name].tobytes())
    assert record["digest"] == state.hexdigest()

    for part in ("converged", str(steps), f"{record['metrics']['final_loss']:.6g}", "cpu"):
        assert part in out
    assert f"folder: {folder.relative_to(tmp_path)}" in out
    assert re.search(rf"tensorboard --logdir {folder.relative_to(tmp_path)}$", out, re.MULTILINE)
    assert "device: cpu" in err


def test_tensorboard_gets_the_curves_the_image_and_the_hyperparameters(
    gradexp: Gradexp, tmp_path: Path
) -> None:
    assert gradexp("run", *CONVERGES, "steps=900")[0] == 0
    folder = only_run(tmp_path)
    trace, record = read_run(folder)
    assert record["outcome"] == "converged"
    rows = len(trace["step"])
    events = accumulated(folder)
    tags = events.Tags()
    assert sorted(tags["scalars"]) == [
        "distance", "end/steps", "gradient_norm", "learning_rate", "loss", "loss_gap", "momentum",
        "steps_to_gap/0.001", "steps_to_gap/1e-06", "steps_to_gap/1e-09",
    ]  # fmt: skip
    points = torch.as_tensor(trace["point"])
    distances = distance_to_minimizer(get("himmelblau"), points)
    assert distances is not None
    curves = {
        "loss": trace["loss"],
        "loss_gap": trace["loss"],  # Himmelblau's minimum is 0
        "gradient_norm": trace["gradient_norm"],
        "distance": distances.numpy(),
        "learning_rate": np.full(rows, 0.01),
        "momentum": np.full(rows, 0.9),
    }
    for name, curve in curves.items():
        scalars = events.Scalars(name)
        assert [scalar.step for scalar in scalars] == trace["step"].tolist()
        np.testing.assert_array_equal(
            [scalar.value for scalar in scalars], curve.astype(np.float32)
        )
    for size, step in record["metrics"]["steps_to_gap"].items():
        (scalar,) = events.Scalars(f"steps_to_gap/{size}")
        assert (scalar.step, scalar.value) == (rows - 1, step)
    (image,) = events.Images("trajectory")
    assert image.encoded_image_string == (folder / "trajectory.png").read_bytes()
    assert (image.width, image.height) == (990, 462)
    settings = hyperparameters(events)
    assert settings["surface"] == "himmelblau"
    assert settings["optimizer"] == "sgd"
    assert settings["optimizer.lr"] == 0.01
    assert settings["optimizer.nesterov"] is False
    assert settings["seed"] == 3.0
    assert "None" not in settings.values()
    assert float(events.Scalars("loss")[-1].value) == pytest.approx(record["metrics"]["final_loss"])


def hyperparameters(events: EventAccumulator) -> dict[str, Any]:
    tags = events.PluginTagToContent("hparams")
    assert set(tags) == {"_hparams_/session_start_info", "_hparams_/session_end_info"}
    data = plugin_data_pb2.HParamsPluginData.FromString(tags["_hparams_/session_start_info"])
    hparams = data.session_start_info.hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in hparams.items()}


def test_long_runs_are_thinned_for_tensorboard_only(gradexp: Gradexp, tmp_path: Path) -> None:
    arguments = ("steps=2500", "optimizer.lr=1e-4", "log.trajectory=never")
    assert gradexp("run", *arguments)[0] == 0
    folder = only_run(tmp_path)
    scalars = accumulated(folder).Scalars("loss")
    steps = [scalar.step for scalar in scalars]
    assert len(steps) == 1000
    assert (steps[0], steps[-1]) == (0, 2500)
    assert set(np.diff(steps)) == {2, 3}
    assert len(read_run(folder)[0]["step"]) == 2501


def test_a_diverged_run_is_a_result_in_strict_json(gradexp: Gradexp, tmp_path: Path) -> None:
    status, out, _ = gradexp("run", "optimizer.lr=1e300")
    assert status == 0
    assert "diverged" in out

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    folder = only_run(tmp_path)
    record = json.loads((folder / "run.json").read_text(), parse_constant=refuse)
    assert record["outcome"] == "diverged"
    assert record["metrics"]["final_loss"] is None
    assert record["metrics"]["best_loss"] == pytest.approx(24.2)
    assert len(accumulated(folder).Scalars("loss")) == 1


def test_the_gap_is_to_the_minimum_and_the_rate_follows_the_schedule(
    gradexp: Gradexp, tmp_path: Path
) -> None:
    overrides = ("surface=branin", "schedule=exponential", "schedule.gamma=0.5", "steps=3")
    assert gradexp("run", *overrides, "log.trajectory=never")[0] == 0
    folder = only_run(tmp_path)
    events, (trace, _) = accumulated(folder), read_run(folder)
    gaps = [scalar.value for scalar in events.Scalars("loss_gap")]
    minimum = get("branin").minimum
    assert minimum is not None
    assert gaps == pytest.approx((trace["loss"] - float(minimum)).tolist(), rel=1e-6)
    rates = [scalar.value for scalar in events.Scalars("learning_rate")]
    assert rates == pytest.approx([1e-3, 5e-4, 2.5e-4, 1.25e-4])


def test_optimizers_and_surfaces_without_a_config_are_told_apart(
    gradexp: Gradexp, tmp_path: Path
) -> None:
    for name in ("Adam", "RMSprop"):
        target = ("optimizer=torch", f"optimizer._target_=torch.optim.{name}")
        assert (
            gradexp("run", "engine=reference", *target, "steps=2", f"hydra.run.dir={name}")[0] == 0
        )
        assert hyperparameters(accumulated(tmp_path / name))["optimizer"] == name.lower()


def test_numbers_written_in_other_ways_are_the_same_run(gradexp: Gradexp, tmp_path: Path) -> None:
    for folder, *overrides in (("a", "optimizer.momentum=0"), ("b", "surface.b=100"), ("c",)):
        arguments = (*overrides, "steps=2", "log=none", f"hydra.run.dir={folder}")
        assert gradexp("run", *arguments)[0] == 0
    records = [read_run(tmp_path / folder)[1] for folder in "abc"]
    assert len({record["identity"] for record in records}) == 1
    assert len({record["digest"] for record in records}) == 1


def test_equal_settings_give_equal_numbers_and_identities(gradexp: Gradexp, tmp_path: Path) -> None:
    arguments = ("surface=levy", "init=uniform", "noise=gaussian", "steps=50", "log=none")
    records = []
    for folder, *more in (("a", ""), ("b", "seed=0"), ("c", "seed=1"), ("d", "dtype=float32")):
        overrides = [override for override in more if override]
        assert gradexp("run", *arguments, *overrides, f"hydra.run.dir={folder}")[0] == 0
        records.append(read_run(tmp_path / folder)[1])
    same, other = records[:2], records[2:]
    for key in ("digest", "identity"):
        assert same[0][key] == same[1][key]
        assert len({record[key] for record in records}) == 1 + len(other)


def test_a_run_is_repeated_from_its_own_config(gradexp: Gradexp, tmp_path: Path) -> None:
    assert gradexp("run", *CONVERGES, "init=normal", "log=none", "hydra.run.dir=first")[0] == 0
    again = ("--config-path", "first/.hydra", "--config-name", "config", "hydra.run.dir=again")
    assert gradexp("run", *again)[0] == 0
    first, second = (read_run(tmp_path / name)[1] for name in ("first", "again"))
    assert first["digest"] == second["digest"]
    assert first["identity"] == second["identity"]


def test_a_run_of_version_0_1_0_is_repeated_to_the_bit(gradexp: Gradexp) -> None:
    """What stands in old folders, the import paths of components above all, goes on working."""
    folder = Path(__file__).parent / "data" / "run_0_1"
    assert gradexp("replay", str(folder))[:2] == (0, "identical: 60 steps\n")
    record = json.loads((folder / "run.json").read_text())
    run = recorded(folder)
    ran_by = {"engine": record["engine"], "device": record["device"]}
    assert identity({**run.decisive(), **ran_by}) == record["identity"]


def test_a_folder_that_holds_a_run_is_left_alone(gradexp: Gradexp, tmp_path: Path) -> None:
    assert gradexp("run", "steps=5", "log=none", "hydra.run.dir=here")[0] == 0
    before = (tmp_path / "here" / "run.json").read_text()
    status, _, err = gradexp("run", "steps=6", "log=none", "hydra.run.dir=here")
    assert status == 2
    assert "holds a run or a sweep already" in err
    assert (tmp_path / "here" / "run.json").read_text() == before


def has(folder: Path, pattern: str) -> bool:
    return any(folder.glob(pattern))


STAGES = [".hydra/config.yaml", "gradexp.log", "trajectory.png", "events*", "trace.npz", "run.json"]


def test_a_killed_run_never_looks_whole(tmp_path: Path) -> None:
    # Killed as soon as a file of its folder is there: what has run.json is complete. 10 s.
    command = ("run", *CONVERGES)
    run = begin(tmp_path, *command, "hydra.run.dir=whole")
    run.join()
    assert run.exitcode == 0
    expected, record = read_run(tmp_path / "whole")
    for stage in STAGES:
        attempts = 1 if stage == "run.json" else 8  # there is little time before it
        for attempt in range(attempts):
            folder = tmp_path / f"{stage.replace('/', '_')}_{attempt}"
            run = begin(tmp_path, *command, f"hydra.run.dir={folder}")
            was_killed = killed(run, partial(has, folder, stage))
            if (folder / "run.json").exists():
                trace, other = read_run(folder)
                assert other["digest"] == record["digest"]
                assert all(np.array_equal(trace[name], expected[name]) for name in expected)
                accumulated(folder).Scalars("loss")
            elif was_killed:
                break
        assert was_killed or stage == "run.json"  # after which it has little to do
        assert (folder / "run.json").exists() == (stage == "run.json")


def test_every_stage_before_the_last_leaves_a_folder_that_is_not_whole(
    gradexp: Gradexp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*args: object, **kwargs: object) -> None:
        raise Killed

    for stage in (
        "gradexp.plots.draw_trajectory",
        "gradexp.results.tensorboard.write_events",
        "gradexp.jobs.job.write_run",
        "numpy.savez",
        "gradexp.results.run_folder.digest",
        "os.replace",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(stage, die)
            with pytest.raises(Killed):
                gradexp("run", "steps=5", f"hydra.run.dir={stage}")
        assert (tmp_path / stage / ".hydra" / "config.yaml").exists()
        assert not (tmp_path / stage / "run.json").exists()


def test_sweeps_make_a_folder_per_job_and_end_in_a_table(gradexp: Gradexp, tmp_path: Path) -> None:
    status, out, _ = gradexp(
        "run", "-m", "surface=sphere,himmelblau", "optimizer.lr=0.5,0.02", "steps=30"
    )
    assert status == 0
    (sweep,) = tmp_path.glob("multirun/*/*")
    files = ["0", "1", "2", "3", "multirun.yaml", "runs.parquet", "summary", "sweep.json"]
    assert sorted(path.name for path in sweep.iterdir()) == files
    rows = [line.split() for line in out.splitlines() if re.match(r"^ +\d+ ", line)]
    for number, row in enumerate(rows):
        _, record = read_run(sweep / str(number))
        overrides = yaml.safe_load((sweep / str(number) / ".hydra/overrides.yaml").read_text())
        assert overrides[2:] == ["steps=30"]  # the same in every job, so not in the table
        figures = [str(record["metrics"]["steps"]), f"{record['metrics']['final_loss']:.6g}"]
        place = ["(0,", "0)"] if record["evidence"]["reached"] else []
        assert row == [str(number), *overrides[:2], record["outcome"], *place, *figures]
    assert len(rows) == 4


@pytest.mark.parametrize(
    ("jobs", "wish", "drawn"), [(16, "auto", 16), (17, "auto", 0), (17, "always", 17)]
)
def test_jobs_of_a_large_sweep_get_no_figure_unless_asked(
    jobs: int,
    wish: str,
    drawn: int,
    gradexp: Gradexp,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gradexp.plots.draw_trajectory", lambda *_: Figure(figsize=(1, 1)))
    sweep = ["run", "-m", f"seed=range({jobs})", "steps=2", "hydra.sweep.dir=s"]
    assert gradexp(*sweep, f"log.trajectory={wish}")[0] == 0
    assert len(list((tmp_path / "s").rglob("trajectory.png"))) == drawn


def test_a_schedule_is_recorded_and_shown(gradexp: Gradexp, tmp_path: Path) -> None:
    status, _, err = gradexp(
        "run", "surface=himmelblau", "optimizer=adam", "schedule=one_cycle", "steps=50",
        "optimizer.lr=0.2",
    )  # fmt: skip
    assert status == 0, err
    folder = only_run(tmp_path)
    trace, _ = read_run(folder)
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([parameter], lr=0.2)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=50)
    for step in range(50):
        (group,) = optimizer.param_groups
        assert trace["lr"][step] == pytest.approx(group["lr"], rel=1e-12)
        assert trace["betas[0]"][step] == pytest.approx(group["betas"][0], rel=1e-12)
        optimizer.step()
        if step < 49:
            theirs.step()
    events = accumulated(folder)
    for tag, name in (("learning_rate", "lr"), ("betas.0", "betas[0]")):
        shown = [event.value for event in events.Scalars(tag)]
        assert shown == pytest.approx(trace[name].tolist(), rel=1e-6)


def test_clipping_is_said(gradexp: Gradexp, tmp_path: Path) -> None:
    records = []
    for clip in ("none", "norm"):
        folder = f"hydra.run.dir={clip}"
        assert gradexp("run", "surface=himmelblau", f"clip={clip}", "steps=20", folder)[0] == 0
        records.append(read_run(tmp_path / clip)[1])
    assert [record["clipping"] for record in records] == [None, {"by": "by_norm", "max_norm": 1.0}]
    assert records[0]["metrics"]["path_length"] > records[1]["metrics"]["path_length"]
    assert records[1]["metrics"]["path_length"] <= 20 * 1e-3  # of steps no longer than lr


def test_a_schedule_of_two_hyperparameters_by_hydra(gradexp: Gradexp, tmp_path: Path) -> None:
    status, _, err = gradexp(
        "run", "surface=himmelblau", "optimizer.momentum=0.9", "schedule=together",
        "schedule@schedule.first=cosine", "schedule@schedule.second=step",
        "schedule.second.of=momentum", "schedule.second.step_size=10", "steps=30",
    )  # fmt: skip
    assert status == 0, err
    trace, _ = read_run(only_run(tmp_path))
    assert trace["momentum"].tolist() == pytest.approx(
        [0.9] * 10 + [0.09] * 10 + [0.009] * 10 + [9e-4]
    )
    assert trace["lr"][0] == 1e-3 > trace["lr"][29] > 0
