"""Damaged folders: one line and status 2 that name the file; resume makes damaged jobs again."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradexp import load
from gradexp.errors import UserError
from gradexp.results import is_sound, read_record
from tests.conftest import Gradexp

Damage = Callable[[Path], object]


def cut(name: str, size: int = 100) -> Damage:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def write(name: str, text: str) -> Damage:
    return lambda folder: (folder / name).write_text(text)


def remove(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def change(key: str, value: object) -> Damage:
    def damage(folder: Path) -> None:
        record = json.loads((folder / "run.json").read_text())
        record[key] = value
        (folder / "run.json").write_text(json.dumps(record))

    return damage


def metric(name: str, value: object) -> Damage:
    def damage(folder: Path) -> None:
        record = json.loads((folder / "run.json").read_text())
        record["metrics"][name] = value
        (folder / "run.json").write_text(json.dumps(record))

    return damage


def arrays(**parts: object) -> Damage:
    def damage(folder: Path) -> None:
        with np.load(folder / "trace.npz") as file:
            kept = {name: file[name] for name in file.files}
        changed = {name: part for name, part in {**kept, **parts}.items() if part is not None}
        np.savez(folder / "trace.npz", **changed)

    return damage


def huge(folder: Path) -> None:
    """An array whose header says that it is larger than all memory."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**14,)}
    )
    with zipfile.ZipFile(folder / "trace.npz", "w") as archive:
        archive.writestr("step.npy", header.getvalue())


def folder_in_its_place(folder: Path) -> None:
    (folder / "trace.npz").unlink()
    (folder / "trace.npz").mkdir()


def compressed(folder: Path) -> None:
    """A few bytes that expand to a gigabyte."""
    with zipfile.ZipFile(folder / "trace.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("step.npy", bytes(2**26))


OF_RECORDS: dict[str, Damage] = {
    "empty": write("run.json", ""),
    "cut": cut("run.json"),
    "null": write("run.json", "null"),
    "a mapping of nothing": write("run.json", "{}"),
    "nested": write("run.json", "[" * 100_000),
    "a list": write("run.json", "[1]"),
    "no outcome": change("outcome", None),
    "no evidence": change("evidence", {}),
    "no metrics": change("metrics", []),
    "a newer format": change("format", 99),
    "an odd format": change("format", "new"),
    "a text for a number": metric("final_loss", "abc"),
    "a list for a number": metric("rate", [1]),
    "a number beyond all": metric("final_loss", 10**400),
    "steps beyond all": metric("steps", 10**400),
    "no tolerance": metric("steps_to_gap", {"foo": 3}),
    "an identity that is none": change("identity", [1]),
    "a theory that is none": change("theory", "newton"),
    "a minimum that is none": change("minimum", ["a"]),
    "half a letter": change("outcome", "\ud800"),
}
OF_TRACES: dict[str, Damage] = {
    "cut": cut("trace.npz", 700),
    "empty": write("trace.npz", ""),
    "gone": remove("trace.npz"),
    "pickled": arrays(loss=np.array([{"a": 1}] * 4, dtype=object)),
    "text": arrays(loss=np.array(["a"] * 4)),
    "huge": huge,
    "compressed": compressed,
    "without steps": arrays(step=None),
    "of two lengths": arrays(loss=np.zeros(2)),
    "with steps in two dimensions": arrays(step=np.zeros((4, 1), np.int64)),
    "with a flat point": arrays(point=np.zeros(4)),
    "with losses in two dimensions": arrays(loss=np.zeros((4, 2))),
    "without losses": arrays(loss=None),
    "of another byte order": arrays(loss=np.zeros(4, ">f8")),
    "of truths": arrays(loss=np.zeros(4, bool)),
    "of no coordinates": arrays(point=np.zeros((4, 0))),
    "with steps that fall": arrays(step=np.array([3, 2, 1, 0])),
}
ALL = [
    *(pytest.param(damage, id=f"run.json {name}") for name, damage in OF_RECORDS.items()),
    *(pytest.param(damage, id=f"trace.npz {name}") for name, damage in OF_TRACES.items()),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from gradexp.cli import main

    folder = tmp_path_factory.mktemp("whole") / "s"
    arguments = ["seed=1,2", "init=uniform", "steps=3", "log=none", f"hydra.sweep.dir={folder}"]
    assert main(["run", "-m", *arguments]) == 0
    return folder


@pytest.fixture
def sweep(whole: Path, tmp_path: Path) -> Path:
    """A sweep of two jobs."""
    shutil.copytree(whole, tmp_path / "s")
    plan = tmp_path / "s" / "sweep.json"
    plan.write_text(plan.read_text().replace(str(whole), str(tmp_path / "s")))
    return tmp_path / "s"


def assert_refused(gradexp: Gradexp, *command: str, part: str = "") -> None:
    status, _, err = gradexp(*command)
    assert status == 2
    assert err.count("\n") == 1
    assert part in err


@pytest.mark.parametrize("damage", ALL)
def test_a_damaged_run_is_named_and_made_again(
    damage: Damage, gradexp: Gradexp, sweep: Path
) -> None:
    digest = read_record(sweep / "1")["digest"]
    damage(sweep / "1")
    for command in (["replay", "s/1"], ["show", "s/1"]):
        assert_refused(gradexp, *command, part="s/1")
    assert not is_sound(sweep / "1")
    status, _, err = gradexp("resume", "s")
    assert status == 0, err
    assert is_sound(sweep / "1")
    assert read_record(sweep / "1")["digest"] == digest
    assert gradexp("replay", str(sweep / "1"))[0] == 0


@pytest.mark.parametrize("damage", OF_RECORDS.values(), ids=OF_RECORDS)
def test_what_reads_the_records_names_a_damaged_one(
    damage: Damage, gradexp: Gradexp, sweep: Path
) -> None:
    (sweep / "runs.parquet").unlink()
    damage(sweep / "1")
    assert_refused(gradexp, "compare", "s", part="s/1/run.json")
    with pytest.raises(UserError, match=r"1/run\.json"):
        load(sweep)


@pytest.mark.parametrize("damage", OF_TRACES.values(), ids=OF_TRACES)
def test_loading_names_a_damaged_trace(damage: Damage, sweep: Path) -> None:
    damage(sweep / "1")
    with pytest.raises(UserError, match="s/1"):
        load(sweep)


def test_a_folder_in_the_place_of_a_file_stays(gradexp: Gradexp, sweep: Path) -> None:
    folder_in_its_place(sweep / "1")
    (sweep / "1" / "trace.npz" / "mine").touch()
    assert_refused(gradexp, "replay", "s/1", part="trace.npz")
    status, out, err = gradexp("resume", "s")
    assert status == 1
    assert "job 1 failed: IsADirectoryError" in out
    assert "Traceback" not in err
    assert (sweep / "1" / "trace.npz" / "mine").exists()


def test_points_of_another_dimension(gradexp: Gradexp, sweep: Path) -> None:
    arrays(point=np.zeros((4, 5)))(sweep / "1")
    assert_refused(gradexp, "show", "s/1", part="dimension")
    status, out, _ = gradexp("replay", "s/1")
    assert (status, out) == (1, "recorded was point of shape (steps, 5), now (steps, 2)\n")


def test_jobs_of_other_defaults_are_left_as_they_are(gradexp: Gradexp, sweep: Path) -> None:
    config = sweep / "1" / ".hydra" / "config.yaml"
    config.write_text(config.read_text() + "once: 1\n")
    untouched = (sweep / "1" / "run.json").stat().st_mtime_ns
    assert gradexp("resume", "s")[0] == 0
    assert (sweep / "1" / "run.json").stat().st_mtime_ns == untouched


def test_a_table_of_failed_jobs_alone_is_whole(gradexp: Gradexp, tmp_path: Path) -> None:
    assert gradexp("run", "-m", "optimizer.lr=1e-3,-1", "log=none", "hydra.sweep.dir=f")[0] == 1
    shutil.rmtree(tmp_path / "f" / "0")
    table = pd.read_parquet(tmp_path / "f" / "runs.parquet")
    failed = table[table["outcome"] == "failed"].dropna(axis=1, how="all")
    failed.to_parquet(tmp_path / "f" / "runs.parquet")
    assert len(load(tmp_path / "f").runs) == 1


def test_a_record_that_is_a_folder_is_no_record(gradexp: Gradexp, sweep: Path) -> None:
    (sweep / "1" / "run.json").unlink()
    (sweep / "1" / "run.json").mkdir()
    status, out, err = gradexp("resume", "s")
    assert status == 1
    assert "job 1 failed" in out
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["1", "1/.hydra", "runs.parquet", "multirun.yaml"])
def test_what_is_no_folder_or_no_file_is_named(name: str, gradexp: Gradexp, sweep: Path) -> None:
    path = sweep / name
    if path.is_dir():
        shutil.rmtree(path)
        path.write_text("mine")
    else:
        path.unlink()
        path.mkdir()
    assert_refused(gradexp, "resume", "s", part=f"{path} is not a f")
    assert path.exists()


@pytest.mark.parametrize("name", ["config.yaml", "overrides.yaml", "hydra.yaml"])
@pytest.mark.parametrize("text", [None, "", "a: [", "CUT"])
def test_jobs_with_damaged_configs_are_made_again(
    text: str | None, name: str, gradexp: Gradexp, whole: Path, sweep: Path
) -> None:
    path = sweep / "1" / ".hydra" / name
    before = path.read_text()
    if text is None:
        path.unlink()
    else:
        amid_a_line = before.index("\n", len(before) // 2) - 1
        path.write_text(before[:amid_a_line] if text == "CUT" else text)
    elsewhere = str(whole), str(sweep)  # it was copied
    untouched = (sweep / "0" / "run.json").stat().st_mtime_ns
    assert gradexp("resume", "s")[0] == 0
    assert path.read_text() == before.replace(*elsewhere)
    assert (sweep / "0" / "run.json").stat().st_mtime_ns == untouched
    assert gradexp("replay", str(sweep / "1"))[0] == 0


def with_markup(folder: Path) -> None:
    table = pd.read_parquet(folder / "runs.parquet")
    table["x.[/]"] = ["[link=http://evil]a[/]", "$\\frac$"]
    table.to_parquet(folder / "runs.parquet")


def test_texts_of_a_table_are_no_markup(gradexp: Gradexp, sweep: Path) -> None:
    with_markup(sweep)
    status, out, err = gradexp("compare", "s", "--by", "x.[/]", "--save", "t")
    assert status == 0, err
    assert "[link=http://evil]a[/]" in out
    assert err == ""


def with_lists(folder: Path) -> None:
    table = pd.read_parquet(folder / "runs.parquet")
    table["optimizer.lr"] = [[1.0], [2.0]]
    table.to_parquet(folder / "runs.parquet")


def without_figures(folder: Path) -> None:
    table = pd.read_parquet(folder / "runs.parquet")
    table[["job", "folder", "outcome"]].to_parquet(folder / "runs.parquet")


def without_columns(folder: Path) -> None:
    pd.DataFrame({"x": [1]}).to_parquet(folder / "runs.parquet")


def elsewhere(folder: Path) -> None:
    table = pd.read_parquet(folder / "runs.parquet")
    table["folder"] = ["../../etc", "/etc"]
    table.to_parquet(folder / "runs.parquet")


def with_text(folder: Path) -> None:
    table = pd.read_parquet(folder / "runs.parquet")
    table["metrics.final_loss"] = ["a", "b"]
    table.to_parquet(folder / "runs.parquet")


@pytest.mark.parametrize(
    "damage",
    [
        *(cut("runs.parquet"), write("runs.parquet", ""), without_columns, without_figures),
        *(elsewhere, with_text, with_lists),
    ],
    ids=[
        *("cut", "empty", "without columns", "without figures"),
        *("with folders elsewhere", "with text for numbers", "with lists"),
    ],
)
def test_a_damaged_table(damage: Damage, gradexp: Gradexp, sweep: Path) -> None:
    damage(sweep)
    assert_refused(gradexp, "compare", "s", part="runs.parquet")
    with pytest.raises(UserError, match="gradexp resume makes it again"):
        load(sweep)
    assert gradexp("resume", "s")[0] == 0
    assert gradexp("compare", str(sweep))[0] == 0


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{}", '{"arguments": 5, "cwd": "/", "now": []}',
     '{"arguments": [1], "cwd": "/", "now": []}', '{"arguments": [], "cwd": 5, "now": []}',
     '{"arguments": [], "cwd": "/", "now": [5]}', '{"arguments": [], "cwd": "/", "now": {}}',
     '{"arguments": [], "cwd": "/", "now": [[["%Y"], 5]]}'],
)  # fmt: skip
def test_a_damaged_plan(text: str, gradexp: Gradexp, sweep: Path) -> None:
    (sweep / "sweep.json").write_text(text)
    assert_refused(gradexp, "resume", "s", part="s")


COMMANDS = {
    "compare the sweep": ["compare", "s"],
    "compare the run": ["compare", "s/1"],
    "replay": ["replay", "s/1"],
    "show": ["show", "s/1"],
}
NEED = {
    "config.yaml": ["compare the run", "replay", "show"],
    "overrides.yaml": ["compare the sweep", "compare the run"],
    "hydra.yaml": ["compare the run"],
}
"""Which commands read a config; the others do without it."""


@pytest.mark.parametrize("name", NEED)
@pytest.mark.parametrize("text", [None, "", "a: [", "5", "a: !!python/name:os.system"])
def test_damaged_configs(text: str | None, name: str, gradexp: Gradexp, sweep: Path) -> None:
    path = sweep / "1" / ".hydra" / name
    (sweep / "runs.parquet").unlink()
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    need = set(NEED[name])
    if name == "config.yaml" and not text:
        need.remove("compare the run")  # which takes what is missing there as not set
    refused = set()
    for what, command in COMMANDS.items():
        status, _, err = gradexp(*command)
        assert (status, err.count("\n")) in [(0, 0), (2, 1)]
        if status:
            refused.add(what)
            assert name in err or "config" in err or "surface: needs a value" in err
    assert refused == need


def test_a_record_that_says_something_else_of_its_run_is_found(
    gradexp: Gradexp, sweep: Path
) -> None:
    path = sweep / "1" / "run.json"
    record = json.loads(path.read_text())
    for change in ({"outcome": "saddle"}, {"metrics": {**record["metrics"], "final_loss": 1.0}}):
        path.write_text(json.dumps(record | change))
        status, out, _ = gradexp("replay", "s/1")
        assert status == 1
        assert out.startswith(f"differs in {'outcome' if 'outcome' in change else 'final_loss'}: ")
    path.write_text(json.dumps(record))
    assert gradexp("replay", "s/1")[0] == 0


def test_a_record_without_a_format_is_read(gradexp: Gradexp, sweep: Path) -> None:
    record = json.loads((sweep / "1" / "run.json").read_text())
    assert record.pop("format") == 3
    record["outcome"] = "plateau"
    (sweep / "1" / "run.json").write_text(json.dumps(record))
    status, out, _ = gradexp("replay", "s/1")
    assert status == 0
    assert "the stop rules changed since" in out
    assert "outcome: was plateau, is now budget" in out
    assert is_sound(sweep / "1")
