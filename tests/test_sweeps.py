"""Sweeps: the same numbers by every launcher; jobs fail alone; what is interrupted goes on."""

import importlib.util
import itertools
import json
import os
import random
import re
import shutil
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import torch

from gradexp.jobs import batches
from gradexp.results import is_whole, read_record, read_run
from tests.conftest import Gradexp, in_tiers, left_behind
from tests.killing import begin, killed, output

GRID = ["optimizer.lr=1e-4,1e-3,1e-2", "surface=rosenbrock,himmelblau", "seed=1,2"]
QUICK = ["init=uniform", "steps=60", "log=none"]


def table(sweep: Path) -> list[dict[str, Any]]:
    """The rows of a sweep's table."""
    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(sweep / "runs.parquet").to_pylist()
    return rows


def digests(sweep: Path) -> dict[str, str]:
    """The digest of each run, by its folder."""
    records = sorted(sweep.rglob("run.json"))
    return {
        str(path.parent.relative_to(sweep)): read_record(path.parent)["digest"] for path in records
    }


def state(sweep: Path) -> dict[str, Any]:
    """All that a sweep's folder holds, but for time stamps and where it is."""
    found: dict[str, Any] = {}
    for path in sorted(sweep.rglob("*")):
        name = re.sub(r"tfevents\..*", "tfevents", str(path.relative_to(sweep)))
        assert name not in found, f"two of {name}"
        if path.name == "run.json":
            found[name] = {**json.loads(path.read_text()), "seconds": None}
        elif path.name == "trace.npz":
            found[name] = {key: array.tobytes() for key, array in np.load(path).items()}
        elif path.name == "runs.parquet":
            found[name] = [{**row, "run.seconds": None} for row in table(sweep)]
        elif path.suffix == ".yaml" or path.name == "failure.json":
            found[name] = path.read_text().replace(str(sweep.parent), "HERE")
        else:
            found[name] = path.is_dir()
    return found


def test_a_job_of_a_sweep_is_the_run_alone(gradexp: Gradexp, tmp_path: Path) -> None:
    assert gradexp("run", "-m", *GRID, *QUICK, "hydra.sweep.dir=s")[0] == 0
    overrides = ["optimizer.lr=1e-3", "surface=himmelblau", "seed=2"]
    assert gradexp("run", *overrides, *QUICK, "hydra.run.dir=r")[0] == 0
    job, alone = read_record(tmp_path / "s" / "7"), read_record(tmp_path / "r")
    for name in ("digest", "identity", "metrics", "evidence", "engine"):
        assert job[name] == alone[name]
    assert (tmp_path / "s/7/.hydra/config.yaml").read_text() == (
        tmp_path / "r/.hydra/config.yaml"
    ).read_text()


def test_jobs_of_one_structure_are_one_batch(
    gradexp: Gradexp, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def counted(runs: list[Any], *rest: Any) -> Any:
        sizes.append(len(runs))
        return traced(runs, *rest)

    traced = batches._traced
    monkeypatch.setattr(batches, "_traced", counted)
    axes = ["surface=sphere,himmelblau", "seed=1,2", "optimizer.lr=1e-3,1e-2"]
    axes += ["log.tensorboard=true,false", "sweep.fail_fast=false", "log.trajectory=never"]
    status, _, err = gradexp("run", "-m", *axes, "init=uniform", "steps=9")
    assert status == 0
    assert sizes == [8, 8]
    assert "one by one" not in err


def test_whether_a_job_is_compiled_depends_on_it_alone(gradexp: Gradexp, tmp_path: Path) -> None:
    arguments = ["surface=sphere", "optimizer.lr=1e-6", "log=none", "record=metrics"]
    steps = ["steps=1000", "steps=100000"]
    assert (
        gradexp("run", "-m", "steps=1000,100000", "seed=1,2", *arguments, "hydra.sweep.dir=s")[0]
        == 0
    )
    for index, chosen in enumerate(steps):
        assert gradexp("run", chosen, "seed=1", *arguments, f"hydra.run.dir=r{index}")[0] == 0
        job, alone = (
            read_record(tmp_path / "s" / str(2 * index)),
            read_record(tmp_path / f"r{index}"),
        )
        assert job["engine"] == alone["engine"] == ("eager", "compiled")[index]
        assert job["digest"] == alone["digest"]


@pytest.mark.parametrize(
    "launcher", in_tiers(["basic", "joblib", "submitit_local"], ["basic", "joblib"].__contains__)
)
def test_every_launcher_gives_the_same_numbers(
    launcher: str, gradexp: Gradexp, tmp_path: Path
) -> None:
    plugin = f"hydra_plugins.hydra_{launcher.removesuffix('_local')}_launcher"
    if launcher != "basic" and importlib.util.find_spec(plugin) is None:
        pytest.skip(f"{plugin} is not installed: it is of the extra `launchers`")
    grid = ["surface=rosenbrock", "optimizer.lr=1e-3,-1", *QUICK]  # a process a job: 5 s
    assert gradexp("run", "-m", *grid, "hydra.sweep.dir=ours")[0] == 1
    status, out, _ = gradexp(
        "run", "-m", *grid, "hydra.sweep.dir=theirs", f"hydra/launcher={launcher}"
    )
    assert status == 1
    assert "job 1 failed: optimizer.lr=-1: must be" in out
    assert digests(tmp_path / "ours") == digests(tmp_path / "theirs")
    assert len(digests(tmp_path / "ours")) == 1
    ours, theirs = table(tmp_path / "ours"), table(tmp_path / "theirs")
    assert [{**row, "run.seconds": 0} for row in ours] == [
        {**row, "run.seconds": 0} for row in theirs
    ]


def test_the_table_has_a_row_a_job(gradexp: Gradexp, tmp_path: Path) -> None:
    arguments = ["optimizer.lr=1e-3,-1", "init=point", "init.point=[1,2],[1,1]"]
    assert gradexp("run", "-m", *arguments, "steps=10", "log=none", "hydra.sweep.dir=s")[0] == 1
    rows = table(tmp_path / "s")
    assert [row["job"] for row in rows] == [0, 1, 2, 3]
    assert [row["folder"] for row in rows] == ["0", "1", "2", "3"]
    assert [row["optimizer.lr"] for row in rows] == [1e-3, 1e-3, -1, -1]
    assert [row["init.point"] for row in rows] == ["[1, 2]", "[1, 1]"] * 2
    assert [row["init"] for row in rows] == ["point"] * 4
    assert [row["steps"] for row in rows] == [10] * 4
    assert [row["outcome"] for row in rows] == ["budget", "converged", "failed", "failed"]
    assert rows[2]["failure"] == "optimizer.lr=-1: must be a number in (0, ∞)"
    assert rows[0]["failure"] is None
    record = read_record(tmp_path / "s" / "0")
    assert rows[0]["metrics.final_loss"] == record["metrics"]["final_loss"]
    assert rows[0]["metrics.steps"] == record["metrics"]["steps"]
    assert rows[0]["metrics.steps_to_gap.0.001"] is None
    assert rows[0]["run.digest"] == record["digest"]


def test_failing_jobs_fail_alone(gradexp: Gradexp, tmp_path: Path) -> None:
    starts = "init.point=[1,2],[1,2,3],[0,0]"
    status, out, err = gradexp(
        "run", "-m", "init=point", starts, "steps=10", "log=none", "hydra.sweep.dir=s"
    )
    assert status == 1
    assert [is_whole(tmp_path / "s" / str(job)) for job in range(3)] == [True, False, True]
    reason = json.loads((tmp_path / "s/1/failure.json").read_text())["reason"]
    assert reason.startswith("init.point=[1.0, 2.0, 3.0]: must have 2 coordinates")
    assert f"job 1 failed: {reason}" in out
    assert "Traceback" not in err
    assert "Error executing" not in err


def test_a_sweep_stops_at_the_first_failure_where_it_is_told_to(
    gradexp: Gradexp, tmp_path: Path
) -> None:
    lrs = "optimizer.lr=1e-3,-1,1e-2"
    status, out, _ = gradexp("run", "-m", lrs, "sweep.fail_fast=true", *QUICK, "hydra.sweep.dir=s")
    assert status == 1
    assert "job 1 failed" in out
    assert not (tmp_path / "s" / "2").exists()


def test_a_sweep_whose_jobs_all_fail_is_a_mistake(gradexp: Gradexp, tmp_path: Path) -> None:
    status, _, err = gradexp("run", "-m", "optimizer.lr=-1,-2", *QUICK)
    assert status == 2
    assert err == "gradexp: optimizer.lr=-1: must be a number in (0, ∞)\n"
    assert left_behind(tmp_path) == []


def test_a_batch_of_a_grid_may_fail_whole(gradexp: Gradexp, tmp_path: Path) -> None:
    cut = "hydra.sweeper.max_batch_size=1"
    status, out, _ = gradexp("run", "-m", "optimizer.lr=-1,1e-3", cut, *QUICK, "hydra.sweep.dir=s")
    assert status == 1
    assert "job 0 failed: optimizer.lr=-1" in out
    assert is_whole(tmp_path / "s" / "1")


def test_jobs_that_would_share_a_folder_are_refused(gradexp: Gradexp, tmp_path: Path) -> None:
    status, _, err = gradexp(
        "run", "-m", "seed=1,2", "optimizer.lr=0.1,0.2", "hydra.sweep.subdir=${seed}"
    )
    assert status == 2
    assert "hydra.sweep.subdir=1: must differ from job to job" in err
    assert left_behind(tmp_path) == []


def test_subfolders_are_named_as_hydra_names_them(gradexp: Gradexp, tmp_path: Path) -> None:
    subdir = "hydra.sweep.subdir=${surface.dim}/${hydra.job.override_dirname}"
    assert (
        gradexp("run", "-m", "seed=1,2", "log=none", "steps=3", subdir, "hydra.sweep.dir=s")[0] == 0
    )
    folders = sorted(digests(tmp_path / "s"))
    assert folders == ["2/log=none,seed=1,steps=3", "2/log=none,seed=2,steps=3"]


def test_spaced_and_paired_axes(gradexp: Gradexp, tmp_path: Path) -> None:
    axes = ["optimizer.lr=zip(logspace(-4,-2,3))", "optimizer.momentum=zip(0.9,0.5,0)", "seed=1,2"]
    assert gradexp("run", "-m", *axes, *QUICK, "hydra.sweep.dir=s")[0] == 0
    rows = table(tmp_path / "s")
    pairs = [(row["optimizer.lr"], row["optimizer.momentum"]) for row in rows]
    assert pairs == [(1e-4, 0.9)] * 2 + [(1e-3, 0.5)] * 2 + [(1e-2, 0.0)] * 2
    status, _, err = gradexp("run", "-m", "optimizer.lr=zip(1,2)", "steps=zip(1,2,3)")
    assert status == 2
    assert "optimizer.lr has 2 values, steps has 3 values" in err


class Killed(BaseException):
    """What ends the program at once."""


def test_a_sweep_goes_on_where_it_was_interrupted(
    gradexp: Gradexp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["run", "-m", *GRID, "init=uniform", "steps=30", "log.trajectory=never"]
    command += ["hydra.sweep.dir=s"]
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    assert gradexp(*command)[0] == 0
    monkeypatch.chdir(tmp_path / "broken")
    from gradexp.results import write_run

    written: list[Path] = []

    def write(*args: Any) -> None:
        if len(written) == 5:
            raise KeyboardInterrupt
        write_run(*args)
        written.append(args[0])

    with monkeypatch.context() as patch:
        patch.setattr("gradexp.jobs.job.write_run", write)
        status, _, err = gradexp(*command)
    assert status == 130
    assert "gradexp: interrupted: 5 of 12 jobs are done; to go on: gradexp resume s" in err
    assert len(table(tmp_path / "broken" / "s")) == 5
    monkeypatch.chdir(tmp_path)
    status, _, err = gradexp("resume", "broken/s")
    assert status == 0, err
    monkeypatch.chdir(tmp_path)
    assert state(tmp_path / "broken" / "s") == state(tmp_path / "whole" / "s")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("run.json")}
    assert gradexp("resume", "broken/s")[0] == 0  # nothing is left to do
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("run.json")}


def test_failed_jobs_are_tried_again(gradexp: Gradexp, tmp_path: Path) -> None:
    assert gradexp("run", "-m", "optimizer.lr=1e-3,-1", *QUICK, "hydra.sweep.dir=s")[0] == 1
    (tmp_path / "s/1/failure.json").write_text('{"reason": "the disk was full"}')
    status, out, _ = gradexp("resume", "s")
    assert status == 1
    assert "job 1 failed: optimizer.lr=-1" in out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["resume", "nowhere"], "there is no such folder"),
        (["resume", "."], "holds no sweep"),
        (["replay", "nowhere"], "holds no whole run"),
    ],
)
def test_folders_that_hold_nothing(arguments: list[str], part: str, gradexp: Gradexp) -> None:
    status, _, err = gradexp(*arguments)
    assert status == 2
    assert part in err
    assert len(err.splitlines()) == 1


def test_a_sweep_whose_folder_was_named_by_a_variable_is_resumed(
    gradexp: Gradexp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1 s
    monkeypatch.setenv("SCRATCH", str(tmp_path / "it's \\ here"))
    typed = "hydra.sweep.dir='${oc.env:SCRATCH}/s'"
    assert gradexp("run", "-m", "seed=1,2", *QUICK, typed)[0] == 0
    sweep = tmp_path / "it's \\ here" / "s"
    whole = state(sweep)
    (sweep / "1" / "run.json").unlink()
    monkeypatch.delenv("SCRATCH")
    status, _, err = gradexp("resume", str(sweep))
    assert status == 0, err
    resumed = state(sweep)
    assert resumed["1/run.json"] == whole["1/run.json"]
    assert resumed["runs.parquet"] == whole["runs.parquet"]


def test_a_sweep_that_was_moved_is_not_gone_on_with(gradexp: Gradexp, tmp_path: Path) -> None:
    assert gradexp("run", "-m", "seed=1,2", *QUICK, "hydra.sweep.dir=s")[0] == 0
    (tmp_path / "s").rename(tmp_path / "t")
    status, _, err = gradexp("resume", "t")
    assert status == 2
    assert "move it back" in err


def test_a_sweep_that_runs_is_not_gone_on_with(
    gradexp: Gradexp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradexp.sweeps.plan import held

    monkeypatch.setattr("gradexp.sweeps.plan._PATIENCE", 0.1)
    assert gradexp("run", "-m", "seed=1,2", *QUICK, "hydra.sweep.dir=s")[0] == 0
    with held(tmp_path / "s"):
        status, _, err = gradexp("resume", "s")
    assert status == 2
    assert "still running" in err


@pytest.mark.skipif(sys.platform != "linux", reason="jobs are done by several processes on Linux")
def test_several_processes_leave_what_one_does(
    shortcuts_allowed: None, gradexp: Gradexp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    rates = ",".join(f"{rate}e-4" for rate in range(1, 20))
    # Large enough that the eigenvalues of the Hessian depend on how many threads find them.
    axes = ["surface=quadratic", "surface.dim=100", f"optimizer.lr={rates},-1"]
    axes += ["seed=1,2,3", "init=uniform", "steps=60", "sweep.summary=false"]
    for cores in ({0}, {0, 1, 2}):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: cores)
        sweep = tmp_path / str(len(cores)) / "s"
        assert gradexp("run", "-m", *axes, f"hydra.sweep.dir={sweep}")[0] == 1
        pids = {path.name.rpartition(".")[2] for path in sweep.glob("*/events.out.tfevents.*")}
        assert (str(os.getpid()) in pids, len(pids)) == (True, len(cores))
    one, several = tmp_path / "1" / "s", tmp_path / "3" / "s"
    assert state(one) == state(several)
    assert len(read_record(one / "0")["evidence"]["hessian_eigenvalues"]) == 100


@pytest.mark.parametrize(
    ("kills", "jobs"), [(6, 60), pytest.param(50, 300, marks=pytest.mark.slow)]
)
def test_nothing_is_lost_or_double_however_often_a_sweep_is_killed(
    kills: int, jobs: int, tmp_path: Path
) -> None:
    # 8 s, and 18 s
    arguments = ["run", "-m", f"seed=range({jobs})", "init=uniform", "steps=20",
                 "log.trajectory=never", "hydra.sweep.dir=s"]  # fmt: skip
    moments = random.Random(0)
    whole = tmp_path / "whole"
    whole.mkdir()
    sweep = begin(whole, *arguments)
    sweep.join()
    assert sweep.exitcode == 0
    expected = state(whole / "s")
    assert len(digests(whole / "s")) == jobs
    done: list[int] = []
    """the jobs that were whole after each kill"""
    for folder in (tmp_path / f"killed{number}" for number in itertools.count()):
        if len(done) >= kills:
            break
        folder.mkdir()
        while True:
            begun = (folder / "s" / "sweep.json").exists()
            if (folder / "s").exists() and not begun:
                shutil.rmtree(folder / "s")  # it was killed before it had begun
            sweep = begin(folder, *(["resume", "s"] if begun else arguments))
            there = whole_jobs(folder / "s")
            if there < jobs and len(done) < kills:  # one that has only its end to do is let end
                due, delay = moments.randint(there, jobs - 1), moments.random() / 50
                if killed(sweep, partial(has_come, folder / "s", due, delay)):
                    done.append(whole_jobs(folder / "s"))
                    continue
            sweep.join()
            assert sweep.exitcode == 0, output(folder)
            break
        assert state(folder / "s") == expected
    assert sum(0 < some < jobs for some in done) >= kills / 2, done


def whole_jobs(sweep: Path) -> int:
    return len(list(sweep.glob("*/run.json")))


def has_come(sweep: Path, jobs: int, delay: float) -> bool:
    """Whether so many jobs of a sweep are whole; says so a little later."""
    if whole_jobs(sweep) < jobs:
        return False
    time.sleep(delay)
    return True


def test_a_run_is_replayed_from_its_folder(gradexp: Gradexp, tmp_path: Path) -> None:
    assert gradexp("run", "-m", *GRID, *QUICK, "hydra.sweep.dir=s")[0] == 0
    status, out, _ = gradexp("replay", "s/3")
    assert status == 0
    assert out.startswith("identical")
    trace, record = read_run(tmp_path / "s" / "3")
    trace["loss"][17] += 1e-12
    np.savez(tmp_path / "s/3/trace.npz", allow_pickle=False, **trace)
    record["versions"]["torch"] = "1.0"
    (tmp_path / "s/3/run.json").write_text(json.dumps(record))
    status, out, _ = gradexp("replay", "s/3")
    assert status == 1
    assert out.splitlines()[0].startswith("differs from step 17 on: loss was")
    assert out.splitlines()[1].startswith("torch: was 1.0, is now 2.")


def test_a_compiled_run_is_replayed_compiled(gradexp: Gradexp, tmp_path: Path) -> None:
    arguments = ["surface=sphere", "optimizer.lr=1e-3", "steps=50", "log=none"]
    assert gradexp("run", *arguments, "engine.compile=always", "hydra.run.dir=r")[0] == 0
    config = tmp_path / "r/.hydra/config.yaml"
    config.write_text(config.read_text().replace("compile: always", "compile: auto"))
    assert gradexp("replay", "r")[0] == 0
