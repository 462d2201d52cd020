"""Output folders: what a person has there stays, and of two runs one gets a folder."""

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

import pytest

from gradexp.errors import UserError
from gradexp.results import is_whole, read_record
from gradexp.results.output_folder import check_job_folders, claimed, clear
from tests.conftest import Gradexp, left_behind
from tests.killing import begin

QUICK = ["init=uniform", "steps=20", "log=none"]
SWEEP = ["run", "-m", "seed=1,2", *QUICK]


def contents(folder: Path) -> dict[str, bytes | None]:
    """All that is below a folder, with what each file holds."""
    paths = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in paths}


THERE: list[str] = ["1/thesis.tex", "thesis.tex", ".hidden", "run.json", "trace.npz", "gradexp.log",
                    "sweep.json", "trajectory.png", ".hydra/config.yaml", "empty/"]  # fmt: skip


@pytest.mark.parametrize("name", THERE)
@pytest.mark.parametrize(
    "command",
    [
        ["run", *QUICK, "hydra.run.dir=data"],
        ["run", *QUICK, "hydra.run.dir=data", "optimizer.lr=-1"],
        [*SWEEP, "hydra.sweep.dir=data"],
        [*SWEEP, "hydra.sweep.dir=data", "--dry-run"],
    ],
    ids=["run", "mistake", "sweep", "dry run"],
)
def test_a_folder_that_is_not_empty_is_refused(
    name: str, command: list[str], gradexp: Gradexp, tmp_path: Path
) -> None:
    path = tmp_path / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith("/"):
        path.mkdir()
    else:
        path.write_text("mine")
    before = contents(tmp_path)
    status, _, err = gradexp(*command)
    assert status == 2
    assert err.count("\n") == 1
    if "optimizer.lr=-1" not in command:
        assert f"{name.split('/')[0]} is there" in err
    assert contents(tmp_path) == before


def test_the_folder_that_one_is_in_must_be_empty(gradexp: Gradexp, tmp_path: Path) -> None:
    assert gradexp("run", *QUICK, "hydra.run.dir=.")[0] == 0
    assert is_whole(tmp_path)
    before = contents(tmp_path)
    for command in (["run", *QUICK, "hydra.run.dir=."], [*SWEEP, "hydra.sweep.dir=."]):
        status, _, err = gradexp(*command)
        assert status == 2
        assert "holds a run or a sweep already" in err
    assert contents(tmp_path) == before


def test_an_empty_folder_of_a_persons_own_is_there_after_a_mistake(
    gradexp: Gradexp, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    for command in (
        ["run", "optimizer.lr=-1", "hydra.run.dir=mine/a/b"],
        ["run", "-m", "optimizer.lr=-1,-2", "hydra.sweep.dir=mine"],
        [*SWEEP, "hydra.sweep.dir=mine", "hydra.sweep.subdir=.."],
    ):
        assert gradexp(*command)[0] == 2
        assert left_behind(tmp_path) == ["mine"]


SUBDIRS = ["..", ".", "../mine", "${seed}/../..", "${seed}/../../mine/${seed}", "/tmp/${seed}",
           "sweep.json", "a${oc.select:nothing,/}../../${seed}"]  # fmt: skip


@pytest.mark.parametrize("subdir", SUBDIRS)
def test_a_jobs_folder_lies_below_its_sweeps(subdir: str, gradexp: Gradexp, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    inside = tmp_path / "in"
    inside.mkdir()
    before = contents(tmp_path)
    status, _, err = gradexp(
        "run", "-m", "seed=1", *QUICK, "hydra.sweep.dir=in/s", f"hydra.sweep.subdir='{subdir}'"
    )
    assert status == 2, err
    assert "hydra.sweep.subdir" in err
    assert contents(tmp_path) == before


def test_no_job_lies_in_another_ones_folder(gradexp: Gradexp, tmp_path: Path) -> None:
    subdir = "hydra.sweep.subdir=${seed}/${steps}"
    assert (
        gradexp("run", "-m", "seed=1", "steps=2,3", "log=none", subdir, "hydra.sweep.dir=s")[0] == 0
    )
    with pytest.raises(UserError, match="lies in another job's folder"):
        check_job_folders(tmp_path, [tmp_path / "1", tmp_path / "1" / "2"], [])


def interrupted(gradexp: Gradexp, folder: Path) -> None:
    """A sweep of two jobs, of which the second is not whole."""
    assert gradexp(*SWEEP, f"hydra.sweep.dir={folder}")[0] == 0
    (folder / "1" / "run.json").unlink()


def test_resuming_leaves_a_persons_notes(gradexp: Gradexp, tmp_path: Path) -> None:
    interrupted(gradexp, tmp_path / "s")
    notes = ["s/1/notes.txt", "s/notes.txt", "s/0/notes.txt", "s/1/.hydra/notes.txt", "s/9/a.txt",
             "s/1/deep/run.json", "s/1/other.log", "s/1/my.partial"]  # fmt: skip
    for note in notes:
        (tmp_path / note).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / note).write_text("mine")
    before = (tmp_path / "s/0/run.json").stat().st_mtime_ns
    assert gradexp("resume", "s")[0] == 0
    assert is_whole(tmp_path / "s" / "1")
    assert all((tmp_path / note).read_text() == "mine" for note in notes)
    assert (tmp_path / "s/0/run.json").stat().st_mtime_ns == before


LINKS = ["1", "1/.hydra"]


@pytest.mark.parametrize("name", LINKS)
def test_resuming_follows_no_link(name: str, gradexp: Gradexp, tmp_path: Path) -> None:
    interrupted(gradexp, tmp_path / "s")
    mine = tmp_path / "mine"
    (tmp_path / "s" / name).rename(mine)
    (tmp_path / "s" / name).symlink_to(mine)
    before = contents(mine)
    status, _, err = gradexp("resume", "s")
    assert status == 2
    assert "link" in err
    assert contents(mine) == before


FILES = ["run.json", "trace.npz", ".trace.npz.partial", "gradexp.log", ".run.json.partial"]


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_written_through_a_link(name: str, gradexp: Gradexp, tmp_path: Path) -> None:
    interrupted(gradexp, tmp_path / "s")
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "s" / "1" / name).unlink(missing_ok=True)
    (tmp_path / "s" / "1" / name).symlink_to(tmp_path / "mine")
    assert gradexp("resume", "s")[0] == 0
    assert (tmp_path / "mine").read_text() == "mine"
    assert is_whole(tmp_path / "s" / "1")


@pytest.mark.parametrize("name", ["multirun.yaml", "runs.parquet", ".runs.parquet.partial"])
def test_nor_in_the_sweeps_own_folder(name: str, gradexp: Gradexp, tmp_path: Path) -> None:
    interrupted(gradexp, tmp_path / "s")
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "s" / name).unlink(missing_ok=True)
    (tmp_path / "s" / name).symlink_to(tmp_path / "mine")
    status, _, err = gradexp("resume", "s")
    assert status == 2
    assert f"{name} is a link" in err
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize(
    "arguments",
    [
        ["hydra.run.dir=elsewhere"],
        ["--help"],
        ["--cfg", "job"],
        ["-m", "--dry-run", "seed=1,2"],
        ["--run", "-m", "seed=1"],
        ["-sc", "install=bash"],
        [],
    ],
    ids=" ".join,
)
def test_a_plan_that_is_no_sweeps_does_nothing(
    arguments: list[str], gradexp: Gradexp, tmp_path: Path
) -> None:
    interrupted(gradexp, tmp_path / "s")
    plan = json.loads((tmp_path / "s" / "sweep.json").read_text())
    (tmp_path / "s" / "sweep.json").write_text(json.dumps({**plan, "arguments": arguments}))
    before = contents(tmp_path)
    status, out, err = gradexp("resume", "s")
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert "sweep.json" in err
    assert contents(tmp_path) == before


def changed(plan: Path, old: str, new: str) -> None:
    text = plan.read_text()
    assert old in text
    plan.write_text(text.replace(old, new))


@pytest.mark.parametrize("new", ["..", "/elsewhere", "../mine"])
def test_a_changed_plan_deletes_nothing(new: str, gradexp: Gradexp, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "run.json").write_text("mine")
    assert gradexp(*SWEEP, "hydra.sweep.subdir=x${seed}", "hydra.sweep.dir=s")[0] == 0
    changed(tmp_path / "s" / "sweep.json", "x${seed}", new)
    changed(tmp_path / "s" / "sweep.json", "seed=1,2", "seed=1")
    before = contents(tmp_path)
    status, _, err = gradexp("resume", "s")
    assert status == 2
    assert "must lie below the sweep's folder" in err
    after = contents(tmp_path)
    assert {name: after.get(name) for name in before if name != "s/multirun.yaml"} == {
        name: what for name, what in before.items() if name != "s/multirun.yaml"
    }


def test_clearing_removes_files_by_name_alone(tmp_path: Path) -> None:
    ours = [".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", "run.json",
            "trace.npz", "failure.json", ".run.json.partial", "trajectory.png", "gradexp.log",
            "events.out.tfevents.1.here.1"]  # fmt: skip
    theirs = ["notes.txt", "run.json.bak", "trace.npz.old", "events", "x/run.json", "mine.log"]
    for name in (*ours, *theirs):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    clear(tmp_path, ["gradexp.log"])
    assert left_behind(tmp_path) == sorted([*theirs, "x"])


def test_one_of_many_gets_a_folder(tmp_path: Path) -> None:
    for number in range(40):
        folder, together = tmp_path / str(number), threading.Barrier(4)
        got: list[int] = []
        refused: list[str] = []

        def take(
            own: int,
            folder: Path = folder,
            together: threading.Barrier = together,
            got: list[int] = got,
            refused: list[str] = refused,
        ) -> None:
            together.wait()
            try:
                with claimed("hydra.run.dir", folder, "x.log"):
                    got.append(own)
                    (folder / "file").write_text(str(own))
            except UserError as mistake:
                refused.append(str(mistake))

        threads = [threading.Thread(target=take, args=(own,)) for own in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(got), len(refused)) == (1, 3)
        assert (folder / "file").read_text() == str(got[0])


def test_of_two_runs_at_the_same_time_one_gets_the_folder(tmp_path: Path) -> None:
    for number in range(4):
        runs = [
            begin(tmp_path, "run", f"seed={seed}", *QUICK, f"hydra.run.dir={number}")
            for seed in (1, 2)
        ]
        for run in runs:
            run.join()
        assert sorted(run.exitcode or 0 for run in runs) == [0, 2]
        seed = 1 if runs[0].exitcode == 0 else 2
        config = (tmp_path / str(number) / ".hydra" / "config.yaml").read_text()
        assert f"seed: {seed}\n" in config
        assert is_whole(tmp_path / str(number))


@pytest.mark.parametrize(
    ("command", "file"),
    [
        (["show", "surface=sphere"], "sphere.png"),
        (["show", "surface=sphere", "--save", "x.pdf"], "x.pdf"),
        (["compare", "s", "--save", "t", "--formats", "csv"], "t/captions.txt"),
        (["compare", "s", "--save", "t", "--formats", "csv"], "t/outcomes.csv"),
    ],
)
def test_figures_and_tables_replace_nothing_unless_told_to(
    command: list[str], file: str, gradexp: Gradexp, tmp_path: Path
) -> None:
    assert gradexp("run", "-m", "optimizer.lr=1e-3,1e-2", *QUICK, "hydra.sweep.dir=s")[0] == 0
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    before = contents(tmp_path)
    status, _, err = gradexp(*command)
    assert status == 2
    assert f"{file}: is there already; --overwrite replaces it" in err
    assert contents(tmp_path) == before
    assert gradexp(*command, "--overwrite")[0] == 0
    assert path.read_bytes() != b"mine"
    assert not list(tmp_path.rglob(".gradexp-*"))
    path.unlink()
    path.mkdir()
    before = contents(tmp_path)
    status, _, err = gradexp(*command, "--overwrite")
    assert (status, err.count("\n")) == (2, 1)
    assert f"{file}: is a folder" in err
    assert contents(tmp_path) == before


def full(*args: Any, **kwargs: Any) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "s/x")


def test_a_table_that_cannot_be_written_is_said(
    gradexp: Gradexp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradexp.sweeps.status.write_table", full)
    status, _, err = gradexp(*SWEEP, "hydra.sweep.dir=s")
    assert status == 2
    assert err.splitlines()[-1] == (
        "gradexp: No space left on device: s/x: 2 of 2 jobs are done; to go on: gradexp resume s"
    )
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert gradexp("resume", "s")[0] == 0
    assert (tmp_path / "s" / "runs.parquet").exists()


def test_a_full_disk_ends_a_run_in_one_line(
    gradexp: Gradexp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradexp.jobs.job.write_run", full)
    status, _, err = gradexp("run", *QUICK)
    assert status == 2
    said = [line for line in err.splitlines() if not line.startswith(("device: ", "engine: "))]
    assert said == ["gradexp: No space left on device: s/x"]


def test_a_full_disk_ends_a_sweep_in_one_line(
    gradexp: Gradexp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradexp.results import write_run

    written: list[Path] = []

    def write(folder: Path, *rest: Any) -> None:
        if len(written) == 3:
            full()
        write_run(folder, *rest)
        written.append(folder)

    command = ["run", "-m", "seed=range(9)", *QUICK, "hydra.sweep.dir=s"]
    with monkeypatch.context() as patch:
        patch.setattr("gradexp.jobs.job.write_run", write)
        status, _, err = gradexp(*command)
    assert status == 2
    assert err.splitlines()[-1].startswith("gradexp: No space left on device: s/x: 3 of 9 jobs")
    assert "Traceback" not in err
    assert sum(is_whole(path) for path in (tmp_path / "s").iterdir()) == 3
    digest = read_record(tmp_path / "s" / "0")["digest"]
    assert gradexp("resume", "s")[0] == 0
    assert sum(is_whole(path) for path in (tmp_path / "s").iterdir()) == 9
    assert read_record(tmp_path / "s" / "0")["digest"] == digest


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full and limits are Linux'")


@on_linux
@pytest.mark.parametrize(
    ("line", "status", "told"),
    [
        ("{} list surfaces > /dev/full", 2, "No space left on device"),
        ("{} list surfaces >&-", 0, ""),
        ("ulimit -n 6; {} run steps=3", 2, "Too many open files"),
        ("ulimit -v 600000; {} run steps=3", 2, "memory"),
    ],
)
def test_what_the_machine_lacks_is_one_line(
    line: str, status: int, told: str, tmp_path: Path
) -> None:
    # 1 to 3 s each: a limit is one of a process.
    command = line.format(f"{sys.executable} -m gradexp")
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("gradexp: ")]
    assert len(errors) == (1 if told else 0), done.stderr
    assert told in done.stderr


@on_linux
def test_a_reader_that_has_gone_is_one_line(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "gradexp", "list", "surfaces"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=100)
    os.close(write)
    assert (done.returncode, done.stderr) == (2, "gradexp: nobody read the output to its end\n")
