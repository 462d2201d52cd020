"""The statistics of comparisons, each against a hand-worked or published answer."""

import math
import re
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pytest

from gradexp.comparison.arrivals import Arrivals, arrivals, expected_steps, quantiles
from gradexp.comparison.effects import differences, explained
from gradexp.comparison.forgiveness import band, bands
from gradexp.comparison.profiles import profiles, ratios, restarts, targets, times
from gradexp.comparison.sample import Metric, Sample, gather
from gradexp.comparison.settings import outcomes, speed, wilson
from gradexp.comparison.theories import edges, escapes, rates
from tests.conftest import Gradexp

GAP = "metrics.steps_to_gap.1e-06"

Rows: TypeAlias = list[dict[str, Any]]

DEFAULTS: dict[str, Any] = {
    "outcome": "converged", "metrics.steps": 100, "metrics.loss_gap": 0.0,
    "metrics.final_loss": 0.0, "metrics.rate": math.nan, "metrics.path_length": 2.0,
    "metrics.displacement": 1.0, "metrics.reversals": 0, "metrics.escape_steps": math.nan,
    "theory.rate": math.nan, "theory.edge": math.nan, "theory.escape_steps": math.nan,
}  # fmt: skip


def sample(rows: Rows, setting: tuple[str, ...], repeats: tuple[str, ...] = ()) -> Sample:
    """A sample of runs that differ from the defaults in what is given."""
    runs = pd.DataFrame([{**DEFAULTS, GAP: math.nan, **row} for row in rows])
    return Sample(runs, 0, 0, setting, repeats, Metric(GAP))


def known(values: list[float], censored: list[bool]) -> Arrivals:
    at = np.where(censored, math.inf, values)
    return Arrivals(at, np.array(values, float), np.array(values, float))


def test_wilson_intervals() -> None:
    # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_kaplan_meier_on_the_remissions_of_freireich() -> None:
    # Freireich et al. (1963), the treated group: weeks of remission, + censored. Median 23; the
    # survival falls to 0.690 at 13, and ends at 0.448.
    remitted = [6.0, 6.0, 6.0, 7.0, 10.0, 13.0, 16.0, 22.0, 23.0]
    censored = [6.0, 9.0, 10.0, 11.0, 17.0, 19.0, 20.0, 25.0, 32.0, 32.0, 34.0, 35.0]
    some = known([*remitted, *censored], [False] * 9 + [True] * 12)
    assert quantiles(some) == [13.0, 23.0, math.inf]


def test_runs_that_never_arrive_stay_and_those_cut_off_are_censored() -> None:
    rows: Rows = [{GAP: 10.0}, {GAP: 20.0}, *[{"outcome": "budget", "metrics.steps": 15}] * 2]
    one = arrivals(pd.DataFrame([{GAP: math.nan, **DEFAULTS, **row} for row in rows]), GAP)
    # After 10 of 4 have arrived 1; two are cut off at 15; the last one at risk arrives at 20.
    assert quantiles(one) == [10.0, 20.0, 20.0]
    rows[2:] = [{"outcome": "diverged", "metrics.steps": 15}] * 2
    other = arrivals(pd.DataFrame([{GAP: math.nan, **DEFAULTS, **row} for row in rows]), GAP)
    assert quantiles(other) == [10.0, 20.0, math.inf]
    assert expected_steps(other) == (10 + 20 + 15 + 15) / 2
    none = Arrivals(np.array([math.inf] * 2), np.array([5.0, math.inf]), np.array([5.0, 3.0]))
    assert quantiles(none) == [math.inf] * 3
    assert expected_steps(none) == math.inf


def test_without_censoring_quantiles_are_those_of_the_sample() -> None:
    values = np.random.default_rng(1).integers(1, 50, 37).astype(float)
    expected = np.quantile(values, (0.25, 0.5, 0.75), method="inverted_cdf")
    assert quantiles(known(list(values), [False] * 37)) == expected.tolist()
    # One that is cut off before the last arrival takes the other way to the same.
    late = known([*values, 49.5, 51.0], [False] * 37 + [True, False])
    more = np.quantile([*values, 49.5, 51.0], (0.25, 0.5, 0.75), method="inverted_cdf")
    assert quantiles(late) == more.tolist()


def test_settings_come_best_first_with_shares_and_censored_medians() -> None:
    rows: Rows = [
        {"lr": 0.1, "seed": 0, GAP: 30.0},
        {"lr": 0.1, "seed": 1, GAP: 50.0},
        {"lr": 0.1, "seed": 2, "outcome": "diverged", "metrics.steps": 7},
        {"lr": 0.2, "seed": 0, GAP: 20.0, "metrics.rate": 0.5, "metrics.reversals": 4},
        {"lr": 0.2, "seed": 1, GAP: 25.0, "metrics.rate": 0.7, "metrics.reversals": 6},
        {"lr": 0.2, "seed": 2, GAP: 22.0, "metrics.path_length": 9.0},
        {"lr": 0.3, "seed": 0, "outcome": "budget", "metrics.loss_gap": 0.5},
        {"lr": 0.3, "seed": 1, "outcome": "budget", "metrics.loss_gap": 0.7},
        {"lr": 0.3, "seed": 2, "outcome": "budget", "metrics.loss_gap": 0.6},
    ]
    some = sample(rows, ("lr",), ("seed",))
    assert [values["lr"] for values, _ in some.settings] == [0.2, 0.1, 0.3]
    table = speed(some)
    assert table.frame["median"].tolist() == [22.0, 50.0, math.inf]
    assert table.frame["first_quartile"].tolist() == [20.0, 30.0, math.inf]
    assert table.frame["with_restarts"].tolist() == [67 / 3, 87 / 2, math.inf]
    assert table.frame["rate"].tolist()[0] == pytest.approx(0.6)
    assert table.frame["detour"].tolist() == [2.0, 2.0, 2.0]
    assert table.frame["reversals"].tolist()[0] == 4
    steps = [text.replace("\N{NO-BREAK SPACE}", " ") for text in table.shown["median steps"]]
    # Of the first a third never arrives; of the last all may yet.
    assert steps == ["22 [20, 25]", "50 [30, ∞]", "> 100"]
    assert "9 runs of 3 settings over seed" in table.footer
    shares = outcomes(some).frame
    assert shares["converged"].tolist() == pytest.approx([1.0, 2 / 3, 0.0])
    assert shares["diverged"].tolist() == pytest.approx([0.0, 1 / 3, 0.0])
    assert shares["diverged.low"].tolist()[1] == pytest.approx(wilson(1, 3)[0])
    assert "cycling" not in shares


def grid(values: dict[tuple[int, int], float]) -> Sample:
    rows = [{"a": a, "b": b, GAP: 10.0**y} for (a, b), y in values.items()]
    return sample(rows, ("a", "b"))


def test_factors_and_pairs_explain_what_two_way_analysis_of_variance_says() -> None:
    # y = 3 ± 1 by a, ± 2 by b, ± 0.5 by both: variances 1, 4, 0.25 of 5.25
    cells = {(a, b): 3 + a + 2 * b + 0.5 * a * b for a in (-1, 1) for b in (-1, 1)}
    table = explained(grid(cells))
    assert table is not None
    frame = table.frame.set_index("factor")
    alone = frame[frame["and"].isna()]["speed"]
    assert alone["a"] == pytest.approx(1 / 5.25)
    assert alone["b"] == pytest.approx(4 / 5.25)
    assert frame[frame["and"].notna()]["speed"].tolist() == pytest.approx([0.25 / 5.25])
    assert frame["outcome"].isna().all()  # all converged: nothing to explain


def test_what_explains_the_outcome() -> None:
    # a decides everything, b nothing.
    words = ["converged", "diverged", "budget"]
    rows: Rows = [{"a": a, "b": b, "outcome": words[a]} for a in range(3) for b in range(4)]
    table = explained(sample(rows, ("a", "b")))
    assert table is not None
    shares = table.frame["outcome"].tolist()
    assert shares == pytest.approx([1.0, 0.0, 0.0], abs=1e-9)
    # One of two values of b decides half of the runs: of Gini's 1/2 a quarter is left, twice.
    rows = [{"b": b, "c": c, "outcome": words[b * c]} for b in range(2) for c in range(2)]
    table = explained(sample(rows, ("b", "c")))
    assert table is not None
    total = 1 - (0.75**2 + 0.25**2)
    alone = 1 - 0.5 * 0.5 / total
    assert table.frame["outcome"].tolist() == pytest.approx([alone, alone, 1 - 2 * alone])


def test_in_an_uneven_design_a_pair_counts_beyond_the_sum_of_both() -> None:
    # Additive, with cells of different sizes: nothing is left for the pair.
    rows = [
        {"a": a, "b": b, "seed": n, GAP: 10.0 ** (a + 2 * b)}
        for a in range(3)
        for b in range(3)
        for n in range(1 + 3 * (a == b))
    ]
    table = explained(sample(rows, ("a", "b")))
    assert table is not None
    assert table.frame["speed"].tolist()[-1] == pytest.approx(0.0, abs=1e-9)
    assert sum(table.frame["speed"].tolist()[:2]) != pytest.approx(1.0, abs=0.01)


def test_pairs_share_their_starts() -> None:
    times = {0.1: [10.0, 20.0, 40.0, 80.0], 0.2: [20.0, 40.0, 80.0, 160.0]}
    rows: Rows = [
        {"lr": lr, "seed": seed, GAP: step}
        for lr, steps in times.items()
        for seed, step in enumerate(steps)
    ]
    rows += [{"lr": 0.3, "seed": seed, "outcome": "diverged"} for seed in range(4)]
    some = sample(rows, ("lr",), ("seed",))
    table = differences(some)
    assert table is not None
    # Start by start each takes exactly twice as long, however different the starts are.
    first, second = table.frame.to_dict("records")
    assert (first["median"], first["low"], first["high"]) == (2.0, 2.0, 2.0)
    assert (first["pairs"], first["slower"], first["faster"]) == (4, 4, 0)
    assert (second["median"], second["low"], second["high"]) == (math.inf,) * 3
    assert differences(sample(rows, ("lr",))) is None


def test_of_other_metrics_a_run_that_is_lost_is_worse_than_all() -> None:
    losses = {
        0.1: [1.0, 1.0, 1.0, 1.0],
        0.2: [math.nan, math.nan, math.nan, 0.5],
        0.3: [math.nan] * 4,
    }
    rows: Rows = [
        {"lr": lr, "seed": seed, "metrics.final_loss": loss}
        for lr, some in losses.items()
        for seed, loss in enumerate(some)
    ]
    some = sample(rows[::-1], ("lr",), ("seed",))
    some = replace(some, metric=Metric("metrics.final_loss"))
    assert [values["lr"] for values, _ in some.settings] == [0.1, 0.2, 0.3]
    table = differences(some)
    assert table is not None
    first, second = table.frame.to_dict("records")
    assert (first["slower"], first["faster"], first["median"]) == (3, 1, math.inf)
    assert (second["slower"], second["median"], second["low"]) == (4, math.inf, math.inf)


def test_many_pairs_take_little_memory() -> None:
    from gradexp.comparison.effects import _interval

    values = np.random.default_rng(0).lognormal(size=3000)
    tracemalloc.start()
    low, high = _interval(values)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1e8  # all resamples at once would take 2.4e8 twice
    assert low < np.median(values) < high


def test_the_bootstrap_interval_of_a_median_covers_as_often_as_it_says() -> None:
    from gradexp.comparison.effects import _interval

    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        low, high = _interval(generator.lognormal(size=25))
        covered += low <= 1.0 <= high
    assert 0.90 <= covered / 200 <= 0.99
    low, high = _interval(np.array([1.0, 2.0, math.inf]))
    assert (low, high) == (1.0, math.inf)


def test_the_band_of_learning_rates() -> None:
    rates = np.array([1e-4, 1e-3, 1e-2, 1e-1])
    never = np.full(4, math.inf)
    found = band(rates, np.array([4000.0, 400.0, 100.0, math.inf]), never)
    # On the line from (1e-3, 400) to (1e-2, 100) the steps are 200 halfway.
    assert found["best"] == 1e-2
    assert found["low"] == pytest.approx(10**-2.5)
    assert found["high"] == 1e-2
    assert found["decades"] == pytest.approx(0.5)
    assert (found["open_low"], found["open_high"]) == (False, False)
    # Cut off before twice the fewest steps: it may belong to the band.
    for seen, is_open in ((150.0, True), (250.0, False)):
        cut = band(rates, np.array([math.inf, 400.0, 100.0, math.inf]), np.full(4, seen))
        assert cut["open_high"] is is_open
    whole = band(rates, np.array([120.0, 110.0, 100.0, 150.0]), never)
    assert (whole["open_low"], whole["open_high"]) == (True, True)
    assert whole["decades"] == pytest.approx(3.0)
    assert math.isnan(band(rates, never, never)["best"])


def test_the_band_moves_with_momentum() -> None:
    rows = [
        {"optimizer.lr": lr, "optimizer.momentum": momentum, GAP: 1 / lr * (1 - momentum)}
        for momentum in (0.0, 0.9)
        for lr in (1e-3 * (1 - momentum), 1e-2 * (1 - momentum), 1e-1 * (1 - momentum))
    ]
    table = bands(sample(rows, ("optimizer.lr", "optimizer.momentum")))
    assert table is not None
    frame = table.frame
    assert frame["best"].tolist() == pytest.approx([0.1, 0.01])
    assert frame["effective_best"].tolist() == pytest.approx([0.1, 0.1])
    assert frame["effective_low"].tolist() == pytest.approx([0.05, 0.05])
    assert frame["open_high"].tolist() == [True, True]


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


def test_performance_profiles() -> None:
    some = across()
    found = ratios(times(some, some.metric))
    assert found.T.tolist() == [
        [1.0, 2.0, 1.0, math.inf],
        [2.0, 1.0, 1.0, 1.0],
        [math.inf, math.inf, 3.0, 10.0],
    ]
    table = profiles(some)
    assert table is not None
    frame = table.frame.set_index("optimizer")
    assert frame.index.tolist() == ["b", "a", "c"]
    assert frame["within_1"].to_dict() == {"a": 0.5, "b": 0.75, "c": 0.0}
    assert frame["within_2"].to_dict() == {"a": 0.75, "b": 1.0, "c": 0.0}
    assert frame["within_4"].to_dict() == {"a": 0.75, "b": 1.0, "c": 0.25}
    assert frame["solved"].to_dict() == {"a": 0.75, "b": 1.0, "c": 0.5}


def test_targets_reached_and_data_profiles() -> None:
    table = targets(across())
    assert table is not None
    frame = table.frame.set_index("optimizer")
    # Each reaches the easy tolerance on all surfaces by step 5, and the other as above.
    assert frame["by_10"].to_dict() == {"a": (1 + 0.25) / 2, "b": (1 + 0.25) / 2, "c": 0.5}
    assert frame["by_100"].to_dict() == {"a": (1 + 0.75) / 2, "b": 1.0, "c": (1 + 0.25) / 2}
    # In units of five evaluations, of which step 40 is the eighth.
    assert frame["by_10_per_dim"].to_dict()["b"] == 1.0
    assert frame["by_10_per_dim"].to_dict()["a"] == (1 + 0.75) / 2


def test_expected_steps_with_restarts() -> None:
    table = restarts(across())
    assert table is not None
    frame = table.frame.set_index("optimizer")
    assert frame["s0"].to_dict() == {"a": 10.0, "b": 20.0, "c": math.inf}
    assert frame["s3"].to_dict() == {"a": math.inf, "b": 40.0, "c": 400.0}


def test_swept_steps_are_told_apart_from_steps_taken() -> None:
    rows: Rows = [
        {"steps": budget, "optimizer.lr": lr, GAP: 5 / lr, "metrics.steps": budget}
        for budget in (100, 1000)
        for lr in (0.1, 0.2, 0.4)
    ]
    some = sample(rows, ("steps", "optimizer.lr"))
    assert set(speed(some).shown["steps"]) == {"100", "1000"}
    table = bands(some)
    assert table is not None
    assert table.frame["steps"].tolist() == [100, 1000]
    assert table.shown["steps"].tolist() == ["100", "1000"]


def test_theory_stands_beside_measurement() -> None:
    rows: Rows = [
        {"optimizer.lr": 0.1, "metrics.rate": 0.81, "theory.rate": 0.9, "theory.edge": 0.25},
        {"optimizer.lr": 0.2, "metrics.rate": 0.8, "theory.rate": 0.8, "theory.edge": 0.25},
        {"optimizer.lr": 0.3, "outcome": "diverged"},
    ]
    some = sample(rows, ("optimizer.lr",))
    table = rates(some)
    assert table is not None
    assert sorted(table.frame["speed_ratio"]) == pytest.approx([1.0, 2.0])
    table = edges(some)
    assert table is not None
    (row,) = table.frame.to_dict("records")
    assert (row["predicted"], row["converged"], row["lost"], row["runs"]) == (0.25, 0.2, 0.3, 2)
    assert escapes(some) is None
    rows[0] |= {"theory.escape_steps": 12.5, "metrics.escape_steps": 13.0}
    some = sample(rows, ("optimizer.lr",))
    table = escapes(some)
    assert table is not None
    assert table.frame[["predicted", "measured", "left"]].to_numpy().tolist() == [[12.5, 13.0, 1]]


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
    assert some.setting == ("optimizer.lr", "optimizer.momentum")
    assert some.repeats == ("seed",)
    assert (len(some.runs), some.failed) == (8, 4)
    assert some.metric.column == "metrics.steps_to_gap.1e-09"
    assert some.metric.label == "steps to a loss gap of 1e-09"
    assert gather([tmp_path / "s"], by=["seed"]).repeats == ("optimizer.lr", "optimizer.momentum")
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
    assert some.setting == ("init.distance", "optimizer.lr")
    table = escapes(some)
    assert table is not None
    for row in table.frame.to_dict("records"):
        assert row["predicted"] <= row["measured"] <= row["predicted"] * 1.03 + 1
    # Without points no escape can be seen, and none is predicted.
    swept(gradexp, "m", *axes, "record=metrics")
    assert escapes(gather([tmp_path / "m"])) is None


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
    assert some.unknown == 2
    assert "2 runs of surfaces without a known minimum, left out" in some.behind()


def test_a_sweep_without_configs_or_of_text_and_numbers(gradexp: Gradexp, tmp_path: Path) -> None:
    swept(gradexp, "s", "optimizer.lr=0.1,0.2", "hydra.output_subdir=null")
    assert gradexp("compare", "s")[0] == 0
    status, _, err = gradexp("compare", "s", "--save", "t")
    assert status == 2
    assert "its config is not there" in err
    swept(gradexp, "m", "init=normal", "init.center=null,[0,1]", "optimizer.lr=0.1,0.2,0.3")
    assert gradexp("compare", "m", "--save", "t", "--formats", "parquet,csv")[0] == 0
    (tmp_path / "m" / "1" / "trace.npz").unlink()
    status, _, err = gradexp("compare", "m", "--save", "t", "--formats", "png")
    assert status == 2
    assert "holds no whole run" in err


def test_sweeps_are_joined_by_what_their_configs_say(gradexp: Gradexp, tmp_path: Path) -> None:
    swept(gradexp, "one", "optimizer.lr=0.1,0.2")
    swept(gradexp, "two", "optimizer.lr=0.1", "optimizer.momentum=0.5,0.9", "surface.dim=3")
    some = gather([tmp_path / "one", tmp_path / "two"])
    assert set(some.setting) == {"optimizer.lr", "optimizer.momentum", "surface.dim"}
    assert some.runs["optimizer.momentum"].tolist() == [0.0, 0.0, 0.5, 0.9]
    assert some.runs["surface.dim"].tolist() == [2, 2, 3, 3]
    assert some.problem == ("surface.dim",)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["s", "--where", "optimizer.lr = 0.1"], "equality is =="),
        (["s", "--where", "seed"], "cannot be evaluated"),
        (["nowhere"], "no such folder"),
        (["s", "--by", "optimizer.lrr"], "did you mean optimizer.lr?"),
        (["s", "--metric", "steps_to_gap"], "no such figure; did you mean"),
        (["s", "--where", "lr <"], "cannot be evaluated"),
        (["s", "--where", "optimizer.lr > 9"], "no run is left"),
        (["s", "--formats", "xls", "--save", "t"], "must be some of csv, parquet, latex"),
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
    for part in ("How runs ended", "How fast", "Beside the best", "What decides", "saved:  t"):
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


@pytest.mark.parametrize(
    "setting",
    [
        ["schedule=exponential", "record=metrics", "surface=hyperbolic", "steps=20"],
        ["optimizer=torch", "engine=reference", "optimizer._target_=torch.optim.Adagrad"],
    ],
    ids=lambda setting: setting[0],
)
def test_runs_without_theory_rates_or_known_minima(gradexp: Gradexp, setting: list[str]) -> None:
    rates = "+optimizer.lr=0.01,0.1" if "optimizer=torch" in setting else "optimizer.lr=0.01,0.1"
    swept(gradexp, "s", rates, "seed=1,2", "init=uniform", *setting)
    status, out, err = gradexp("compare", "s", "--save", "t")
    assert (status, err) == (0, "")
    assert "How fast" in out
    assert "Theory" not in out


def test_tables_of_one_run(gradexp: Gradexp) -> None:
    assert gradexp("run", "surface=sphere", "optimizer.lr=0.1", "hydra.run.dir=r")[0] == 0
    status, out, err = gradexp("compare", "r")
    assert (status, err) == (0, "")
    assert "1 run of 1 setting" in out
