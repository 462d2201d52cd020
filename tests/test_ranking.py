"""What is called the best, and that it is: runs that end early are no better for it."""

import math
from pathlib import Path

import numpy as np
import pytest

from gradexp.analysis.metric import Metric, by_name, usual_metric
from gradexp.comparison.arrivals import Arrivals
from gradexp.comparison.effects import differences
from gradexp.comparison.forgiveness import bands
from gradexp.comparison.optimizers import optimizers
from gradexp.comparison.ranking import RANKS, Rank
from gradexp.comparison.sample import Sample
from gradexp.comparison.settings import speed
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
    return Sample(some.runs, 0, 0, 0, 0, some.setting, some.repeats, some.metric, rank)


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
    some, label = ranked(rank), RANKS[rank]
    assert [values["optimizer"] for values, _ in some.settings] == sorted(
        ["adam", "momentum"], reverse=first == "momentum"
    )
    measured = {"momentum": of_momentum, "adam": of_adam}
    table, beside, across = speed(some), optimizers(some), differences(some)
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
    assert across.title.startswith(f"Beside the best by {label}, ")
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
    assert some.rank == Rank("par10", "steps", 1000.0)
    assert [values["steps"] for values, _ in some.settings] == [1000, 100]
    assert speed(some).frame["par10"].tolist() == [950.0, 10_000.0]


def test_where_all_arrive_par10_ert_and_the_mean_are_one() -> None:
    steps = np.random.default_rng(0).integers(1, 500, 37).astype(float)
    some = Arrivals(steps, steps, steps)
    for name in ("par10", "ert"):
        assert Rank(name, "steps", 500.0).of(some) == pytest.approx(steps.mean())


def test_a_learning_rate_at_which_none_arrives_is_in_no_band() -> None:
    rows: Rows = [
        {"optimizer.lr": lr, "seed": seed, "steps": 1000, GAP: step,
         "outcome": "diverged" if math.isnan(step) else "converged"}
        for lr, step in ((0.1, 150.0), (0.2, 100.0), (0.4, math.nan))
        for seed in range(3)
    ]  # fmt: skip
    table = bands(sample(rows, ("optimizer.lr",), ("seed",)))
    assert table is not None
    (row,) = table.frame.to_dict("records")
    assert (row["high"], row["open_high"], row["open_low"]) == (pytest.approx(0.2), False, True)
    assert "whose PAR10 is within a factor of 2" in table.footer


def test_runs_that_are_lost_are_worse_than_all_others_however_low_they_got() -> None:
    words = ["budget", "diverged", "converged", "budget"]
    found = Metric("final_loss").comparable([1.0, -1e30, None, math.nan], words)
    assert found.tolist() == [1.0, math.inf, math.inf, math.inf]
    # When something was reached before it diverged, it was reached.
    assert Metric("steps_to_gap.1e-06").comparable([3, None], ["diverged"] * 2).tolist() == [
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
    table = differences(some)
    assert table is not None
    assert table.title == "Beside the best by median final loss, 1: lr=0.1"
    (row,) = table.frame.to_dict("records")
    assert (row["slower"], row["faster"], row["measure"]) == (6, 0, math.inf)


def test_what_runs_are_compared_by_where_nobody_says_what() -> None:
    gaps, gradients = ["steps_to_gap.0.001", "steps_to_gap.1e-06"], ["steps_to_gradient.1e-06"]
    both = [*gaps, *gradients]
    assert usual_metric(both, knows_minimum=True) == Metric("steps_to_gap.1e-06")
    # A gradient vanishes at a bad minimum, too: where the least value is known, it says nothing.
    assert usual_metric(gradients, knows_minimum=True) == Metric("loss_gap")
    assert usual_metric(gradients, knows_minimum=False) == Metric("steps_to_gradient.1e-06")
    assert usual_metric([], knows_minimum=False) == Metric("final_loss")
    counted = [*both, "evaluations_to_gap.0.001"]
    assert usual_metric(counted, knows_minimum=True) == Metric("evaluations_to_gap.0.001")
    figures = {"steps": 3, "steps_to_gap": {"0.1": 1, "0.01": None}}
    assert dict(by_name(figures)) == {"steps": 3, "steps_to_gap.0.1": 1, "steps_to_gap.0.01": None}


def test_rank_on_the_command_line(gradexp: Gradexp, tmp_path: Path) -> None:
    axes = ["surface=sphere", "init=uniform", "optimizer.lr=0.1,0.2", "seed=range(3)"]
    assert gradexp("run", "-m", *axes, "steps=200", "log=none", "hydra.sweep.dir=s")[0] == 0
    for rank, label in RANKS.items():
        status, out, _ = gradexp("compare", "s", "--rank", rank)
        assert status == 0
        assert f"the best first, by {label}" in out
    assert "the best first, by PAR10" in gradexp("compare", "s")[1]
    status, out, err = gradexp("compare", "s", "--rank", "fastest")
    assert (status, out) == (2, "")
    assert err == "gradexp: --rank=fastest: must be one of par10, ert, median\n"
    status, out, err = gradexp("compare", "s", "--rank", "ert", "--metric", "final_loss")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("gradexp: --rank=ert: ranks by when runs arrived")
