"""Folders that others have made: they run nothing, write nothing elsewhere, and hang nothing."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from gradexp.processes.environment import AT_START
from tests.conftest import Gradexp, left_behind

SWEEP = ["-m", "steps=3", "optimizer.lr=0.01,0.02", "log=none"]


def planned(folder: Path, *more: str) -> Path:
    """A folder that says it holds a sweep, begun in it."""
    folder.mkdir()
    arguments = [*SWEEP, f"hydra.sweep.dir={folder}", *more]
    plan = {"arguments": arguments, "cwd": str(folder), "now": []}
    (folder / "sweep.json").write_text(json.dumps(plan))
    return folder


def begin(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`gradexp` in a process of its own, begun in a folder."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "gradexp", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.slow  # 9 s
def test_joblib_imports_nothing_from_the_folder_of_a_sweep(tmp_path: Path) -> None:
    sweep = planned(tmp_path / "s", "hydra/launcher=joblib")
    (sweep / "joblib.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    done = begin(tmp_path, "resume", "s")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow  # 10 s
def test_submitit_finds_everything_where_a_person_started(tmp_path: Path) -> None:
    code = f"open({str(tmp_path)!r} + '/ran_in_' + __file__.split('/')[-3], 'w')\n"
    surface = "def f(point):\n    x, y = point\n    return x**2 + y**2\n"
    own = ["surface=own", "surface._target_=mypkg.f", "engine.compile=always"]
    sweep = planned(tmp_path / "theirs", "hydra/launcher=submitit_local", *own)
    for package in ("mine/mypkg", "theirs/mypkg", "theirs/submitit"):
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "__init__.py").write_text(code + surface)
    (tmp_path / "elsewhere").mkdir()
    (sweep / ".submitit").symlink_to(tmp_path / "elsewhere")  # where pickles would be read from
    done = begin(
        tmp_path / "mine", "resume", "../theirs", GRADEXP_TRUST="mypkg", GRADEXP_CACHE="cache"
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ran_in_mine").exists()
    assert not (tmp_path / "ran_in_theirs").exists()
    assert list((tmp_path / "mine" / "cache").glob("*.program"))
    assert not (sweep / "cache").exists()
    assert left_behind(tmp_path / "elsewhere") == []


def test_nothing_is_written_through_links(gradexp: Gradexp, tmp_path: Path) -> None:
    file = "hydra.job_logging.handlers.file"
    sweep = planned(tmp_path / "s", "engine=batched")
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("config.yaml", "rc", "hard"):
        (mine / name).write_text("mine")
    (sweep / "0").mkdir()
    (sweep / "0" / "gradexp.log").symlink_to(mine / "rc")
    (sweep / "0" / "run.json").symlink_to(mine / "rc")
    (sweep / "multirun.yaml").hardlink_to(mine / "hard")
    assert gradexp("resume", "s")[0] == 0
    assert {path.read_text() for path in mine.iterdir()} == {"mine"}
    for more in (
        ["hydra.output_subdir=cfg"],
        [f"{file}.filename='${{hydra.runtime.output_dir}}/foo.log'"],
    ):
        status, _, err = gradexp("run", *more)
        assert (status, err.count("\n")) == (2, 1)


def test_a_matplotlibrc_in_the_current_folder_is_not_obeyed(tmp_path: Path) -> None:  # 1 s
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\n")
    program = "import gradexp.plots, matplotlib; print(matplotlib.rcParams['text.usetex'])"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_comparisons_show_nothing_of_the_environment(
    gradexp: Gradexp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    assert gradexp("run", *SWEEP, "hydra.sweep.dir=a")[0] == 0
    assert gradexp("run", "-m", "steps=3", "seed=1,2", "log=none", "hydra.sweep.dir=b")[0] == 0
    for config in (tmp_path / "b").glob("*/.hydra/config.yaml"):
        text = config.read_text()
        assert "lr: 0.001\n" in text
        config.write_text(text.replace("lr: 0.001\n", "lr: ${oc.env:SECRET}\n"))
    status, out, err = gradexp("compare", "a", "b", "--save", "t")
    assert (status, err.count("\n")) == (2, 1)
    assert "hunter2" not in out + err
    assert "only numbers are taken from the environment" in err


def test_plugins_beside_a_run_are_not_imported(
    gradexp: Gradexp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins" / "evil.py").write_text("open('ran', 'w')")
    (tmp_path / "torch.py").write_text("open('ran', 'w')")
    monkeypatch.setitem(AT_START, "GRADEXP_TRUST", "mypkg")
    status, _, err = gradexp("run", "steps=3", "hydra.launcher._target_=hydra_plugins.evil.X")
    assert (status, err.count("\n")) == (2, 1)
    done = subprocess.run(
        [sys.executable, "-m", "gradexp", "list"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def run(gradexp: Gradexp, tmp_path: Path) -> Path:
    assert gradexp("run", "steps=3", "log=none", "hydra.run.dir=r")[0] == 0
    return tmp_path / "r"


def refused(gradexp: Gradexp, *command: str) -> str:
    status, _, err = gradexp(*command)
    assert (status, err.count("\n")) == (2, 1)
    return err


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", ["run.json", "trace.npz", ".hydra/config.yaml"])
@pytest.mark.parametrize("kind", ["pipe", "device", "sparse"])
def test_what_never_ends_is_not_read(
    kind: str, name: str, gradexp: Gradexp, run: Path, tmp_path: Path
) -> None:
    path = run / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(20 * 2**30)
    for command in (["replay", "r"], ["show", "r", "--save", "x.png"]):
        refused(gradexp, *command)


@pytest.mark.timeout(30)
def test_a_pipe_in_the_place_of_a_file_of_a_sweep(gradexp: Gradexp, tmp_path: Path) -> None:
    sweep = planned(tmp_path / "s")
    (sweep / "0").mkdir()
    for name in ("gradexp.log", "trace.npz", "run.json"):
        os.mkfifo(sweep / "0" / name)
    assert gradexp("resume", "s")[0] == 0
    (sweep / "sweep.json").unlink()
    os.mkfifo(sweep / "sweep.json")
    assert "sweep.json: is damaged" in refused(gradexp, "resume", str(sweep))


@pytest.mark.timeout(30)
@pytest.mark.parametrize("text", ["${a%d}${a%d}", "${.a%d}${.a%d}", "${oc.select:a%d}${a%d}"])
def test_interpolations_of_interpolations_are_refused(
    text: str, gradexp: Gradexp, run: Path, tmp_path: Path
) -> None:
    lines = ["a0: x", *(f'a{n}: "{text % (n - 1, n - 1)}"' for n in range(1, 40))]
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "t.yaml").write_text("\n".join(["defaults: [config, _self_]", *lines]))
    refused(gradexp, "run", "--config-dir", "c", "--config-name", "t")
    config = run / ".hydra" / "config.yaml"
    config.write_text("\n".join([config.read_text(), *lines]))
    refused(gradexp, "replay", "r")


def test_an_archive_whose_parts_overlap_is_refused(gradexp: Gradexp, run: Path) -> None:
    with zipfile.ZipFile(run / "trace.npz", "w") as archive:
        with archive.open("step.npy", "w") as file:
            np.lib.format.write_array(file, np.zeros(2**17))
        first = archive.infolist()[0]
        for number in range(200):  # each says to be the first one
            other = zipfile.ZipInfo(f"a{number}.npy")
            for name in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(other, name, getattr(first, name))
            archive.filelist.append(other)
            archive.NameToInfo[other.filename] = other
        # so that what was added to the directory is written, without data of its own
        archive._didModify = True  # type: ignore[attr-defined]
    assert (run / "trace.npz").stat().st_size < 2**21
    assert "larger than the file" in refused(gradexp, "show", "r")


def test_a_table_of_far_too_many_rows_is_refused(gradexp: Gradexp, tmp_path: Path) -> None:
    sweep = planned(tmp_path / "s")
    count = 2 * 10**6
    column = pa.repeat(pa.scalar("x"), count).dictionary_encode()
    parquet.write_table(
        pa.table({"job": column, "folder": column, "outcome": column}), sweep / "runs.parquet"
    )
    assert "more than 1,000,000 rows" in refused(gradexp, "compare", "s")
