"""What is called the best, and that it is: runs that end early are no better for it."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradexp.analysis.metric import Metric, default_metric, flatten
from gradexp.comparison.gathering import gather
from gradexp.comparison.hitting_times import HittingTimes
from gradexp.comparison.lr_sensitivity import lr_bands_table
from gradexp.comparison.optimizers import optimizers_table
from gradexp.comparison.pairs import differences_table
from gradexp.comparison.profiles import by_surface_table, profiles_table, targets_table
from gradexp.comparison.ranking import CRITERIA, Criterion
from gradexp.comparison.sample import Sample
from gradexp.comparison.setting_tables import speed_table
from tests.conftest import Gradexp
from tests.test_comparison import GAP, Rows, sample


def reckless_and_steady(*, budget: int = 1000, runs: int = 20) -> Rows:
    """Momentum, of which a fifth arrives after 100 steps and the rest diverges after 10; and Adam,
    of which 17 in 20 arrive after 400 and the rest uses all its steps."""

    def row(name: str, seed: int, step: float, steps: int, word: str) -> dict[str, object]:
        return {
            "optimizer": name, "optimizer.lr": 0.1, "seed": seed, "steps": budget,
            GAP: step, "metrics.steps": steps, "outcome": word,
            "metrics.final_loss": 1e30 if word == "diverged" else 1.0,
        }  # fmt: skip

    rows: Rows = []
    for seed in range(runs):
        arrives = seed < runs // 5
        ended = (100.0, 150, "converged") if arrives else (math.nan, 10, "diverged")
        rows.append(row("momentum", seed, *ended))
        arrives = seed < 17 * runs // 20
        ended = (400.0, 500, "converged") if arrives else (math.nan, budget, "budget")
        rows.append(row("adam", seed, *ended))
    return rows


def ranked(rank: str) -> Sample:
    some = sample(reckless_and_steady(), ("optimizer", "optimizer.lr"), ("seed",))
    return Sample(some.runs, 0, 0, 0, 0, some.setting_keys, some.repeat_keys, some.metric, rank)


@pytest.mark.parametrize(
    ("rank", "first", "of_momentum", "of_adam"),
    [
        # by hand, of 4 and 16, of 17 and 3 runs
        ("par10", "adam", (4 * 100 + 16 * 10_000) / 20, (17 * 400 + 3 * 10_000) / 20),
        ("ert", "momentum", (4 * 100 + 16 * 10) / 4, (17 * 400 + 3 * 1000) / 17),
        ("median", "adam", math.inf, 400.0),
    ],
)
def test_failures_that_cost_little_do_not_make_a_setting_the_best(
    rank: str, first: str, of_momentum: float, of_adam: float
) -> None:
    some, label = ranked(rank), CRITERIA[rank]
    assert [values["optimizer"] for values, _ in some.settings] == sorted(
        ["adam", "momentum"], reverse=first == "momentum"
    )
    measured = {"momentum": of_momentum, "adam": of_adam}
    table, beside, across = speed_table(some), optimizers_table(some), differences_table(some)
    assert f"the best first, by {label}" in table.title
    assert beside is not None
    assert f"best learning rate by {label}" in beside.title
    for frame in (table.frame, beside.frame):
        found = frame.set_index("optimizer")
        assert found.index[0] == first
        if rank in found:
            assert found[rank].to_dict() == pytest.approx(measured)
    # Fewer than half of the runs of momentum arrive, which is said wherever it is called best.
    assert dict(zip(table.frame["optimizer"], table.shown["arrived"], strict=True)) == {
        "adam": "17/20",
        "momentum": "4/20\N{NO-BREAK SPACE}†",
    }
    assert "†: fewer than half arrive" in table.footer
    assert across is not None
    (rival,) = set(measured) - {first}
    assert across.title.startswith(f"Differences from the best setting by {label}, ")
    mark = "17/20 arrived" if first == "adam" else "4/20\N{NO-BREAK SPACE}† arrived"
    assert across.title.endswith(f"({mark})")
    (row,) = across.frame.to_dict("records")
    assert (row["optimizer"], row["measure"]) == (rival, pytest.approx(measured[rival]))
    assert row["measure"] >= measured[first]


def test_a_small_budget_is_no_smaller_penalty() -> None:
    # Of those given 100 steps none arrives; of those given 1000 all do, after 950.
    rows: Rows = [
        {"steps": budget, "seed": seed, GAP: step, "metrics.steps": budget,
         "outcome": "budget" if math.isnan(step) else "converged"}
        for budget, step in ((100, math.nan), (1000, 950.0))
        for seed in range(4)
    ]  # fmt: skip
    some = sample(rows, ("steps",), ("seed",))
    assert some.criterion == Criterion("par10", "steps", 1000.0)
    assert [values["steps"] for values, _ in some.settings] == [1000, 100]
    assert speed_table(some).frame["par10"].tolist() == [950.0, 10_000.0]


def test_where_all_arrive_par10_ert_and_the_mean_are_one() -> None:
    steps = np.random.default_rng(0).integers(1, 500, 37).astype(float)
    some = HittingTimes(steps, steps, steps)
    for name in ("par10", "ert"):
        assert Criterion(name, "steps", 500.0).value(some) == pytest.approx(steps.mean())


def test_a_learning_rate_at_which_none_arrives_is_in_no_band() -> None:
    rows: Rows = [
        {"optimizer.lr": lr, "seed": seed, "steps": 1000, GAP: step,
         "outcome": "diverged" if math.isnan(step) else "converged"}
        for lr, step in ((0.1, 150.0), (0.2, 100.0), (0.4, math.nan))
        for seed in range(3)
    ]  # fmt: skip
    table = lr_bands_table(sample(rows, ("optimizer.lr",), ("seed",)))
    assert table is not None
    (row,) = table.frame.to_dict("records")
    assert (row["high"], row["open_high"], row["open_low"]) == (pytest.approx(0.2), False, True)
    assert "with a PAR10 within a factor of 2" in table.footer


def test_runs_that_are_lost_are_worse_than_all_others_however_low_they_got() -> None:
    words = ["budget", "diverged", "converged", "budget"]
    found = Metric("final_loss").comparable_values([1.0, -1e30, None, math.nan], words)
    assert found.tolist() == [1.0, math.inf, math.inf, math.inf]
    # When something was reached before it diverged, it was reached.
    assert Metric("steps_to_gap.1e-06").comparable_values([3, None], ["diverged"] * 2).tolist() == [
        3.0,
        math.inf,
    ]
    rows: Rows = [
        {"lr": lr, "seed": seed, "metrics.final_loss": loss, "outcome": word}
        for lr, loss, word in ((0.1, 1.0, "budget"), (0.2, -1e30, "diverged"))
        for seed in range(6)
    ]
    some = sample(rows, ("lr",), ("seed",))
    some = Sample(some.runs, 0, 0, 0, 0, ("lr",), ("seed",), Metric("final_loss"))
    table = differences_table(some)
    assert table is not None
    assert table.title == "Differences from the best setting by median final loss, 1: lr=0.1"
    (row,) = table.frame.to_dict("records")
    assert (row["slower"], row["faster"], row["measure"]) == (6, 0, math.inf)


def test_what_runs_are_compared_by_where_nobody_says_what() -> None:
    gaps = {"steps_to_gap.0.001": [3, 4], "steps_to_gap.1e-06": [None, 9]}
    gradients = {"steps_to_gradient.1e-06": [None, 9]}
    both = gaps | gradients
    assert default_metric(both, knows_minimum=True) == Metric("steps_to_gap.1e-06")
    # A gradient vanishes at a bad minimum, too: where the least value is known, it says nothing.
    assert default_metric(gradients, knows_minimum=True) == Metric("loss_gap")
    assert default_metric(gradients, knows_minimum=False) == Metric("steps_to_gradient.1e-06")
    assert default_metric({}, knows_minimum=False) == Metric("final_loss")
    counted = both | {"evaluations_to_gap.0.001": [30, 40]}
    assert default_metric(counted, knows_minimum=True) == Metric("evaluations_to_gap.0.001")
    # What two of five reach, as noise may let them, is no measure of all; nor what those on one
    # surface cannot reach, such as in single precision.
    few = {"steps_to_gap.0.001": [1] * 5, "steps_to_gap.1e-06": [9, 9, None, None, None]}
    assert default_metric(few, knows_minimum=True) == Metric("steps_to_gap.0.001")
    most = {"steps_to_gap.0.001": [1] * 5, "steps_to_gap.1e-06": [9, 9, 9, 9, None]}
    assert default_metric(most, knows_minimum=True) == Metric("steps_to_gap.1e-06")
    surfaces = np.array([0, 0, 0, 0, 1])
    found = default_metric(most, knows_minimum=True, groups=surfaces)
    assert found == Metric("steps_to_gap.0.001")
    figures = {"steps": 3, "steps_to_gap": {"0.1": 1, "0.01": None}}
    assert dict(flatten(figures)) == {"steps": 3, "steps_to_gap.0.1": 1, "steps_to_gap.0.01": None}


def test_rank_on_the_command_line(gradexp: Gradexp, tmp_path: Path) -> None:
    axes = ["surface=sphere", "init=uniform", "optimizer.lr=0.1,0.2", "seed=range(3)"]
    assert gradexp("run", "-m", *axes, "steps=200", "log=none", "hydra.sweep.dir=s")[0] == 0
    for rank, label in CRITERIA.items():
        status, out, _ = gradexp("compare", "s", "--rank", rank)
        assert status == 0
        assert f"the best first, by {label}" in out
    assert "the best first, by PAR10" in gradexp("compare", "s")[1]
    status, out, err = gradexp("compare", "s", "--rank", "fastest")
    assert (status, out) == (2, "")
    assert err == "gradexp: --rank=fastest: must be one of par10, ert, median\n"
    status, out, err = gradexp("compare", "s", "--rank", "ert", "--metric", "final_loss")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("gradexp: --rank=ert: needs a hitting time")


def test_pairs_that_are_not_decided_decide_nothing() -> None:
    # Of one run each given 500, 1000 and 4000 steps: the same way, cut off. 2000 steps it takes.
    rows: Rows = [
        {"steps": budget, "seed": seed, GAP: 2000.0 if budget == 4000 else math.nan,
         "metrics.steps": min(budget, 2000), "outcome": "converged" if budget == 4000 else "budget"}
        for budget in (500, 1000, 4000)
        for seed in range(6)
    ]  # fmt: skip
    table = differences_table(sample(rows, ("steps",), ("seed",)))
    assert table is not None
    assert table.title.startswith("Differences from the best setting by PAR10, 2000: steps=4000")
    for row in table.frame.to_dict("records"):
        assert (row["pairs"], row["slower"], row["faster"]) == (6, 0, 0)
        assert (row["least"], row["most"]) == (row["steps"] / 2000, math.inf)
    shown = table.shown["steps ÷ best's"]
    assert [text[:5].strip() for text in shown] == [
        "≥\N{NO-BREAK SPACE}0.2",
        "≥\N{NO-BREAK SPACE}0.5",
    ]


def test_where_all_are_lost_there_is_no_best() -> None:
    rows: Rows = [
        {"lr": lr, "seed": seed, "outcome": "diverged", "metrics.final_loss": 1e30}
        for lr in (0.1, 0.2)
        for seed in range(6)
    ]
    some = sample(rows, ("lr",), ("seed",))
    assert differences_table(some) is None
    assert differences_table(replace(some, metric=Metric("final_loss"))) is None


def test_where_one_half_is_lost_and_the_other_wins_there_is_no_middle() -> None:
    rows: Rows = [
        {"lr": lr, "seed": seed, GAP: 10.0 if arrives else math.nan,
         "outcome": "converged" if arrives else "diverged", "steps": 100}
        for lr, first in ((0.1, True), (0.2, False))
        for seed in range(8)
        for arrives in [(seed < 4) == first]
    ]  # fmt: skip
    table = differences_table(sample(rows, ("lr",), ("seed",)))
    assert table is not None
    (row,) = table.frame.to_dict("records")
    assert (row["pairs"], row["slower"], row["faster"]) == (8, 4, 4)
    assert math.isnan(row["median"])
    assert table.shown["steps ÷ best's"].tolist() == [""]


def test_a_run_that_stopped_at_its_goal_may_still_arrive() -> None:
    # Its limit on the gradient stopped it at a gap of 1e-5, before 1e-6.
    rows: Rows = [
        {"lr": 0.1, "seed": seed, "outcome": "converged", "metrics.steps": 40,
         "metrics.steps_to_gap.0.001": 20.0, GAP: math.nan}
        for seed in range(4)
    ]  # fmt: skip
    rows += [{**row, "lr": 0.2, "metrics.steps_to_gap.0.001": math.nan} for row in rows]
    some = sample(rows, ("lr",), ("seed",))
    medians = dict(
        zip(speed_table(some).shown["lr"], speed_table(some).shown["median steps"], strict=True)
    )
    assert medians == {"0.1": "> 40", "0.2": "∞"}  # the others rest at another minimum


def test_solvers_that_share_no_surface_are_not_compared() -> None:
    rows: Rows = [
        {"surface": surface, "optimizer": name, "optimizer.lr": lr, "seed": seed, GAP: 10.0 * lr}
        for surface, name in (("s", "a"), ("t", "b"))
        for lr in (1.0, 2.0)
        for seed in range(3)
    ]
    some = sample(rows, ("surface", "optimizer", "optimizer.lr"), ("seed",))
    assert profiles_table(some) is None
    assert targets_table(some) is None
    table = optimizers_table(some)
    assert table is not None
    assert "no two of them were run on the same surface" in table.footer


def test_surfaces_whose_numbers_look_alike_are_told_apart() -> None:
    rows: Rows = [
        {"surface.k": k, "optimizer": name, "seed": seed, GAP: step, "steps": 100}
        for k, step in ((1000.1, 10.0), (1000.2, 20.0))
        for name in ("a", "b")
        for seed in range(2)
    ]
    table = by_surface_table(sample(rows, ("surface.k", "optimizer"), ("seed",)))
    assert table is not None
    assert table.frame[["1000.1", "1000.2"]].to_numpy().tolist() == [[10.0, 20.0]] * 2


def test_runs_that_chance_does_not_touch_count_once(gradexp: Gradexp, tmp_path: Path) -> None:
    # Of one start and without noise a seed changes nothing.
    run = ["run", "-m", "surface=sphere", "optimizer.lr=0.1,0.2", "seed=range(12)", "steps=100"]
    assert gradexp(*run, "log=none", "hydra.sweep.dir=s")[0] == 0
    some = gather([tmp_path / "s"])
    assert (len(some.runs), some.repeat_keys, some.duplicates) == (2, (), 22)
    assert "22 duplicate runs left out" in some.summary()
    assert some.older_format == 0
    assert differences_table(some) is None


def test_a_poorer_copy_of_a_sweep_takes_nothing_away(gradexp: Gradexp, tmp_path: Path) -> None:
    run = ["run", "-m", "surface=sphere", "optimizer.lr=0.1,0.2", "steps=100", "log=none"]
    assert gradexp(*run, "hydra.sweep.dir=rich")[0] == 0
    assert gradexp(*run, "record.tolerances=[]", "hydra.sweep.dir=poor")[0] == 0
    for order in (["rich", "poor"], ["poor", "rich"]):
        some = gather([tmp_path / name for name in order])
        assert (some.metric, len(some.runs)) == (Metric("steps_to_gap.1e-09"), 2)


def test_what_ended_by_older_rules_is_named(gradexp: Gradexp, tmp_path: Path) -> None:
    run = ["run", "-m", "surface=sphere", "optimizer.lr=0.1,0.2", "steps=100", "log=none"]
    assert gradexp(*run, "hydra.sweep.dir=s")[0] == 0
    rows = pd.read_parquet(tmp_path / "s" / "runs.parquet")
    rows.drop(columns="run.format").to_parquet(tmp_path / "s" / "runs.parquet")
    told = gather([tmp_path / "s"]).summary()
    assert "2 runs from an older gradexp version with other stopping rules" in told


def test_metrics_that_are_neither_better_nor_worse(gradexp: Gradexp, tmp_path: Path) -> None:
    run = ["run", "-m", "surface=sphere", "optimizer.lr=0.1,0.2", "steps=100", "log=none"]
    assert gradexp(*run, "hydra.sweep.dir=s")[0] == 0
    status, out, err = gradexp("compare", "s", "--metric", "rate_r2")
    assert (status, out) == (2, "")
    assert (
        err == "gradexp: --metric=rate_r2: cannot rank runs: neither smaller nor larger is better\n"
    )
    assert gradexp("compare", "s", "--metric", "steps_to_gap.1e-6")[0] == 0
