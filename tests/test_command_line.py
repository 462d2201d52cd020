"""The command line beside `gradexp run`'s work: help, lists, Hydra's flags, the installed wheel."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from gradexp import __version__
from gradexp.cli import terminal
from gradexp.config.choices import CONF, EXPERIMENTS, choices, groups
from gradexp.results import is_whole
from tests.conftest import Gradexp, left_behind

ROOT = Path(__file__).parent.parent
GROUPS = [
    "surface", "init", "optimizer", "schedule", "noise", "clip", "engine", "record", "stop", "log",
]  # fmt: skip


def test_groups_are_those_of_the_defaults_list_and_of_the_folders() -> None:
    assert groups() == GROUPS
    assert sorted(path.name for path in CONF.iterdir() if path.is_dir()) == sorted(GROUPS)


def test_help_shows_groups_keys_and_examples(gradexp: Gradexp, tmp_path: Path) -> None:
    status, out, _ = gradexp("run", "--help")
    assert status == 0
    for group in GROUPS:
        assert re.search(rf"^{group}: \w+", out, re.MULTILINE)
    for key in ("lr: 0.001", "momentum: 0.0", "steps: 1000", "device: auto"):
        assert key in out
    assert len(re.findall(r"^gradexp run .*=", out, re.MULTILINE)) >= 3
    assert left_behind(tmp_path) == []


def test_examples_in_the_help_work(gradexp: Gradexp) -> None:
    _, out, _ = gradexp("run", "--help")
    examples = re.findall(r"^gradexp (run .*=.*)$", out, re.MULTILINE)
    assert len(examples) >= 3
    for example in examples:
        assert gradexp(*example.split(), "steps=3", "log=none")[0] == 0


def test_hydras_flags(gradexp: Gradexp, tmp_path: Path) -> None:
    _, out, _ = gradexp("run", "--cfg", "job", "surface=levy")
    config = yaml.safe_load(out)
    assert list(config) == [*GROUPS, "steps", "seed", "dtype", "device", "sweep"]
    assert config["surface"]["_target_"].endswith(".Levy")
    _, out, _ = gradexp("run", "--cfg", "job", "--package", "init", "init=uniform", "--resolve")
    assert "seed: 0" in out
    _, out, _ = gradexp("run", "--info", "searchpath")
    assert str(CONF) in out
    assert str(EXPERIMENTS) in out
    _, out, _ = gradexp("run", "--info", "defaults")
    assert "surface/rosenbrock" in out
    assert gradexp("run", "--hydra-help")[0] == 0
    assert left_behind(tmp_path) == []


def test_config_dir_adds_choices_and_experiments(gradexp: Gradexp, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "surface").mkdir(parents=True)
    (mine / "surface" / "gentle.yaml").write_text(
        "_target_: gradexp.surfaces.multi_minima.polynomial.Rosenbrock\ndim: 2\nb: 1.0\n"
    )
    (mine / "slow.yaml").write_text(
        "defaults: [config, override surface: gentle, _self_]\nsteps: 3\n".replace(
            "override surface: gentle", "{override surface: gentle}"
        )
    )
    status, out, err = gradexp("run", "--config-dir", "mine", "-cn", "slow", "log=none")
    assert status == 0, err
    assert re.search(r"steps +3\b", out)
    assert gradexp("run", "--config-dir", "mine", "surface=gentle", "steps=3", "log=none")[0] == 0


def test_run_and_multirun_flags_win_over_the_config(gradexp: Gradexp, tmp_path: Path) -> None:
    status, _, err = gradexp("run", "--run", "-cn", "learning_rate", "steps=3", "log=none")
    assert status == 0, err
    assert not (tmp_path / "multirun").exists()
    assert gradexp("run", "--multirun", "steps=3", "log=none")[0] == 0
    assert (tmp_path / "multirun").exists()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gradexp ", {"run", "list"}),
        ("gradexp r", {"replay", "resume", "run"}),
        ("gradexp run surface=ro", {"surface=rosenbrock"}),
        ("gradexp run optimizer.", {"optimizer.lr=", "optimizer.momentum="}),
        ("gradexp run -m surface=himmelblau init=un", {"init=uniform"}),
        ("gradexp list ", set()),
    ],
)
def test_shell_completion(
    line: str, expected: set[str], gradexp: Gradexp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    status, out, _ = gradexp("-sc", "query=bash")
    assert status == 0
    assert expected <= set(out.split())
    assert expected or not out.strip()


def test_shell_completion_is_installed_for_the_program(gradexp: Gradexp) -> None:
    for arguments in (("-sc", "install=bash"), ("run", "-sc", "install=bash")):
        status, out, _ = gradexp(*arguments)
        assert status == 0
        assert "hydra_bash_completion" in out


def test_list(gradexp: Gradexp) -> None:
    _, out, _ = gradexp("list")
    for name in [*GROUPS, "experiment"]:
        assert re.search(rf"^ ?{name} ", out, re.MULTILINE)
    _, out, _ = gradexp("list", "surfaces")
    assert re.search(r"rosenbrock +multi_minima +dim=2, b=100.0 +\S", out)
    for choice in choices(CONF / "surface"):
        assert re.search(rf"^ ?{choice.name} ", out, re.MULTILINE)
    _, out, _ = gradexp("list", "optimizers")
    assert "momentum=0.0" in out
    for name in ("surface", "inits", "log", "experiments"):
        assert gradexp("list", name)[0] == 0


def test_a_narrow_terminal_breaks_no_word_of_a_list(
    gradexp: Gradexp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "_console", lambda: Console(width=80))
    _, out, _ = gradexp("list", "optimizers")
    assert max(map(len, out.splitlines())) <= 80
    for word in ("initial_accumulator_value=0.0", "torch.optim.Adagrad", "Duchi, Hazan and Singer"):
        assert word in out


def test_list_does_not_wait_for_torch_or_hydra() -> None:
    code = (
        "import sys; from gradexp.cli import main; main(['list', 'surfaces']);"
        "heavy = {'torch', 'hydra', 'numpy', 'pandas', 'matplotlib'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_a_run_does_not_wait_for_what_it_does_not_use(tmp_path: Path) -> None:
    # Some innocent calls of torch's import its compiler, or sympy: 0.3 to 1.2 s.
    code = (
        "import sys; from gradexp.cli import main; main(['run', 'steps=20']);"
        "heavy = {'sympy', 'torch._dynamo', 'pandas', 'matplotlib.pyplot'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from gradexp.cli import main

    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"gradexp {__version__}\n"


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_experiments_run_by_name(path: Path, gradexp: Gradexp, tmp_path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# ")
    for key in ("surface", "init", "optimizer"):  # complete in itself
        assert f"override {key}:" in text
    less = ["seed=0", "optimizer.lr=0.1"] if path.stem == "optimizers" else []
    given = ("-cn", path.stem, "steps=3", "log=none", "hydra.sweep.dir=s", *less)
    status, out, err = gradexp("run", *given)
    assert status == 0, err
    jobs = {"learning_rate": 9, "initialization": 16, "saddle": 12, "optimizers": 15}[path.stem]
    assert sum(is_whole(tmp_path / "s" / str(number)) for number in range(jobs + 1)) == jobs
    assert len(re.findall(r"^ +\d+ ", out, re.MULTILINE)) == jobs


@pytest.mark.slow
def test_the_wheel_works_from_an_empty_folder(tmp_path: Path) -> None:
    def run(*command: str | Path, cwd: Path = tmp_path) -> str:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            [str(part) for part in command], cwd=cwd, env=environment, check=True,
            capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout

    run(
        sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "dist",
        cwd=ROOT,
    )  # fmt: skip
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    # Its dependencies are those of this environment; gradexp itself comes from the wheel only.
    site = tmp_path / "site"
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel)
    empty = tmp_path / "empty"
    empty.mkdir()
    program = (
        f"import sys; sys.path.insert(0, {str(site)!r});"
        "import gradexp; assert gradexp.__file__.startswith(sys.path[0]), gradexp.__file__;"
        "from gradexp.cli import main; sys.exit(main(sys.argv[1:]))"
    )

    def installed(*arguments: str) -> str:
        return run(sys.executable, "-c", program, *arguments, cwd=empty)

    assert "rosenbrock" in installed("list", "surfaces")
    assert "== Groups ==" in installed("run", "--help")
    assert "converged" in installed("run", "-cn", "initialization", "hydra.sweep.dir=s")
    assert is_whole(empty / "s" / "15")


def test_the_first_tables_of_the_readme_are_what_the_main_job_prints(gradexp: Gradexp) -> None:
    """Costs 3 s."""
    shown = (ROOT / "README.md").read_text().split("```\n job ")[1].split("```")[0]
    status, out, _ = gradexp("run", "-cn", "learning_rate")
    assert status == 0
    printed = out.split("\n job ")[1].split("\nfolder:")[0]

    def words(text: str) -> list[str | float]:
        """Its words, and its numbers as far as they do not depend on the processor."""
        found = (word for word in text.split() if not set(word) <= {"─"})
        number = r"-?\d[\d.]*(e[+-]\d+)?"
        return [float(f"{float(w):.3g}") if re.fullmatch(number, w) else w for w in found]

    assert words(shown) == words(printed)
