"""`gradexp compare`: which runs it takes, what it says of them, and a person's mistakes."""

import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gradexp.cli import terminal
from gradexp.comparison.gathering import gather
from gradexp.comparison.optimizers import optimizers_table
from gradexp.comparison.predictions import escapes_table
from gradexp.results import TABLE, read_run, write_table
from tests.conftest import Gradexp


def swept(gradexp: Gradexp, folder: str, *overrides: str) -> None:
    arguments = ["surface=sphere", "steps=100", "log=none", f"hydra.sweep.dir={folder}"]
    told = {override.partition("=")[0] for override in overrides}
    arguments = [one for one in arguments if one.partition("=")[0] not in told]
    assert gradexp("run", "-m", *overrides, *arguments)[0] in (0, 1)


def test_seeds_and_starts_are_repeats_and_all_else_is_the_setting(
    gradexp: Gradexp, tmp_path: Path
) -> None:
    axes = ["optimizer.lr=0.1,0.4,-1", "optimizer.momentum=0,0.5", "init=uniform", "seed=1,2"]
    swept(gradexp, "s", *axes)
    some = gather([tmp_path / "s"])
    assert some.setting_keys == ("optimizer.lr", "optimizer.momentum")
    assert some.repeat_keys == ("seed",)
    assert (len(some.runs), some.failed) == (8, 4)
    assert some.metric.column == "metrics.steps_to_gap.1e-09"
    assert some.metric.label == "steps to a loss gap of 1e-09"
    assert gather([tmp_path / "s"], by=["seed"]).repeat_keys == (
        "optimizer.lr",
        "optimizer.momentum",
    )
    assert gather([tmp_path / "s"], metric="steps_to_gap.1e-3").metric.column.endswith("0.001")
    assert gather([tmp_path / "s"], metric="final_loss").metric.label == "final loss"
    kept = gather([tmp_path / "s"], where="optimizer.lr < 0.2 and steps > 1 and seed == 1")
    assert kept.runs["optimizer.lr"].tolist() == [0.1, 0.1]
    assert len(gather([tmp_path / "s"], where="outcome == 'converged'").runs) == 8
    assert len(gather([tmp_path / "s", tmp_path / "s", tmp_path / "s" / "1"]).runs) == 8


def test_distances_of_starts_are_settings(gradexp: Gradexp, tmp_path: Path) -> None:
    axes = ["init=near_saddle", "init.distance=1e-3,1e-2", "surface=strict", "steps=500"]
    swept(gradexp, "s", *axes, "optimizer.lr=0.05,0.1")
    some = gather([tmp_path / "s"])
    assert some.setting_keys == ("init.distance", "optimizer.lr")
    table = escapes_table(some)
    assert table is not None
    for row in table.frame.to_dict("records"):
        assert row["predicted"] <= row["measured"] <= row["predicted"] * 1.03 + 1
    # Without points no escape can be seen, and none is predicted.
    swept(gradexp, "m", *axes, "record=metrics")
    assert escapes_table(gather([tmp_path / "m"])) is None


def test_config_keys_come_before_figures_of_their_name(gradexp: Gradexp, tmp_path: Path) -> None:
    swept(gradexp, "s", "steps=100,200", "optimizer.lr=0.4")
    assert len(gather([tmp_path / "s"], where="steps == 100").runs) == 1
    assert len(gather([tmp_path / "s"], where="metrics.steps < 100").runs) == 2


def test_what_was_not_recorded_or_is_not_known_is_not_compared(
    gradexp: Gradexp, tmp_path: Path
) -> None:
    swept(gradexp, "one", "optimizer.lr=0.1,0.2", "record.tolerances=[1e-2,1e-6]")
    swept(gradexp, "two", "optimizer.lr=0.3,0.4", "record.tolerances=[1e-2,1e-7]")
    some = gather([tmp_path / "one", tmp_path / "two"])
    assert some.metric.column == "metrics.steps_to_gap.0.01"
    swept(gradexp, "s", "surface=sphere,hyperbolic", "optimizer.lr=0.1,0.2")
    some = gather([tmp_path / "s"])
    assert set(some.runs["surface"]) == {"sphere"}
    assert some.without_minimum == 2
    assert "2 runs of surfaces without a known minimum, left out" in some.summary()


def test_a_sweep_without_configs_or_of_text_and_numbers(gradexp: Gradexp, tmp_path: Path) -> None:
    swept(gradexp, "s", "optimizer.lr=0.1,0.2", "hydra.output_subdir=null")
    assert gradexp("compare", "s")[0] == 0
    status, _, err = gradexp("compare", "s", "--save", "t")
    assert status == 2
    assert "its config is not there" in err
    swept(gradexp, "m", "init=normal", "init.center=null,[0,1]", "optimizer.lr=0.1,0.2,0.3")
    assert gradexp("compare", "m", "--save", "t", "--formats", "parquet,csv")[0] == 0
    (tmp_path / "m" / "1" / "trace.npz").unlink()
    status, _, err = gradexp("compare", "m", "--save", "u", "--formats", "png")
    assert status == 2
    assert "holds no whole run" in err
    assert not (tmp_path / "u").exists()


def test_sweeps_are_joined_by_what_their_configs_say(gradexp: Gradexp, tmp_path: Path) -> None:
    swept(gradexp, "one", "optimizer.lr=0.1,0.2")
    swept(gradexp, "two", "optimizer.lr=0.1", "optimizer.momentum=0.5,0.9", "surface.dim=3")
    some = gather([tmp_path / "one", tmp_path / "two"])
    assert set(some.setting_keys) == {"optimizer.lr", "optimizer.momentum", "surface.dim"}
    assert some.runs["optimizer.momentum"].tolist() == [0.0, 0.0, 0.5, 0.9]
    assert some.runs["surface.dim"].tolist() == [2, 2, 3, 3]
    assert some.surface_keys == ("surface.dim",)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["s", "--where", "optimizer.lr = 0.1"],
            "example: optimizer.lr < 0.01 and outcome == 'converged'",
        ),
        (["s", "--where", "seed"], "seed: no such key; known: because, best_loss"),
        (["--by", "optimizer.lr", "s"], "required: FOLDER; see gradexp compare --help"),
        (["nowhere"], "no such folder"),
        (["s", "--by", "optimizer.lrr"], "did you mean optimizer.lr?"),
        (["s", "--metric", "steps_to_gap"], "no such metric; did you mean"),
        (["s", "--where", "lr <"], "cannot be read; example: optimizer.lr < 0.01"),
        (["s", "--where", "lr"], "is not true or false for each run"),
        (["s", "--where", "lrr < 1"], "lrr: no such key; did you mean lr?"),
        (["s", "--where", "outcome == converged"], "quote strings: 'converged'"),
        (["s", "--formats", "png"], "needs --save FOLDER"),
        (["s", "--where", "optimizer.lr > 9"], "no run matches"),
        (["s", "--formats", "xls", "--save", "t"], "must be one or more of csv, parquet, latex"),
        (["s", "--save", "s/multirun.yaml"], "cannot be written"),
    ],
)
def test_mistakes(gradexp: Gradexp, tmp_path: Path, arguments: list[str], line: str) -> None:
    swept(gradexp, "s", "optimizer.lr=0.1,0.2")
    status, _, err = gradexp("compare", *arguments)
    assert status == 2
    assert err.startswith("gradexp: ")
    assert len(err.splitlines()) == 1
    assert line in err


def test_the_command_prints_and_saves_its_tables(gradexp: Gradexp, tmp_path: Path) -> None:
    swept(gradexp, "s", "optimizer.lr=0.1,0.2,0.3,0.99", "init=uniform", "seed=range(5)")
    status, out, err = gradexp(
        "compare", "s", "--save", "t", "--formats", "csv,parquet,latex"
    )  # fmt: skip
    assert (status, err) == (0, "")
    for part in (
        "How runs ended",
        "How fast",
        "Differences from the best setting",
        "Variance explained",
        "saved:  t",
    ):
        assert part in out
    assert "20 runs of 4 settings over seed" in out
    names = {path.name for path in (tmp_path / "t").iterdir()}
    assert {"outcomes.csv", "outcomes.parquet", "outcomes.tex", "captions.txt"} <= names
    csv, parquet = pd.read_csv("t/speed.csv"), pd.read_parquet("t/speed.parquet")
    pd.testing.assert_frame_equal(csv, parquet)
    latex = Path("t/outcomes.tex").read_text()
    assert r"\toprule" in latex
    assert r"& converged \% &" in latex
    assert latex.isascii()
    assert not re.search(r"[^\\][_%]", latex.replace("tab:", ""))
    assert "outcomes: How runs ended. 20 runs" in Path("t/captions.txt").read_text()
    shown = gradexp("compare", "s", "--by", "seed", "--metric", "final_loss")[1]
    assert "final loss" in shown


def test_keys_are_known_by_their_last_part(gradexp: Gradexp, tmp_path: Path) -> None:
    swept(gradexp, "s", "optimizer.lr=0.1,0.2", "seed=1,2", "init=uniform")
    assert gather([tmp_path / "s"], by=["lr"]).setting_keys == ("optimizer.lr",)
    assert len(gather([tmp_path / "s"], where="lr < 0.15 and seed == 1").runs) == 1


def test_a_run_in_two_folders_counts_once(gradexp: Gradexp, tmp_path: Path) -> None:
    swept(gradexp, "s", "optimizer.lr=0.1,0.2,0.3")
    swept(gradexp, "t", "optimizer.lr=0.3,0.4,-1")
    both = gather([tmp_path / "s", tmp_path / "t"])
    assert sorted(both.runs["optimizer.lr"]) == [0.1, 0.2, 0.3, 0.4]
    assert "; 1 job failed, left out; 1 duplicate run left out" in both.summary()
    alone = gather([tmp_path / "s" / "0", tmp_path / "s" / "1", tmp_path / "s" / "0"])
    assert (len(alone.runs), alone.duplicates) == (2, 0)
    shutil.copytree(tmp_path / "s" / "1", tmp_path / "copy")
    assert gather([tmp_path / "s" / "1", tmp_path / "copy"]).duplicates == 1


def test_it_says_that_a_sweep_has_not_ended(gradexp: Gradexp, tmp_path: Path) -> None:
    swept(gradexp, "s", "optimizer.lr=0.1,0.2,0.3")
    rows: list[Any] = pd.read_parquet(tmp_path / "s" / TABLE).to_dict("records")
    write_table(tmp_path / "s", rows[:2], jobs=5)  # one more is whole by now
    some = gather([tmp_path / "s"])
    assert len(some.runs) == 3
    assert some.summary().endswith("; 2 jobs not ended yet")
    assert some.missing_summary() == "none failed; 2 jobs not ended yet"


def test_what_diverged_is_not_the_best(gradexp: Gradexp, tmp_path: Path) -> None:
    swept(
        gradexp,
        "s",
        "surface=hyperbolic",
        "optimizer.lr=0.5,1e-4",
        "init=point",
        "init.point=[1,1]",
    )
    some = gather([tmp_path / "s"], metric="final_loss")
    assert some.runs["metrics.final_loss"].idxmin() == 0
    assert [values["optimizer.lr"] for values, _ in some.settings] == [1e-4, 0.5]


def test_figures_that_cannot_be_drawn_are_named(gradexp: Gradexp, tmp_path: Path) -> None:
    swept(gradexp, "s", "optimizer.lr=0.1,0.2", "record=loss")
    status, out, _ = gradexp("compare", "s", "--save", "t")
    assert status == 0
    assert "not drawn (no point was recorded): trajectories, relief\n" in out
    captions = Path("t/captions.txt").read_text()
    assert "curves: sphere: loss by setting. 2 of 2 runs; none failed." in captions


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_figure_is_cut_or_folded(
    gradexp: Gradexp, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    swept(gradexp, "s", "optimizer.lr=0.123,0.234", "optimizer.momentum=0.1234,0", "init=uniform")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(terminal, "_WIDE", width)
    out = gradexp("compare", "s")[1]
    lines = [line for line in out.splitlines() if re.match(r" +0\.[12]", line)]
    assert len(lines) >= 8
    for line in lines:
        assert re.match(r" +(0\.123|0\.1234|0\.234) ", line)
        assert len(line) <= width
    assert ("no room for " in out) == (width < 200)


@pytest.mark.parametrize(
    "setting",
    [
        ["schedule=exponential", "record=metrics", "surface=hyperbolic", "steps=20"],
        ["optimizer=torch", "engine=reference", "optimizer._target_=torch.optim.Adagrad"],
    ],
    ids=lambda setting: setting[0],
)
def test_runs_without_theory_rates_or_known_minima(gradexp: Gradexp, setting: list[str]) -> None:
    swept(gradexp, "s", "optimizer.lr=0.01,0.1", "seed=1,2", "init=uniform", *setting)
    status, out, err = gradexp("compare", "s", "--save", "t")
    assert (status, err) == (0, "")
    assert "How fast" in out
    assert "Theory" not in out


def test_tables_of_one_run(gradexp: Gradexp) -> None:
    assert gradexp("run", "surface=sphere", "optimizer.lr=0.1", "hydra.run.dir=r")[0] == 0
    status, out, err = gradexp("compare", "r")
    assert (status, err) == (0, "")
    assert "1 run of 1 setting" in out


def test_what_an_optimizer_has_at_all_is_no_setting(gradexp: Gradexp, tmp_path: Path) -> None:
    swept(gradexp, "s", "optimizer=sgd,adam", "optimizer.lr=0.1,0.2", "seed=1,2", "init=uniform")
    some = gather([tmp_path / "s"])
    assert some.setting_keys == ("optimizer", "optimizer.lr")
    assert some.repeat_keys == ("seed",)
    # Between folders a momentum may differ that no run was told of but one's.
    swept(
        gradexp, "m", "optimizer.momentum=0.5", "optimizer.lr=0.1,0.2", "seed=1,2", "init=uniform"
    )
    both = gather([tmp_path / "s", tmp_path / "m"])
    assert set(both.setting_keys) == {"optimizer", "optimizer.lr", "optimizer.momentum"}
    status, out, _ = gradexp("compare", "s")
    assert status == 0
    assert "Optimizers, each at its best learning rate" in out
    assert "all had the same: 2 learning rates, 2 seeds, at most 100 steps" in " ".join(out.split())


def test_optimizers_of_different_budgets_are_not_called_alike(
    gradexp: Gradexp, tmp_path: Path
) -> None:
    axes = ["optimizer.lr=0.1,0.2,0.4", "seed=1,2", "init=uniform"]
    swept(gradexp, "short", "optimizer=sgd", "steps=100", *axes)
    swept(gradexp, "long", "optimizer=adam", "steps=300", *axes)
    both = gather([tmp_path / "short", tmp_path / "long"])
    assert both.setting_keys == ("optimizer", "steps", "optimizer.lr")
    assert both.repeat_keys == ("seed",)
    table = optimizers_table(both)
    assert table is not None
    assert "not a fair comparison: they were not given the same budgets" in table.footer
    # Where both had both, each budget is compared for itself.
    swept(gradexp, "grid", "optimizer=sgd,adam", "steps=100,300", *axes)
    table = optimizers_table(gather([tmp_path / "grid"]))
    assert table is not None
    assert table.frame["steps"].tolist() == [100, 100, 300, 300]
    assert "all had the same: 3 learning rates, 2 seeds" in table.footer


def test_where_no_run_arrives_there_are_no_steps_to_draw(gradexp: Gradexp) -> None:
    swept(gradexp, "s", "optimizer=sgd,adam", "optimizer.lr=1e-9,2e-9,3e-9")
    status, _, err = gradexp("compare", "s", "--metric", "steps_to_gap.1e-09", "--save", "f")
    assert status == 0, err
    assert not Path("f/learning_rates.png").exists()


LBFGS = ["optimizer=torch", "engine=reference", "optimizer._target_=torch.optim.LBFGS"]


def test_steps_that_take_several_gradients_are_counted_by_these(
    gradexp: Gradexp, tmp_path: Path
) -> None:
    common = ["seed=1,2,3", "init=uniform", "surface=himmelblau"]
    swept(gradexp, "l", *LBFGS, "+optimizer.max_iter=4", "+optimizer.lr=0.5,1", *common)
    swept(gradexp, "s", "optimizer=sgd", "optimizer.lr=0.01,0.02", "record=loss", *common)
    plain = gather([tmp_path / "s"])
    assert plain.metric.label == "steps to a loss gap of 1e-09"
    both = gather([tmp_path / "l", tmp_path / "s"])
    # Neither the engine nor what was recorded makes a setting; a class is an optimizer.
    assert set(both.setting_keys) == {"optimizer", "optimizer.lr", "optimizer.max_iter"}
    assert both.repeat_keys == ("seed",)
    assert set(both.runs["optimizer"]) == {"sgd", "torch.optim.LBFGS"}
    assert both.metric.label == "evaluations to a loss gap of 1e-09"
    for _, run in both.runs.iterrows():
        trace = read_run(Path(run["folder"]))[0]
        gaps = trace["loss"] <= 1e-9  # himmelblau's minimum is 0
        first = int(gaps.argmax()) if gaps.any() else None
        if run["optimizer"] == "sgd":
            assert "evaluations" not in trace
            made, reached = run["metrics.steps"], first
        else:
            made = trace["evaluations"][-1]
            reached = None if first is None else trace["evaluations"][first]
            assert made > run["metrics.steps"]
        assert run["metrics.evaluations"] == made
        told = run["metrics.evaluations_to_gap.1e-09"]
        assert pd.isna(told) if reached is None else told == reached
    table = optimizers_table(both)
    assert table is not None
    assert "median evaluations" in table.shown
    assert "a step took up to " in table.footer
    status, out, err = gradexp("compare", "l", "s", "--save", "t")
    assert (status, err) == (0, "")
    assert "steps to a loss gap" not in out
    # What it takes to a goal may still be asked for in steps.
    by_step = gather([tmp_path / "l", tmp_path / "s"], metric="steps_to_gap.1e-09")
    assert by_step.metric.unit == "steps"
    # Where an engine was swept, it is a setting.
    swept(gradexp, "e", "engine=batched,reference", "optimizer.lr=0.1,0.2")
    assert "engine" in gather([tmp_path / "e", tmp_path / "s"]).setting_keys


def test_a_seed_that_changes_nothing_counts_once(gradexp: Gradexp, tmp_path: Path) -> None:
    """Costs 1 s."""
    lion = ["optimizer=lion", "optimizer.lr=0.1,0.05", "noise=gaussian", "noise.std=1e-8"]
    start = ["init=point", "init.point=[4,-3]"]
    swept(gradexp, "s", *lion, *start, "seed=range(3)", "steps=200")
    sample = gather([tmp_path / "s"])
    assert (len(sample.runs), sample.duplicates) == (2, 4)


def test_runs_that_diverge_from_different_starts_are_not_the_same(
    gradexp: Gradexp, tmp_path: Path
) -> None:
    """Costs 1 s."""
    axes = ["optimizer.lr=1e200,2e200", "seed=range(3)"]
    flat = ["surface=sphere", "init=normal", "init.std=1e-200", "record=metrics"]
    swept(gradexp, "s", *axes, *flat)
    sample = gather([tmp_path / "s"])
    assert set(sample.runs["outcome"]) == {"diverged"}
    assert (len(sample.runs), sample.duplicates) == (6, 0)
