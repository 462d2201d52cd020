"""What a sweep is summed up to."""

from collections import Counter
from pathlib import Path
from typing import Any

from gradexp.sweeps.summary import ranking, tallies
from tests.conftest import Gradexp


def row(job: int, outcome: str = "budget", /, **values: Any) -> dict[str, Any]:
    return {"job": job, "outcome": outcome, **values}


def test_outcomes_are_counted_by_value_in_order() -> None:
    rows = [
        row(0, "budget", lr=0.1, seed=1),
        row(1, "diverged", lr=0.01, seed=1),
        row(2, "budget", lr=0.1, seed=2),
    ]
    assert tallies(rows, ["lr", "seed"]) == [
        ("lr", "0.01", Counter(diverged=1)),
        ("lr", "0.1", Counter(budget=2)),
        ("seed", "1", Counter(budget=1, diverged=1)),
        ("seed", "2", Counter(budget=1)),
    ]


def test_numbers_are_short_where_that_tells_them_apart() -> None:
    far, near = [row(0, lr=10**-3.5), row(1, lr=1e-4)], [row(0, lr=0.1), row(1, lr=0.100000001)]
    assert [tally.values for tally in tallies(far, ["lr"])] == ["0.0001", "0.000316228"]
    assert [tally.values for tally in tallies(near, ["lr"])] == ["0.1", "0.100000001"]


def test_many_numbers_are_gathered_in_ranges_and_many_words_left_out() -> None:
    rows = [row(job, lr=float(job), name=f"n{job}") for job in range(100)]
    found = tallies(rows, ["lr", "name"])
    assert [tally.values for tally in found] == [f"{n} to {n + 9}" for n in range(0, 100, 10)]
    assert all(tally.outcomes == Counter(budget=10) for tally in found)


def test_the_best_are_the_first_to_the_least_gap_that_any_reached() -> None:
    names = ("metrics.steps_to_gap.0.001", "metrics.steps_to_gap.1e-06", "metrics.loss_gap")
    figures = [(5, None, 1e-4), (9, 30, 1e-8), (8, 20, 1e-7), (None, None, None), (6, None, 1e-5)]
    rows = [{**row(job), **dict(zip(names, some, strict=True))} for job, some in enumerate(figures)]
    rows.append(row(5, "failed"))
    best = ranking(rows)
    assert best.criterion == "steps to a loss gap of 1e-06"
    assert [one["job"] for one in best.rows] == [2, 1, 4, 0, 3]


def test_where_no_gap_is_reached_the_least_one_decides_and_else_the_loss() -> None:
    losses = [3.0, float("nan"), 1.0, None]
    rows = [{**row(job), "metrics.final_loss": loss} for job, loss in enumerate(losses)]
    best = ranking(rows)
    assert best.criterion == "final loss"
    assert [one["job"] for one in best.rows] == [2, 0, 1, 3]
    for one, gap in zip(rows, [0.1, None, 0.5, 0.2], strict=True):  # of surfaces of their own
        one["metrics.loss_gap"] = gap
    best = ranking(rows)
    assert best.criterion == "loss gap"
    assert [one["job"] for one in best.rows] == [0, 3, 2, 1]


def test_a_large_sweep_ends_in_a_table_by_value_and_the_best(
    gradexp: Gradexp, tmp_path: Path
) -> None:
    axes = ["optimizer.lr=0.1,0.2,-1", "seed=range(25)"]
    arguments = ["surface=sphere", "init=uniform", "steps=100", "log=none", "hydra.sweep.dir=s"]
    status, out, _ = gradexp("run", "-m", *axes, *arguments)
    assert status == 1
    lines = [line.split() for line in out.splitlines() if line.strip()]
    assert lines[0] == ["key", "value", "converged", "failed"]
    assert lines[2:5] == [["optimizer.lr", "-1", "25"], ["0.1", "25"], ["0.2", "25"]]
    assert lines[5] == ["seed", "0", "2", "1"]
    assert "best by steps to a loss gap of 1e-09:" in out
    assert sum("converged (0, 0)" in line for line in out.splitlines()) == 5
    assert "optimizer.lr=0.2" in out
    assert out.count("failed: optimizer.lr=-1") == 20
    assert "and 5 more failed" in out


def test_a_small_sweep_ends_in_a_line_a_job_and_the_best(gradexp: Gradexp) -> None:
    arguments = ["surface=sphere", "steps=100", "log=none", "hydra.sweep.dir=s"]
    status, out, _ = gradexp("run", "-m", "optimizer.lr=0.1,0.2", *arguments)
    assert status == 0
    assert "optimizer.lr=0.1   converged" in out
    assert "best:   job 1, by steps to a loss gap of 1e-09" in out
    assert "tables: gradexp compare s" in out.splitlines()
    assert gradexp("compare", "s")[0] == 0
