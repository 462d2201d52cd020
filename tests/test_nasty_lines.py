"""Command lines that nobody means: each is a run, or one line and status 2; never a traceback."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradexp.config.choices import groups
from tests.conftest import Gradexp, left_behind

LOGGING = ["", ".version", ".handlers", ".handlers.console", ".handlers.console.stream",
           ".handlers.console.level", ".handlers.file", ".handlers.file.filename", ".root",
           ".root.level", ".root.handlers", ".formatters", ".formatters.plain.format", ".loggers",
           ".disable_existing_loggers"]  # fmt: skip
KEYS = [
    *groups(),
    *("steps", "seed", "dtype", "device", "sweep", "sweep.fail_fast", "sweep.summary"),
    *("surface.dim", "surface.b", "surface._target_", "optimizer.lr", "optimizer.momentum"),
    *("optimizer.nesterov", "optimizer._target_", "stop.gradient", "record.points"),
    *("record.tolerances", "log.trajectory", "engine.compile", "init.seed", "nothing", "a.b.c"),
    *("hydra", "hydra.run", "hydra.run.dir", "hydra.sweep", "hydra.sweep.dir"),
    *("hydra.sweep.subdir", "hydra.job", "hydra.job.name", "hydra.job.chdir", "hydra.job.num"),
    *("hydra.job.config.override_dirname.exclude_keys", "hydra.job.override_dirname"),
    *("hydra.job.env_set", "hydra.job.env_copy", "hydra.verbose", "hydra.mode"),
    *(f"hydra.{group}{part}" for group in ("job_logging", "hydra_logging") for part in LOGGING),
    *("hydra.launcher", "hydra.launcher._target_", "hydra/launcher", "hydra.sweeper"),
    *("hydra.sweeper.params", "hydra.sweeper.max_batch_size", "hydra.sweeper._target_"),
    *("hydra/sweeper", "hydra.output_subdir", "hydra.callbacks", "hydra.callbacks.x"),
    *("hydra.searchpath", "hydra.overrides", "hydra.overrides.task", "hydra.runtime"),
    *("hydra.runtime.output_dir", "hydra.runtime.choices", "hydra.help.template"),
    *("hydra/job_logging", "hydra/help", "hydra/env", "defaults", "optimizer@x", "0"),
]
VALUES = [
    *("null", "5", "-1", "true", "abc", "''", "[]", "{}", "[1,2]", "{a:1}", "{a:{b:1}}", "[[1]]"),
    *("a/b", "../x", "/", "${seed}", "${nothing}", "${oc.deprecated:seed}", "${oc.env:HOME}"),
    *("${oc.create:{a:1}}", "${oc.select:seed}", "${now:%Y}", "${hydra:runtime.cwd}", "???"),
    *("1e400", "nan", "inf", "0x10", "1_000", "ü", "a b", "'a b'", '"x', "(", "[1", "a=b", "1,2"),
    *("range(3)", "range(0,9,0)", "range(0,1000000000)", "choice(a,b)", "glob(*)", "interval(0,1)"),
    *("${", "\\", "a\\,b", "ext://sys.stdout", "cfg://root", "None", "${hydra.job.num}", "\x1b[2J"),
]
LINES = st.builds(
    lambda prefix, key, value, sweep: [*sweep, f"{prefix}{key}={value}"],
    st.sampled_from(["", "", "", "+", "++", "~"]),
    st.sampled_from(KEYS),
    st.sampled_from(VALUES),
    st.sampled_from([[], [], ["-m", "seed=1,2"]]),
)
ODD = [["-sc", "x"], ["-sc", "query=fish"], ["--cfg"], ["--cfg", "x"], ["--info", "x"], ["-cn"],
       ["--package", "x"], ["--resolve"], ["=1"], ["="], ["a"], ["~"], ["+"], ["-m"],
       ["--experimental-rerun"], ["-cp", "x", "-cd", "y"], ["--", "x"], ["\x1b"], [""]]  # fmt: skip

FIXTURES = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def assert_one_line(status: int, out: str, err: str) -> None:
    assert status in (0, 1, 2)
    assert "Traceback" not in err
    assert "\x1b" not in err
    if status == 2:
        assert err.startswith("gradexp: ")
        assert err.count("\n") == 1
        assert out == ""


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=FIXTURES)
@given(line=LINES)
def test_lines_through_the_parser_and_the_gate(line: list[str], gradexp: Gradexp) -> None:
    # 8 s.
    status, out, err = gradexp("run", "--cfg", "job", *line)
    assert_one_line(status, out, err)
    assert left_behind(Path.cwd()) == []


@pytest.mark.slow  # a minute
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # log files left open
@pytest.mark.timeout(600)
@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=FIXTURES)
@given(line=LINES)
def test_lines_that_are_run(
    line: list[str], gradexp: Gradexp, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("line")
    os.chdir(folder)
    status, out, err = gradexp("run", "steps=2", "log=none", *line)
    assert_one_line(status, out, err)
    assert status != 2 or left_behind(folder) == []


@pytest.mark.parametrize("flags", ODD, ids=" ".join)
def test_odd_flags(flags: list[str], gradexp: Gradexp, tmp_path: Path) -> None:
    status, out, err = gradexp("run", *flags, "steps=2", "log=none")
    assert_one_line(status, out if status == 2 else "", err)


FILE = "hydra.job_logging.handlers.file"
LONG = "x" * 300
# Lines that ended in a traceback once, and a part of what is said of them now.
ONCE = [
    (["hydra.output_subdir=run.json"], "must be .hydra, or null"),
    (["hydra.output_subdir=.config"], "must be .hydra, or null"),
    ([f"hydra.job.name={LONG}"], "at most 200 bytes"),
    (["-m", "seed=1,2", f"hydra.sweep.subdir={LONG}" + "${hydra.job.num}"], "more than 255 bytes"),
    (["-m", "seed=1,2", "hydra.sweep.subdir=summary/${hydra.job.num}"], "sweep itself writes to"),
    ([f"{FILE}.filename='${{hydra.runtime.output_dir}}/a/x.log'"], "must be"),
    ([f"+{FILE}.mode=r"], "mode: a or w"),
    ([f"+{FILE}.encoding=foo"], "mode: a or w"),
    ([f"+{FILE}.filters=[x]"], "no filters"),
    (["+hydra.job_logging.incremental=true"], "no incremental"),
    (["hydra.job_logging.formatters.plain.format='%(bogus)s'"], "bogus"),
    (["-m", "seed=1,2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0"], "n_jobs == 0"),
    (["-m", "seed=1,2", "hydra/launcher=submitit_slurm"], "srun"),
    (["--help", "hydra.help.template='$FOO'"], "hydra.help.template: cannot be filled in"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "part"), ONCE, ids=lambda value: str(value)[:60])
def test_lines_that_ended_in_a_traceback(
    line: list[str], part: str, gradexp: Gradexp, tmp_path: Path
) -> None:
    status, _, err = gradexp("run", *line, "steps=2", "log=none")
    assert status == 2
    assert part in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not list(tmp_path.rglob("run.json"))


def test_a_package_that_is_not_there(gradexp: Gradexp) -> None:
    status, _, err = gradexp("run", "--cfg", "all", "--package", "foo.bar")
    assert status == 2
    assert err.splitlines()[-1] == "gradexp: --package=foo.bar: is not in the config"


def test_folders_of_any_name_are_shown(gradexp: Gradexp, tmp_path: Path) -> None:
    assert gradexp("run", "steps=2", "log=none", "hydra.run.dir='a b=c ü'")[0] == 0
    assert gradexp("show", "a b=c ü", "--save", "x.png")[0] == 0
    status, _, err = gradexp("show", "missing/folder")
    assert (status, err.count("\n")) == (2, 1)
    assert "there is no such folder" in err
