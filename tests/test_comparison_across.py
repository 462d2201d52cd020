"""Comparisons across surfaces and of optimizers, against hand-worked answers."""

import math
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
import pytest

from gradexp.analysis.metric import Metric
from gradexp.comparison.effects import effects_by_surface_table, effects_table
from gradexp.comparison.lr_sensitivity import lr_bands_table
from gradexp.comparison.optimizers import optimizers_table
from gradexp.comparison.pairs import differences_table
from gradexp.comparison.profiles import (
    by_surface_table,
    performance_ratios,
    profiles_table,
    solver_times,
    targets_table,
)
from gradexp.comparison.sample import Sample
from gradexp.comparison.setting_tables import speed_table
from tests.test_comparison import GAP, Rows, sample

SURFACES: dict[str, list[float | None]] = {
    # steps by solver on four surfaces of two dimensions; None where it does not arrive
    "a": [10.0, 20.0, 30.0, None],
    "b": [20.0, 10.0, 30.0, 40.0],
    "c": [None, None, 90.0, 400.0],
}


def across() -> Sample:
    rows = [
        {
            "surface": f"s{index}",
            "optimizer": solver,
            "run.dim": 4,
            "outcome": "budget" if step is None else "converged",
            GAP: math.nan if step is None else step,
            "metrics.steps_to_gap.0.001": 5.0,
        }
        for solver, steps in SURFACES.items()
        for index, step in enumerate(steps)
    ]
    return sample(rows, ("surface", "optimizer"))


def test_across_surfaces_pairs_share_their_surface() -> None:
    table = differences_table(across())
    assert table is not None
    best, *rivals = SURFACES  # in whose order the ratios of `test_performance_profiles` are
    best, rivals = rivals[0], [best, *rivals[1:]]
    title = "Differences from the best setting by mean relative speed, 0.875"
    assert table.title == f"{title}: optimizer={best} (4/4 arrived)"
    assert table.footer.startswith("pairs share surface; at least one run of each pair arrived;")
    assert table.frame["measure"].tolist() == [(1 + 1 / 2 + 1) / 4, (1 / 3 + 1 / 10) / 4]
    first, second = table.frame.to_dict("records")
    names = ("optimizer", "pairs", "slower", "faster", "median")
    assert [first[name] for name in names] == [rivals[0], 4, 2, 1, 1.5]
    # On two of the surfaces the other was cut off after 100 steps, 5 and 10 times the best's; on
    # the others it takes 3 and 10 times as many.
    assert [second[name] for name in names[:4]] == [rivals[1], 4, 4, 0]
    assert (second["least"], second["most"]) == (7.5, math.inf)
    assert table.shown["steps ÷ best's"].tolist() == ["1.5", "≥ 7.5"]


def test_performance_profiles() -> None:
    some = across()
    found = performance_ratios(solver_times(some, some.metric))
    assert found.T.tolist() == [
        [1.0, 2.0, 1.0, math.inf],
        [2.0, 1.0, 1.0, 1.0],
        [math.inf, math.inf, 3.0, 10.0],
    ]
    table = profiles_table(some)
    assert table is not None
    frame = table.frame.set_index("optimizer")
    assert frame.index.tolist() == ["b", "a", "c"]
    assert frame["within_1"].to_dict() == {"a": 0.5, "b": 0.75, "c": 0.0}
    assert frame["within_2"].to_dict() == {"a": 0.75, "b": 1.0, "c": 0.0}
    assert frame["within_4"].to_dict() == {"a": 0.75, "b": 1.0, "c": 0.25}
    assert frame["solved"].to_dict() == {"a": 0.75, "b": 1.0, "c": 0.5}


def test_targets_reached_and_data_profiles() -> None:
    table = targets_table(across())
    assert table is not None
    frame = table.frame.set_index("optimizer")
    # Each reaches the easy tolerance on all surfaces by step 5, and the other as above.
    assert frame["by_10"].to_dict() == {"a": (1 + 0.25) / 2, "b": (1 + 0.25) / 2, "c": 0.5}
    assert frame["by_100"].to_dict() == {"a": (1 + 0.75) / 2, "b": 1.0, "c": (1 + 0.25) / 2}
    # In units of five evaluations, of which step 40 is the eighth.
    assert frame["by_10_per_dim"].to_dict()["b"] == 1.0
    assert frame["by_10_per_dim"].to_dict()["a"] == (1 + 0.75) / 2


def test_each_surface_by_what_settings_are_ranked_by() -> None:
    table = by_surface_table(across())
    assert table is not None
    frame = table.frame.set_index("optimizer")
    assert frame.index.tolist() == ["b", "a", "c"]  # by 7/8, 5/8 and 13/120 of the best on each
    assert frame["s0"].to_dict() == {"a": 10.0, "b": 20.0, "c": 1000.0}  # ten times what was given
    assert frame["s3"].to_dict() == {"a": 1000.0, "b": 40.0, "c": 400.0}


def test_swept_steps_are_told_apart_from_steps_taken() -> None:
    rows: Rows = [
        {"steps": budget, "optimizer.lr": lr, GAP: 5 / lr, "metrics.steps": budget}
        for budget in (100, 1000)
        for lr in (0.1, 0.2, 0.4)
    ]
    some = sample(rows, ("steps", "optimizer.lr"))
    assert set(speed_table(some).shown["steps"]) == {"100", "1000"}
    table = lr_bands_table(some)
    assert table is not None
    assert table.frame["steps"].tolist() == [100, 1000]
    assert table.shown["steps"].tolist() == ["100", "1000"]


def test_optimizers_are_compared_at_their_best_rate_and_over_all() -> None:
    def rows_of(name: str, steps: Mapping[float, tuple[float | None, ...]]) -> Rows:
        return [
            {
                "surface": "bowl", "optimizer": name, "optimizer.lr": lr, "seed": seed,
                "steps": 100,
                GAP: math.nan if step is None else step,
                "outcome": "budget" if step is None else "converged",
            }
            for lr, some in steps.items()
            for seed, step in enumerate(some)
        ]  # fmt: skip

    first = {0.01: (None, None, None), 0.1: (40.0, 50.0, 60.0), 1.0: (80.0, None, None)}
    second = {0.01: (90.0, None, 90.0), 0.1: (70.0, 60.0, 80.0), 1.0: (20.0, 25.0, 30.0)}
    keys = ("surface", "optimizer", "optimizer.lr")
    some = sample([*rows_of("a", first), *rows_of("b", second)], keys, ("seed",))
    table = optimizers_table(some)
    assert table is not None
    frame = table.frame.set_index("optimizer")
    assert frame.index.tolist() == ["b", "a"]  # the best first
    assert frame["best"].tolist() == [1.0, 0.1]
    assert frame["edge"].tolist() == ["≥ ", ""]
    assert frame["median"].tolist() == [25.0, 50.0]
    assert frame["times_best"].tolist() == [1.0, 2.0]
    assert frame["ert"].tolist() == frame["par10"].tolist() == [25.0, 50.0]
    assert frame["arrived_of_all"].tolist() == [8, 4]
    # All steps made: those until it arrived, or all of them.
    assert frame["ert_of_all"].tolist() == pytest.approx([565 / 8, 730 / 4])
    assert "all had the same: 3 learning rates, 3 seeds, at most 100 steps" in table.footer
    assert optimizers_table(sample(rows_of("a", first), keys[2:], ("seed",))) is None

    fewer = {lr: second[lr] for lr in (0.1, 1.0)}
    table = optimizers_table(sample([*rows_of("a", first), *rows_of("b", fewer)], keys, ("seed",)))
    assert table is not None
    assert "not a fair comparison: they were not given the same learning rates" in table.footer
    longer = [{**row, "steps": 200} for row in rows_of("b", second)]
    table = optimizers_table(sample([*rows_of("a", first), *longer], keys, ("seed",)))
    assert table is not None
    assert "not given the same budgets" in table.footer


def by_metric(given: Mapping[tuple[str, str], Mapping[float, tuple[float, ...]]]) -> pd.DataFrame:
    """The table of optimizers by final loss, of losses by surface and optimizer, learning rate and
    seed; infinite ones are of runs that diverged."""
    rows = [
        {
            "surface": place, "optimizer": name, "optimizer.lr": lr, "seed": seed, "steps": 100,
            "metrics.final_loss": -1e9 if loss == math.inf else loss,  # unbounded below
            "outcome": "diverged" if loss == math.inf else "budget",
        }
        for (place, name), rates in given.items()
        for lr, losses in rates.items()
        for seed, loss in enumerate(losses)
    ]  # fmt: skip
    some = sample(rows, ("surface", "optimizer", "optimizer.lr"), ("seed",))
    table = optimizers_table(replace(some, metric=Metric("final_loss")))
    assert table is not None
    assert "all had the same: 3 learning rates, 3 seeds" in table.footer
    assert table.shown.columns[3] == "median final loss"
    return table.frame.set_index(["surface", "optimizer"])


def test_optimizers_are_compared_by_other_metrics_too() -> None:
    inf, nan = math.inf, math.nan
    frame = by_metric(
        {
            ("s", "a"): {0.01: (5, 6, 7), 0.1: (1, 3, 2), 1.0: (9, nan, inf)},
            ("s", "b"): {0.01: (4, 4, 4), 0.1: (2, 2.5, 2.5), 1.0: (1.5, 1.5, 1.5)},
            ("t", "a"): {0.01: (-1, -2, -3), 0.1: (inf, inf, inf), 1.0: (inf, inf, inf)},
            ("t", "b"): {0.01: (inf, inf, inf), 0.1: (inf, -1, inf), 1.0: (inf, inf, inf)},
            ("u", "a"): {0.01: (nan,) * 3, 0.1: (nan,) * 3, 1.0: (nan,) * 3},
        }
    )
    # On each surface the best first. What diverged is worse than all else, however low it got.
    assert frame.index.tolist() == [("s", "b"), ("s", "a"), ("t", "a"), ("t", "b"), ("u", "a")]
    assert frame["best"].tolist() == pytest.approx([1.0, 0.1, 0.01, nan, nan], nan_ok=True)
    assert frame["edge"].tolist() == ["≥ ", "", "≤ ", "", ""]
    assert frame["median"].tolist() == pytest.approx([1.5, 2.0, -2.0, inf, nan], nan_ok=True)
    # Where at no rate half of the runs stayed, that one is shown at which most did.
    assert frame["first_quartile"].tolist() == pytest.approx([1.5, 1, -3, -1, nan], nan_ok=True)
    assert frame["diverged"].tolist() == [0, 0, 0, 2, 0]
    assert frame["diverged_of_all"].tolist() == [0, 1, 6, 8, 0]
    assert frame["median_of_all"].tolist() == pytest.approx([2.5, 6, inf, inf, nan], nan_ok=True)


def test_what_decides_is_told_for_each_surface() -> None:
    # On either surface the learning rate decides everything, on each in the other way.
    rows: Rows = [
        {"surface": surface, "optimizer.lr": lr, "seed": seed, GAP: steps}
        for surface, times in {"s": (10.0, 1000.0), "t": (1000.0, 10.0)}.items()
        for lr, steps in zip((0.1, 0.2), times, strict=True)
        for seed in range(3)
    ]
    some = sample(rows, ("surface", "optimizer.lr"), ("seed",))
    pooled, apart = effects_table(some), effects_by_surface_table(some)
    assert pooled is not None
    alone = pooled.frame[pooled.frame["second_key"].isna()].set_index("key")["metric"]
    assert alone["optimizer.lr"] == pytest.approx(0.0, abs=1e-9)
    assert apart is not None
    found = apart.frame.set_index(["surface", "key"])["metric"]
    for surface in ("s", "t"):
        assert found[surface, "optimizer.lr"] == pytest.approx(1.0)
        assert found[surface, "seed"] == pytest.approx(0.0, abs=1e-9)
    assert effects_by_surface_table(sample(rows[:6], ("optimizer.lr",), ("seed",))) is None
