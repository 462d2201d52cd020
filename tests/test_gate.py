"""Nothing is let in: config files, run folders and tables are data, whoever wrote them."""

import json
import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from hydra.experimental import callbacks

from gradexp import optimize
from gradexp.comparison.expressions import InvalidExpression, UnknownName, select_rows
from gradexp.engine.codegen import block, cache
from gradexp.errors import printable
from gradexp.optimizers import SGD
from gradexp.processes.environment import AT_START
from gradexp.surfaces import get
from tests.conftest import Gradexp, left_behind

QUICK = ["steps=3", "log=none"]

# What a config file has below `hydra:`, and what the one line that is answered names.
CALLBACK = "hydra.experimental.callbacks.LogJobReturnCallback"
PICKLES = "hydra.experimental.callbacks.PickleJobInfoCallback"
COMMANDS = [
    # a mapping with a target, by way of a key of Hydra's that may hold one
    (f"runtime: {{choices: {{evil: '${{elsewhere}}'}}}}\n  callbacks: {{c: {{_target_: {CALLBACK}, "
     "x: '${hydra.runtime.choices.evil}'}}", "callbacks.c.x"),
    ("help: {footer: evil}\n  sweeper: {params: {a: '${hydra.help.footer}'}}", "sweeper.params.a"),
    # a scheme in two halves
    ("help: {footer: '://evil.x'}\n  job_logging: {formatters: {x: "
     "{datefmt: 'ext${hydra.help.footer}'}}}", "x.datefmt"),
    ("job: {name: x}\n  job_logging: {formatters: {x: {datefmt: '${hydra.job.name}'}}}", "datefmt"),
    # a folder of Hydra's that a config chooses
    ("runtime: {output_dir: /tmp}", "hydra.runtime.output_dir"),
    ("hydra_logging: {handlers: {f: {class: logging.FileHandler, "
     "filename: '${hydra.sweep.dir}/evil.log'}}}", "f.filename"),
    ("sweep: {dir: \"a\\nb\"}", "hydra.sweep.dir"),
    # plugins of which nothing is known
    *(
        [(f"callbacks: {{c: {{_target_: {PICKLES}}}}}", "pickles")]
        if hasattr(callbacks, "PickleJobInfoCallback")  # Hydra 1.4 does not have it
        else []
    ),
    ("launcher: {_target_: hydra_plugins.mine.Launcher}", "hydra.launcher._target_"),
    ("job: {env_set: {CXX: \"sh -c 'touch evil'\"}}", "hydra.job.env_set"),
    ("job: {env_set: {PATH: /tmp, LD_PRELOAD: evil.so}}", "hydra.job.env_set"),
    ("job: {env_set: {GRADEXP_TRUST: os}}", "hydra.job.env_set"),
    ("job: {env_set: '${oc.create:{A: b}}'}", "hydra.job.env_set"),
    ("job: {env_copy: [SECRET]}", "hydra.job.env_copy"),
    ("job: {name: ../evil}", "hydra.job.name"),
    ("job: {name: a/b}", "hydra.job.name"),
    ("job: {name: '${oc.env:SECRET}'}", "hydra.job.name"),
    ("output_subdir: ../evil", "hydra.output_subdir"),
    ("output_subdir: /tmp/evil", "hydra.output_subdir"),
    ("output_subdir: '${oc.env:SECRET}'", "hydra.output_subdir"),
    ("job_logging: {handlers: {file: {filename: evil}}}", "file.filename"),
    ("job_logging: {handlers: {file: {filename: /tmp/evil, mode: w}}}", "file.filename"),
    ("job_logging: {handlers: {file: {filename: '${hydra.runtime.output_dir}/../evil'}}}",
     "file.filename"),
    ("job_logging: {handlers: {file: {filename: '${hydra.runtime.output_dir}/x/../../evil'}}}",
     "file.filename"),
    ("job_logging: {handlers: {file: {filename: '${hydra.runtime.output_dir}/evil.desktop'}}}",
     "file.filename"),
    ("job_logging: {handlers: {file: {filename: 'cfg://formatters.plain.format'}}}",
     "file.filename"),
    ("hydra_logging: {handlers: {x: {class: logging.FileHandler, filename: evil}}}", "x.filename"),
    ("hydra_logging: {handlers: {x: {class: logging.FileHandler, "
     "filename: '${hydra.runtime.cwd}/evil'}}}", "x.filename"),
    ("job_logging: {handlers: {file: {delay: true, '.': {baseFilename: evil}}}}", "file"),
    ("job_logging: {handlers: {x: {class: logging.handlers.SocketHandler, host: h, port: 1}}}",
     "x.class"),
    ("job_logging: {formatters: {x: {'()': 'mine.torch.load', f: evil}}}", "x.()"),
    ("job_logging: {filters: {x: {'()': 'mine.Run'}}}", "x.()"),
    ("job_logging: {root: {level: 'cfg://root.handlers'}}", "root.level"),
    ("job_logging: 5", "Cannot assign int"),
    ("launcher: 5", "hydra.launcher"),
    ("sweeper: 5", "hydra.sweeper"),
    ("run: {dir: 'out/${oc.env:SECRET}'}", "only numbers are taken from the environment"),
    ("run: {dir: 'out/${oc.${hydra.help.footer}:SECRET}'}\n  help: {footer: env}",
     "only numbers are taken from the environment"),
]  # fmt: skip


@pytest.fixture
def shared(tmp_path: Path) -> Callable[[str], list[str]]:
    """A config file that somebody shared, and the command that runs it."""

    def write(text: str) -> list[str]:
        (tmp_path / "theirs").mkdir(exist_ok=True)
        (tmp_path / "theirs" / "shared.yaml").write_text(text)
        return ["--config-dir", "theirs", "-cn", "shared"]

    return write


@pytest.mark.parametrize(("text", "part"), COMMANDS, ids=lambda value: str(value))
def test_a_config_file_neither_runs_nor_writes_anything(
    text: str,
    part: str,
    gradexp: Gradexp,
    shared: Callable[[str], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    monkeypatch.setitem(AT_START, "GRADEXP_TRUST", "mine")
    (tmp_path / "mine.py").write_text("import torch\nclass Run: pass\n")
    evil = "elsewhere: {_target_: builtins.open, _args_: [evil, w]}\n"
    command = shared(
        f"defaults: [config, _self_]\nsteps: 2\n{evil if 'elsewhere' in text else ''}"
        f"hydra:\n  {text}\n"
    )
    before = left_behind(tmp_path)
    status, out, err = gradexp("run", *command, "engine.compile=always")
    assert status == 2, out
    assert err.count("\n") == 1
    assert part in err
    assert "s3cret" not in err
    assert left_behind(tmp_path) == before


LAUNCHERS = [
    ("hydra.launcher.setup=[touch evil]", "hydra.launcher.setup"),
    ("hydra.launcher.additional_parameters={x: y}", "hydra.launcher.additional_parameters"),
    ("hydra.launcher.srun_args=['--task-prolog=evil']", "hydra.launcher.srun_args"),
    ("hydra.launcher.comment='a;touch evil'", "hydra.launcher.comment"),
    ("hydra.launcher.submitit_folder=/tmp/evil", "hydra.launcher.submitit_folder"),
    ("hydra.launcher.submitit_folder='${hydra.sweep.dir}/../evil'", "submitit_folder"),
]


@pytest.mark.parametrize(("override", "part"), LAUNCHERS)
def test_a_launcher_is_given_no_lines_of_a_shell(
    override: str, part: str, gradexp: Gradexp, tmp_path: Path
) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="of an optional extra")
    arguments = ["run", "-m", "seed=1,2", *QUICK, "hydra/launcher=submitit_slurm", override]
    status, _, err = gradexp(*arguments)
    assert status == 2
    assert err.count("\n") == 1
    assert part in err
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    "overrides",
    [
        ["hydra.searchpath=[pkg://evil]", "hydra.searchpath=[]"],
        ["hydra.searchpath=[]", "hydra.searchpath=[pkg://evil]"],
        ["+hydra.searchpath=[pkg://evil]"],
        ["++hydra.searchpath=[pkg://evil]", "hydra.searchpath=[]"],
    ],
)
@pytest.mark.parametrize("sweep", [False, True], ids=["run", "sweep"])
def test_no_package_is_imported_by_a_search_path(
    overrides: list[str],
    sweep: bool,
    gradexp: Gradexp,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "__init__.py").write_text("open('imported', 'w').close()")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = left_behind(tmp_path)
    more = ["-m", "seed=1,2"] if sweep else []
    status, _, err = gradexp("run", *more, *QUICK, *overrides)
    assert status == 2
    assert err.count("\n") == 1
    assert "evil" not in sys.modules
    assert left_behind(tmp_path) == before


def test_nor_by_that_of_a_sweep_that_is_gone_on_with(gradexp: Gradexp, tmp_path: Path) -> None:
    assert gradexp("run", "-m", "seed=1,2", *QUICK, "hydra.sweep.dir=s")[0] == 0
    plan = json.loads((tmp_path / "s" / "sweep.json").read_text())
    plan["arguments"] += ["hydra.searchpath=[pkg://evil]", "hydra.searchpath=[]"]
    (tmp_path / "s" / "sweep.json").write_text(json.dumps(plan))
    status, _, err = gradexp("resume", "s")
    assert status == 2
    assert "pkg://evil" in err


RUNS = pd.DataFrame(
    {
        "optimizer.lr": [0.1, 0.01, 0.001],
        "outcome": ["converged", "budget", "saddle"],
        "metrics.steps_to_gap.1e-06": [10.0, float("nan"), 30.0],
        "@os.system('touch evil')": [1, 2, 3],
        "flag": [True, False, True],
    }
)
NAMES = {str(name): str(name) for name in RUNS} | {
    "lr": "optimizer.lr",
    "steps_to_gap.1e-06": "metrics.steps_to_gap.1e-06",
}


@pytest.mark.parametrize(
    ("expression", "kept"),
    [
        ("optimizer.lr < 0.05", [1, 2]),
        ("lr == 1e-2 or lr == 0.1", [0, 1]),
        ("0.001 < lr <= 0.1 and not outcome == 'budget'", [0]),
        ("outcome in ['budget', 'saddle']", [1, 2]),
        ('outcome not in ("budget",)', [0, 2]),
        ("outcome != 'optimizer.lr'", [0, 1, 2]),
        ("steps_to_gap.1e-06 < 20", [0]),
        ("not (steps_to_gap.1e-06 < 20)", [1, 2]),
        ("flag", [0, 2]),
        ("flag == true and lr > -1", [0, 2]),
    ],
)
def test_expressions(expression: str, kept: list[int]) -> None:
    found = select_rows(RUNS, expression, NAMES)
    assert RUNS.index[found].tolist() == kept


@pytest.mark.parametrize(
    "expression",
    [
        "@os.system('touch evil')",
        "__import__('os').system('touch evil') == 0",
        "lr.__class__ == 1",
        "lr.map(print) == 1",
        "(lambda: 1)() == lr",
        "[x for x in lr] == lr",
        "lr if lr else lr",
        "lr[0] < 1",
        "f'{lr}' == lr",
        "lr < 10 ** 10 ** 10",
        "(lr := 5) == 5",
        "lr @ lr == 1",
        "lr == outcome.str",
        "lr < 'a'",
        "1 < 2",
        f"lr < 1{'0' * 400}",
        "not " * 900 + "flag",
        "(" * 900 + "flag" + ")" * 900,
    ],
)
def test_what_is_no_expression_is_refused(
    expression: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((InvalidExpression, UnknownName)):
        select_rows(RUNS, expression, NAMES)
    assert left_behind(tmp_path) == []


def test_a_column_of_a_table_runs_nothing(gradexp: Gradexp, tmp_path: Path) -> None:
    assert gradexp("run", "-m", "seed=1,2", *QUICK, "hydra.sweep.dir=s")[0] == 0
    path = tmp_path / "s" / "runs.parquet"
    table = pd.read_parquet(path)
    evil = "@__import__('os').system('touch evil')"
    table[evil] = [1, 2]
    table.to_parquet(path)
    for where in (f"{evil} == 1", "seed == 1"):
        gradexp("compare", "s", "--where", where)
        assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("mine.bowl", True),
        ("mine.load", False),
        ("mine.torch.load", False),
        ("mine.Path", False),
        ("mine.partial", False),
        ("mine.caller", False),
        ("mine.Plain", False),
        ("mine.system", False),
    ],
)
def test_a_trusted_package_gives_only_what_is_defined_in_it(
    target: str,
    allowed: bool,
    gradexp: Gradexp,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(AT_START, "GRADEXP_TRUST", "mine")
    sys.modules.pop("mine", None)
    (tmp_path / "mine.py").write_text(
        "import functools, torch\nfrom os import system\nfrom pathlib import Path\n"
        "from torch import load\n"
        "def bowl(point):\n    x, y = point\n    return x**2 + y**2\n"
        "partial = functools.partial(bowl)\n"
        "class Caller:\n    def __call__(self, x, y):\n        return x\n"
        "caller = Caller()\n"
        "class Plain:\n    def __init__(self, **kwargs):\n        open('evil', 'w').close()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    status, _, err = gradexp("run", "surface=own", f"surface._target_={target}", *QUICK)
    sys.modules.pop("mine", None)
    assert (status == 0) == allowed, err
    assert err.count("\n") == 1 or allowed
    assert not (tmp_path / "evil").exists()


def compiled() -> None:
    """Makes a compiled program, as a new process would."""
    block._block.cache_clear()
    rates = torch.full((3,), 0.1)
    optimize(get("matyas"), (1.0, 1.0), SGD(lr=rates), steps=9, compile="always")


def test_programs_are_kept_where_nobody_else_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a" / "programs"
    monkeypatch.setitem(AT_START, "GRADEXP_CACHE", str(folder))
    compiled()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (program, *_) = folder.glob("*.program")
    assert cache.whole(program)
    program.chmod(0o666)
    assert not cache.whole(program)
    program.chmod(0o700)
    folder.chmod(0o777)
    assert not cache.whole(program)
    before = left_behind(folder)
    compiled()  # it is not kept there, nor is the folder of a person's own changed
    assert left_behind(folder) == before
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777
    folder.chmod(0o700)
    assert cache.whole(program)
    elsewhere = tmp_path / "elsewhere"
    program.rename(elsewhere)
    program.symlink_to(elsewhere)
    assert not cache.whole(program)


def test_a_cache_that_is_a_link_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    monkeypatch.setitem(AT_START, "GRADEXP_CACHE", str(tmp_path / "link"))
    compiled()
    assert left_behind(tmp_path / "theirs") == []
    assert "compiled programs are not kept" in caplog.text


def test_the_cache_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "programs"
    monkeypatch.setitem(AT_START, "GRADEXP_CACHE", str(folder))
    monkeypatch.setattr(cache, "_MOST", 10)
    folder.mkdir(mode=0o700)
    programs = [folder / f"{age:032x}.program" for age in range(20)]
    for age, program in enumerate(programs):
        program.touch()
        os.utime(program, (0, time.time() - 100 * age))
    killed, at_work, mine = (
        folder / f".gradexp-building-{name}" for name in ("old", "new", "mine")
    )
    for made in (killed, at_work, mine):  # what a process has left that was killed as it compiled
        made.mkdir()
        (made / "step.cpp").touch()
    (mine / "notes.txt").touch()
    for made in (killed, mine):
        os.utime(made, (0, 0))
    theirs = {"notes.txt", "mine.program", at_work.name, mine.name}
    for name in ("notes.txt", "mine.program"):
        (folder / name).touch()
        os.utime(folder / name, (0, 0))
    compiled()
    left = {path.name for path in folder.iterdir()}
    assert len([name for name in left if name.endswith(".program")]) <= 11
    assert killed.name not in left
    assert (mine / "notes.txt").exists()
    assert {*theirs, programs[0].name} <= left
    assert programs[19].name not in left


BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
)
MERGED = "\n".join(
    ["a0: &a0 {x: 1}"]
    + [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 9)]
)


@pytest.mark.parametrize("bomb", [BOMB, MERGED], ids=["lists", "merges"])
def test_a_few_lines_that_expand_to_billions_are_refused(
    bomb: str, gradexp: Gradexp, shared: Callable[[str], list[str]], tmp_path: Path
) -> None:
    assert gradexp("run", *QUICK, "hydra.run.dir=r")[0] == 0
    command = shared(f"defaults: [config, _self_]\nsteps: 2\n{bomb}\n")
    for name in ("config.yaml", "overrides.yaml"):
        (tmp_path / "r" / ".hydra" / name).write_text(f"{bomb}\n")
    (tmp_path / "theirs" / "surface").mkdir()
    (tmp_path / "theirs" / "surface" / "bomb.yaml").write_text(f"{bomb}\n")
    before = left_behind(tmp_path)
    for arguments in (
        ["run", *command],
        ["run", "--config-dir", "theirs", "surface=bomb"],
        ["run", "--config-path", "r/.hydra", "-cn", "config"],
        ["replay", "r"],
        ["show", "r"],
        ["compare", "r"],
    ):
        began = time.perf_counter()
        status, _, err = gradexp(*arguments)
        assert time.perf_counter() - began < 20  # a second; copied out it would take hours
        assert status == 2
        assert err.count("\n") == 1
        assert "expand to more than" in err
    assert left_behind(tmp_path) == before


def test_the_environment_gives_numbers_and_names_what_was_typed(
    gradexp: Gradexp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASK", "7")
    monkeypatch.setenv("SECRET", "s3cret")
    assert (
        gradexp("run", *QUICK, "seed=${oc.env:TASK}", "hydra.run.dir=out/${oc.env:SECRET}")[0] == 0
    )
    assert (tmp_path / "out" / "s3cret" / "run.json").exists()
    status, _, err = gradexp("run", *QUICK, "device=${oc.env:SECRET}")
    assert status == 2
    assert "s3cret" not in err
    assert gradexp("run", *QUICK, "seed=${oc.env:NOWHERE,3}", "hydra.run.dir=d")[0] == 0
    assert gradexp("replay", "out/s3cret")[0] == 0


def test_what_would_command_the_terminal_is_written_out(gradexp: Gradexp, tmp_path: Path) -> None:
    assert printable("a\x1b[2Jb\x07\u202e\n") == "a\\x1b[2Jb\\x07\\u202e\n"
    assert gradexp("run", "-m", "seed=1,2", *QUICK, "hydra.sweep.dir=s")[0] == 0
    record = tmp_path / "s" / "0" / "run.json"
    text = json.loads(record.read_text())
    text["outcome"] = "\x1b]0;evil\x07"
    text["versions"]["torch"] = "\x1b[31m"
    text["digest"] = "\x1b[2J"
    record.write_text(json.dumps(text))
    (tmp_path / "s" / "runs.parquet").unlink()
    for arguments in (["compare", "s"], ["replay", "s/0"], ["show", "s/\x1b[2J"]):
        _, out, err = gradexp(*arguments)
        assert "\x1b" not in out + err
        assert "\x07" not in out + err
