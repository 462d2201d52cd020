"""The statistics of comparisons, each against a hand-worked or published answer."""

import math
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pytest

from gradexp.analysis.metric import Metric
from gradexp.analysis.quartiles import median
from gradexp.analysis.quartiles import quartiles as quartiles_of
from gradexp.comparison.effects import effects_table
from gradexp.comparison.figures.table_figures import learning_rates
from gradexp.comparison.hitting_times import (
    HittingTimes,
    expected_running_time,
    hitting_times,
    quantile_lower_bound,
    quantiles,
)
from gradexp.comparison.lr_sensitivity import lr_band, lr_bands_table
from gradexp.comparison.optimizers import optimizers_table
from gradexp.comparison.pairs import differences_table, median_interval
from gradexp.comparison.predictions import edges_table, escapes_table, rates_table
from gradexp.comparison.sample import Sample
from gradexp.comparison.setting_tables import outcomes_table, share_interval, speed_table

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
    return Sample(runs, 0, 0, 0, 0, setting, repeats, Metric(GAP.removeprefix("metrics.")))


def known(values: list[float], censored: list[bool]) -> HittingTimes:
    at = np.where(censored, math.inf, values)
    return HittingTimes(at, np.array(values, float), np.array(values, float))


def test_intervals_of_shares() -> None:
    # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I, method 5
    assert share_interval(81, 263) == pytest.approx((0.2527, 0.3676), abs=5e-5)
    assert share_interval(15, 148) == pytest.approx((0.0578, 0.1617), abs=5e-5)
    assert share_interval(0, 20) == pytest.approx((0.0, 0.1684), abs=5e-5)
    assert share_interval(1, 29) == pytest.approx((0.0009, 0.1776), abs=5e-5)


@pytest.mark.parametrize("trials", [1, 4, 10, 64])
def test_intervals_of_shares_cover_them_as_often_as_they_say(trials: int) -> None:
    intervals = np.array([share_interval(count, trials) for count in range(trials + 1)])
    for share in (0.001, 0.02, 0.1, 0.3, 0.5, 0.8, 0.97):
        made = np.random.default_rng(trials).binomial(trials, share, 20_000)
        low, high = intervals[made].T
        assert ((low <= share) & (share <= high)).mean() >= 0.95 - 3 * (0.05 * 0.95 / 20_000) ** 0.5


def test_kaplan_meier_on_the_remissions_of_freireich() -> None:
    # Freireich et al. (1963), the treated group: weeks of remission, + censored. Median 23; the
    # survival falls to 0.690 at 13, and ends at 0.448.
    remitted = [6.0, 6.0, 6.0, 7.0, 10.0, 13.0, 16.0, 22.0, 23.0]
    censored = [6.0, 9.0, 10.0, 11.0, 17.0, 19.0, 20.0, 25.0, 32.0, 32.0, 34.0, 35.0]
    some = known([*remitted, *censored], [False] * 9 + [True] * 12)
    assert quantiles(some) == [13.0, 23.0, math.inf]


def test_runs_that_never_arrive_stay_and_those_cut_off_are_censored() -> None:
    cut_off = [{"outcome": word, "metrics.steps": 15} for word in ("budget", "noise_floor")]
    rows: Rows = [{GAP: 10.0}, {GAP: 20.0}, *cut_off]
    one = hitting_times(pd.DataFrame([{GAP: math.nan, **DEFAULTS, **row} for row in rows]), GAP)
    # After 10 of 4 have arrived 1; two are cut off at 15; the last one at risk arrives at 20.
    assert quantiles(one) == [15.0, 20.0, 20.0]
    assert [quantile_lower_bound(one, share) for share in (0.25, 0.5, 0.75)] == [12.5, 15.0, 17.5]
    rows[2:] = [{"outcome": "diverged", "metrics.steps": 15}] * 2
    other = hitting_times(pd.DataFrame([{GAP: math.nan, **DEFAULTS, **row} for row in rows]), GAP)
    assert quantiles(other) == [15.0, math.inf, math.inf]
    assert quantile_lower_bound(other, 0.5) == math.inf
    assert expected_running_time(other) == (10 + 20 + 15 + 15) / 2
    none = HittingTimes(np.array([math.inf] * 2), np.array([5.0, math.inf]), np.array([5.0, 3.0]))
    assert quantiles(none) == [math.inf] * 3
    assert expected_running_time(none) == math.inf


def test_without_censoring_quantiles_are_those_of_the_sample() -> None:
    for count in (36, 37, 38):
        values = np.random.default_rng(1).integers(1, 50, count).astype(float)
        how: Any = {"q": (0.25, 0.5, 0.75), "method": "averaged_inverted_cdf"}
        found = quantiles(known(list(values), [False] * count))
        assert found == np.quantile(values, **how).tolist()
        assert found[1] == np.median(values)
        # One that is cut off before the last arrival takes the other way to the same.
        late = known([*values, 49.5, 51.0], [False] * count + [True, False])
        assert quantiles(late) == np.quantile([*values, 49.5, 51.0], **how).tolist()


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
    table = speed_table(some)
    assert table.frame["median"].tolist() == [22.0, 50.0, math.inf]
    assert table.frame["first_quartile"].tolist() == [20.0, 30.0, math.inf]
    assert table.frame["ert"].tolist() == [67 / 3, 87 / 2, math.inf]
    assert table.frame["rate"].tolist()[0] == pytest.approx(0.6)
    assert table.frame["tortuosity"].tolist() == [2.0, 2.0, 2.0]
    assert table.frame["reversals"].tolist()[0] == 4
    steps = [text.replace("\N{NO-BREAK SPACE}", " ") for text in table.shown["median steps"]]
    # Of the first a third never arrives; of the last all may yet.
    assert steps == ["22 [20, 25]", "50 [30, ∞]", "> 100"]
    assert "9 runs of 3 settings over seed" in table.footer
    shares = outcomes_table(some).frame
    assert shares["converged"].tolist() == pytest.approx([1.0, 2 / 3, 0.0])
    assert shares["diverged"].tolist() == pytest.approx([0.0, 1 / 3, 0.0])
    assert shares["diverged.low"].tolist()[1] == pytest.approx(share_interval(1, 3)[0])
    assert "cycling" not in shares


def grid(values: dict[tuple[int, int], float]) -> Sample:
    rows = [{"a": a, "b": b, GAP: 10.0**y} for (a, b), y in values.items()]
    return sample(rows, ("a", "b"))


def test_factors_and_pairs_explain_what_two_way_analysis_of_variance_says() -> None:
    # y = 3 ± 1 by a, ± 2 by b, ± 0.5 by both: variances 1, 4, 0.25 of 5.25
    cells = {(a, b): 3 + a + 2 * b + 0.5 * a * b for a in (-1, 1) for b in (-1, 1)}
    table = effects_table(grid(cells))
    assert table is not None
    frame = table.frame.set_index("key")
    alone = frame[frame["second_key"].isna()]["metric"]
    assert alone["a"] == pytest.approx(1 / 5.25)
    assert alone["b"] == pytest.approx(4 / 5.25)
    assert frame[frame["second_key"].notna()]["metric"].tolist() == pytest.approx([0.25 / 5.25])
    assert frame["outcome"].isna().all()  # all converged: nothing to explain


def test_what_explains_the_outcome() -> None:
    # a decides everything, b nothing.
    words = ["converged", "diverged", "budget"]
    rows: Rows = [{"a": a, "b": b, "outcome": words[a]} for a in range(3) for b in range(4)]
    table = effects_table(sample(rows, ("a", "b")))
    assert table is not None
    shares = table.frame["outcome"].tolist()
    assert shares == pytest.approx([1.0, 0.0, 0.0], abs=1e-9)
    # One of two values of b decides half of the runs: of Gini's 1/2 a quarter is left, twice.
    rows = [{"b": b, "c": c, "outcome": words[b * c]} for b in range(2) for c in range(2)]
    table = effects_table(sample(rows, ("b", "c")))
    assert table is not None
    total = 1 - (0.75**2 + 0.25**2)
    alone = 1 - 0.5 * 0.5 / total
    assert table.frame["outcome"].tolist() == pytest.approx([alone, alone, 1 - 2 * alone])


def test_what_explains_nothing_explains_as_much_as_is_said_by_chance() -> None:
    generator = np.random.default_rng(0)
    shares: dict[str, list[float]] = {"a": [], "b": [], "pair": []}
    said = {"a": 5 / 47, "b": 3 / 47, "pair": 15 / 47}  # degrees of freedom, of 48 - 1
    for _ in range(60):
        rows: Rows = [
            {"a": a, "b": b, GAP: 10.0 ** generator.standard_normal()}
            for a in range(6)
            for b in range(4)
            for _ in range(2)
        ]
        table = effects_table(sample(rows, ("a", "b")))
        assert table is not None
        for row in table.frame.to_dict("records"):
            key = "pair" if isinstance(row["second_key"], str) else row["key"]
            shares[key].append(row["metric"])
            assert row["metric_by_chance"] == pytest.approx(said[key])
    for key, found in shares.items():
        assert np.mean(found) == pytest.approx(said[key], abs=4 * np.std(found) / 60**0.5)


def test_in_an_uneven_design_a_pair_counts_beyond_the_sum_of_both() -> None:
    # Additive, with cells of different sizes: nothing is left for the pair.
    rows = [
        {"a": a, "b": b, "seed": n, GAP: 10.0 ** (a + 2 * b)}
        for a in range(3)
        for b in range(3)
        for n in range(1 + 3 * (a == b))
    ]
    table = effects_table(sample(rows, ("a", "b")))
    assert table is not None
    assert table.frame["metric"].tolist()[-1] == pytest.approx(0.0, abs=1e-9)
    assert sum(table.frame["metric"].tolist()[:2]) != pytest.approx(1.0, abs=0.01)


def test_pairs_share_their_starts() -> None:
    times = {0.1: [5.0, 10.0, 20.0, 40.0, 80.0, 3.0]}
    times[0.2] = [2 * step for step in times[0.1]]
    rows: Rows = [
        {"lr": lr, "seed": seed, GAP: step}
        for lr, steps in times.items()
        for seed, step in enumerate(steps)
    ]
    rows += [{"lr": 0.3, "seed": seed, "outcome": "diverged"} for seed in range(6)]
    some = sample(rows, ("lr",), ("seed",))
    table = differences_table(some)
    assert table is not None
    # Start by start each takes exactly twice as long, however different the starts are.
    first, second = table.frame.to_dict("records")
    assert (first["median"], first["low"], first["high"]) == (2.0, 2.0, 2.0)
    assert (first["pairs"], first["slower"], first["faster"]) == (6, 6, 0)
    assert first["coverage"] == 1 - 2 / 64
    assert (second["median"], second["low"], second["high"]) == (math.inf,) * 3
    assert differences_table(sample(rows, ("lr",))) is None


def test_the_median_of_two_pairs_lies_between_them() -> None:
    assert median(np.array([2.0, 0.5])) == 1.25
    assert median(np.array([2.0, math.inf])) == math.inf
    assert median(np.array([3.0, math.nan, 1.0, 2.0])) == 2.0
    assert math.isnan(median(np.array([math.nan])))


def test_quartiles_are_those_of_numpy() -> None:
    how: Any = {"q": (0.25, 0.5, 0.75), "axis": 0, "method": "averaged_inverted_cdf"}
    for count in range(1, 30):
        values = np.random.default_rng(count).standard_normal((count, 3))
        assert quartiles_of(values) == pytest.approx(np.quantile(values, **how), rel=1e-15)
    # Of six the quartiles are the second, the mean of the third and the fourth, and the fifth.
    found = quartiles_of(np.array([math.inf, 1.0, 8.0, 4.0, 2.0, math.inf]))
    assert found.tolist() == [2.0, 6.0, math.inf]


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
    some = replace(some, metric=Metric("final_loss"))
    assert [values["lr"] for values, _ in some.settings] == [0.1, 0.2, 0.3]
    table = differences_table(some)
    assert table is not None
    first, second = table.frame.to_dict("records")
    assert (first["slower"], first["faster"], first["median"]) == (3, 1, math.inf)
    assert (second["slower"], second["median"]) == (4, math.inf)
    assert math.isnan(second["low"])  # of four pairs there is no interval


@pytest.mark.parametrize("pairs", [6, 7, 9, 12, 17, 25, 40, 99])
@pytest.mark.parametrize("kind", ["lognormal", "standard_cauchy", "with infinities"])
def test_intervals_of_medians_cover_them_as_often_as_they_say(pairs: int, kind: str) -> None:
    generator = np.random.default_rng(pairs)
    made = generator.standard_cauchy((20_000, pairs))
    if kind != "standard_cauchy":
        made = np.exp(made.clip(-50, 50)) if kind == "lognormal" else made
    if kind == "with infinities":
        made = np.where(made > 1, np.inf, made)
    median = 1.0 if kind == "lognormal" else 0.0
    _, _, stated = median_interval(made[0])
    ordered = np.sort(made, axis=1)
    low, high, _ = median_interval(np.arange(pairs, dtype=float))
    covered = (ordered[:, int(low)] <= median) & (median <= ordered[:, int(high)])
    assert stated >= 0.95
    assert covered.mean() == pytest.approx(stated, abs=4 * (stated * (1 - stated) / 20_000) ** 0.5)
    found = median_interval(made[0])[:2]
    assert found == (ordered[0, int(low)], ordered[0, int(high)])


def test_of_fewer_than_six_there_is_no_interval_of_the_median() -> None:
    for count in range(6):
        assert all(math.isnan(end) for end in median_interval(np.ones(count)))
    assert median_interval(np.array([3.0, 1, 2, 6, 5, 4])) == (1.0, 6.0, 1 - 2 / 64)
    low, high, coverage = median_interval(np.arange(3000.0))
    assert low < 1500 < high
    assert 0.95 <= coverage < 0.955


def test_the_band_of_learning_rates() -> None:
    rates = np.array([1e-4, 1e-3, 1e-2, 1e-1])
    never = np.full(4, math.inf)
    found = lr_band(rates, np.array([4000.0, 400.0, 100.0, math.inf]), never)
    # On the line from (1e-3, 400) to (1e-2, 100) the steps are 200 halfway.
    assert found["best"] == 1e-2
    assert found["low"] == pytest.approx(10**-2.5)
    assert found["high"] == 1e-2
    assert found["decades"] == pytest.approx(0.5)
    assert (found["open_low"], found["open_high"]) == (False, False)
    # Cut off before twice the fewest steps: it may belong to the band.
    for seen, is_open in ((150.0, True), (250.0, False)):
        cut = lr_band(rates, np.array([math.inf, 400.0, 100.0, math.inf]), np.full(4, seen))
        assert cut["open_high"] is is_open
    whole = lr_band(rates, np.array([120.0, 110.0, 100.0, 150.0]), never)
    assert (whole["open_low"], whole["open_high"]) == (True, True)
    assert whole["decades"] == pytest.approx(3.0)
    assert math.isnan(lr_band(rates, never, never)["best"])


def test_the_band_moves_with_momentum() -> None:
    rows = [
        {"optimizer.lr": lr, "optimizer.momentum": momentum, GAP: 1 / lr * (1 - momentum)}
        for momentum in (0.0, 0.9)
        for lr in (1e-3 * (1 - momentum), 1e-2 * (1 - momentum), 1e-1 * (1 - momentum))
    ]
    table = lr_bands_table(sample(rows, ("optimizer.lr", "optimizer.momentum")))
    assert table is not None
    frame = table.frame
    assert frame["best"].tolist() == pytest.approx([0.1, 0.01])
    assert frame["effective_best"].tolist() == pytest.approx([0.1, 0.1])
    assert frame["effective_low"].tolist() == pytest.approx([0.05, 0.05])
    assert frame["open_high"].tolist() == [True, True]


def test_theory_stands_beside_measurement() -> None:
    rows: Rows = [
        {"optimizer.lr": 0.1, "metrics.rate": 0.81, "theory.rate": 0.9, "theory.edge": 0.25},
        {"optimizer.lr": 0.2, "metrics.rate": 0.8, "theory.rate": 0.8, "theory.edge": 0.25},
        {"optimizer.lr": 0.3, "outcome": "diverged"},
    ]
    some = sample(rows, ("optimizer.lr",))
    table = rates_table(some)
    assert table is not None
    # The first shrinks twice as fast as predicted: it has no part in the slowest direction.
    found = table.frame.set_index("optimizer.lr")
    assert found["faster_than_predicted"].to_dict() == {0.1: 1, 0.2: 0}
    assert math.isnan(found["speed_ratio"][0.1])
    assert found["speed_ratio"][0.2] == pytest.approx(1.0)
    table = edges_table(some)
    assert table is not None
    (row,) = table.frame.to_dict("records")
    assert (row["predicted"], row["largest_converged"], row["smallest_unstable"], row["runs"]) == (
        0.25,
        0.2,
        0.3,
        2,
    )
    assert escapes_table(some) is None
    rows[0] |= {"theory.escape_steps": 12.5, "metrics.escape_steps": 13.0}
    some = sample(rows, ("optimizer.lr",))
    table = escapes_table(some)
    assert table is not None
    assert table.frame[["predicted", "measured", "left"]].to_numpy().tolist() == [[12.5, 13.0, 1]]


def test_lost_runs_are_worse_than_all_others_in_every_table() -> None:
    lost = {"outcome": "diverged", "metrics.final_loss": 1e30, "metrics.loss_gap": 1e30}
    rows: Rows = [
        {"optimizer": name, "optimizer.lr": 0.1, "seed": seed, **ended}
        for seed in range(4)
        for name, ended in (("adam", {"metrics.final_loss": float(seed)}), ("sgd", lost))
    ]
    some = sample(rows, ("optimizer", "optimizer.lr"), ("seed",))
    some = replace(some, metric=Metric("final_loss"))
    settings, side_by_side = speed_table(some).frame, optimizers_table(some)
    assert side_by_side is not None
    for frame in (settings, side_by_side.frame):
        assert frame["median"].tolist() == [1.5, math.inf]
        assert frame["first_quartile"].tolist() == [0.5, math.inf]
    assert settings["loss_gap"].tolist() == [0.0, math.inf]


def test_optimizers_and_surfaces_that_have_no_run_in_common_are_not_drawn() -> None:
    rows: Rows = [
        {"surface": surface, "optimizer": name, "optimizer.lr": rate, GAP: 10 * rate}
        for surface, names in [(f"a{i}", "xy") for i in range(6)] + [("z", "stuvw")]
        for name in names
        for rate in (0.1, 1.0)
    ]
    some = sample(rows, ("surface", "optimizer", "optimizer.lr"))
    drawn = learning_rates(some)
    assert drawn is not None
    told = "\n".join(text.get_text() for text in drawn.texts)
    assert "the best 6 of 7 settings; 6 of 7 surfaces" in told
    nothing = replace(some, runs=some.runs[some.runs["optimizer.lr"] < 0.5])
    assert learning_rates(nothing) is None
