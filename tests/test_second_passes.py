"""Runs that are looked at a second time: those that stopped and may not be at rest, those that may
recur, those that noise moves. Costs 15 s."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from gradexp import optimize
from gradexp.analysis import judge
from gradexp.analysis.theory import predictions
from gradexp.engine import Reference, Stop
from gradexp.errors import UserError
from gradexp.noises import Gaussian
from gradexp.optimizers import SGD, Adam, External, Optimizer, RMSprop, Rprop
from gradexp.optimizers.external import Setting
from gradexp.schedules import Exponential, Linear, Schedule
from gradexp.surfaces import Surface, from_function, get
from tests.test_endings import WAYS, assert_same_run, the_ending

NEVER = Stop(gradient=0.0)
SOME_WAYS = {way: WAYS[way] for way in ("eager", "compiled, metrics", "reference, metrics")}


def word_of(surface: Surface, *given: Any, stop: Stop | None = None, **more: Any) -> str:
    stop = stop or Stop()
    trace = optimize(surface, *given, stop=stop, record="metrics", compile="never", **more)
    return judge(surface, stop, trace).word


# what stopped, and is not at rest


@pytest.mark.slow  # 4 s
@pytest.mark.parametrize(("rule", "steps"), [(RMSprop(0.1), 3000), (RMSprop(0.3, alpha=0.9), 1000)])
def test_rules_whose_steps_grow_again_are_not_at_rest(rule: Optimizer, steps: int) -> None:
    # They do as the mean of the squares fades: α λ / ε is far above 2.
    run: Any = (get("sphere"), (4.0, -3.0), rule)
    trace = optimize(*run, steps=steps, compile="never", record="metrics")
    never = optimize(*run, steps=steps, compile="never", record="metrics", stop=NEVER)
    assert float(never.final_loss[0]) > 1e-6
    assert judge(run[0], Stop(), trace).word in ("cycling", "budget")
    assert torch.equal(trace.final_point, never.final_point)


def test_one_that_stays_is_at_rest_where_it_stopped() -> None:
    for rule in (Adam(0.1), SGD(0.3, 0.9)):
        trace = optimize(get("sphere"), (4.0, -3.0), rule, steps=1000, compile="never")
        assert judge(get("sphere"), Stop(), trace).word == "converged"
        assert int(trace.steps[0]) < 500


@pytest.mark.parametrize(
    ("lr", "schedule"), [(1.2, Linear(0.1, 1.0, 300.0)), (0.01, Exponential(1.01))]
)
def test_a_learning_rate_that_a_schedule_raises_ends_a_rest(lr: float, schedule: Schedule) -> None:
    run: Any = (get("sphere"), (4.0, -3.0), SGD(lr), 2000, SOME_WAYS)
    outcome, steps = the_ending(*run, schedule=schedule)
    assert (outcome.word, steps > 300) == ("diverged", True)


def test_a_minimum_that_repels_is_none_to_rest_at() -> None:
    for start in (1e-10, 1e-14):
        outcome, steps = the_ending(get("sphere"), (start, 0.0), SGD(1.5), 500, SOME_WAYS)
        # x → -2 x, from there to 10¹² times the size of the domain in the loss.
        size = 1e12 * 4 * 25
        assert outcome.word == "diverged"
        assert steps == pytest.approx(math.log2(size**0.5 / start), abs=3)
    assert word_of(get("sphere"), (0.0, 0.0), SGD(1.5), steps=500) == "converged"


def test_a_slow_direction_is_no_rest() -> None:
    # All but no gradient, a twentieth of the domain away: after so many steps 1 % of it is left.
    surface = get("quadratic", condition_number=1e10)
    trace = optimize(surface, (4.0, 3.0), SGD(1e-10), steps=500, compile="never")
    assert judge(surface, Stop(), trace).word == "budget"
    assert int(trace.steps[0]) == 500


def test_a_gradient_that_a_person_gives_is_taken_as_given() -> None:
    stop = Stop(gradient=1e-3)
    trace = optimize(get("sphere"), (4.0, -3.0), RMSprop(0.01), steps=3000, stop=stop)
    assert int(trace.steps[0]) < 3000
    assert float(trace.final_gradient_norm[0]) <= 1e-3


def test_saddles_of_many_dimensions_are_left() -> None:
    surface = get("high_index", dim=300)
    start = [1e-12, 0.0, 0.0, 0.0, 0.0, 1.0] + [0.0] * 294
    assert word_of(surface, start, SGD(0.1), steps=800) == "converged"


def ring(point: Any) -> Any:
    x, y = point
    return (x**2 + y**2 - 4) ** 2


def test_runs_that_leave_and_runs_that_stay_share_a_batch() -> None:
    # The one leaves the maximum in the middle of the ring, the others stop at a tenth of the
    # gradient there is; the ends of both are at different steps.
    surface, stop = from_function(ring)(), Stop(gradient=1e-3)
    start = torch.tensor([[1e-5] + [1.8] * 6, [3e-6] + [0.0] * 6], dtype=torch.float64)
    for record in ("trace", "loss", "metrics"):
        how: Any = {"steps": 1000, "stop": stop, "record": record, "compile": "never"}
        together = optimize(surface, start, SGD(0.01), **how)
        for run in (0, 3):
            assert_same_run(together, run, optimize(surface, start[:, run], SGD(0.01), **how))
        assert judge(surface, stop, together, 0).word == "converged"


# what stands still


@pytest.mark.parametrize("steps", [20, 400, 500, 900])
def test_a_saddle_that_is_left_too_slowly_to_be_seen_is_none(steps: int) -> None:
    word = word_of(get("strict"), (0.0, 1e-30), SGD(0.1), steps=steps)
    assert word == ("converged" if steps == 900 else "budget")


def test_steps_too_short_to_go_anywhere_are_no_rest() -> None:
    shrinking = Exponential(0.975)
    assert word_of(get("sphere"), (4.0, -3.0), SGD(0.1), steps=2000, schedule=shrinking) == "budget"
    for surface, start in (("sphere", (1e-3, 0.0)), ("strict", (1e-4, 1e-4))):
        assert word_of(get(surface), start, SGD(1e-20), steps=500) == "budget"


def test_what_stands_still_where_there_is_no_hessian_is_judged_without_one() -> None:
    surface = from_function(rough)()
    assert word_of(surface, (0.0, 0.0), SGD(0.1), steps=300, stop=NEVER) == "converged"


def test_with_noise_nothing_stands_still() -> None:
    rule = SGD(1e-15)
    word = word_of(get("sphere"), (1e-4, 0.0), rule, steps=500, noise=Gaussian(std=0.1))
    assert word == "budget"


# what recurs


def test_a_cycle_that_waits_for_a_step_is_one_after_any_number_of_steps() -> None:
    # Rprop goes forth and back, and waits in between: two of its four points are the same.
    for steps in (500, 501):
        assert word_of(get("sphere"), (4.0, 4.0), Rprop(0.1), steps=steps) == "cycling"


def test_many_cycles_take_no_time_each() -> None:
    start = torch.rand(2, 20_000, dtype=torch.float64) + 0.5
    trace = optimize(get("sphere"), start, SGD(1.0), steps=100, record="metrics", compile="never")
    assert trace.recurrence is not None
    assert bool((trace.recurrence.period == 2).all())
    for run in (0, 9_999, 19_999):
        found = trace.recurrence.round(run)
        assert found is not None
        assert torch.equal(found[-1], start[:, run])
        assert torch.equal(found[0], -start[:, run])


def test_optimizers_that_remember_nothing_yet_share_a_batch() -> None:
    rule = External(torch.optim.LBFGS, (Setting("lr", 1.0),))
    start = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    for order in ([0, 1], [1, 0]):
        trace = optimize(
            get("sphere"), start[:, order], rule, steps=20, stop=NEVER, engine=Reference()
        )
        assert [judge(get("sphere"), NEVER, trace, run).word for run in (0, 1)] == ["converged"] * 2


# what noise moves


@pytest.mark.slow  # 2 s each
@pytest.mark.parametrize(
    ("name", "start", "rule", "std"),
    [
        ("six_hump_camel", (0.1, -0.6), SGD(0.14), 1e-6),  # a cycle
        ("strict", (0.0, 0.7), SGD(1.4), 1e-9),  # chaos
        ("sphere", (0.3, 0.2), SGD(1.0), 1e-6),  # from side to side, on the edge of stability
        ("sphere", (0.01, 0.0), SGD(1.0002), 0.01),  # beyond it
    ],
)
def test_what_would_go_on_without_noise_is_no_noise_floor(
    name: str, start: tuple[float, ...], rule: SGD, std: float
) -> None:
    seeds = torch.arange(32)
    trace = optimize(
        get(name), start, rule, steps=2000, noise=Gaussian(std, seed=seeds), record="metrics",
        compile="never",
    )  # fmt: skip
    words = [judge(get(name), Stop(), trace, run).word for run in range(32)]
    assert "noise_floor" not in words


def test_a_random_walk_is_no_noise_floor() -> None:
    # Half of the run is a hundredth of the time that it takes to come back.
    seeds = torch.arange(64)
    trace = optimize(
        get("sphere"), (0.0, 0.0), SGD(1e-5), steps=1000, noise=Gaussian(0.1, seed=seeds),
        record="metrics", compile="never",
    )  # fmt: skip
    words = [judge(get("sphere"), Stop(), trace, run).word for run in range(64)]
    assert set(words) == {"budget"}


def test_of_runs_that_ended_nothing_late_is_known() -> None:
    start = torch.tensor([[1.0, 1e6], [1.0, 1e6]], dtype=torch.float64)
    lr = torch.tensor([0.1, 10.0], dtype=torch.float64)
    trace = optimize(
        get("sphere"), start, SGD(lr), steps=200, noise=Gaussian(0.1), record="metrics"
    )
    assert trace.late is not None
    for part in (trace.late.loss, trace.late.mean, trace.late.spread):
        assert bool(part[..., 1].isnan().all())
        assert bool(part[..., 0].isfinite().all())


def test_theory_knows_no_floor_of_a_rule_that_draws_elsewhere() -> None:
    sphere, curved = get("sphere"), [2.0, 2.0]
    assert predictions(SGD(0.1), sphere, None, curved, 0.1)["noise_floor"] is not None
    decaying = SGD(0.1, weight_decay=0.2)
    assert predictions(decaying, sphere, None, curved, 0.1)["noise_floor"] is None


# what the place is


def softplus_and_bowl(point: Any) -> Any:
    x, y = point
    return torch.nn.functional.softplus(-x) + 0.5 * (y - 1) ** 2


def neuron(point: Any) -> Any:
    x, y = point
    return (x.tanh() - 0.5) ** 2 + (y - 1) ** 2


def slope(point: Any) -> Any:
    x, y = point
    return 1e-9 * x + y**2


def rough(point: Any) -> Any:
    x, y = point
    return x**2 + y.abs() ** 1.5


def strict_minimum(point: Any) -> Any:
    x, y = point
    return x**4 - 100 * x**6 + y**2


def flat_bottom(point: Any) -> Any:
    x, y = point
    return x**16 + y**16


@pytest.mark.parametrize(
    ("function", "start", "lr", "words"),
    [
        (softplus_and_bowl, (30.0, 0.0), 0.5, {"plateau", "budget"}),
        (neuron, (16.0, 0.0), 0.1, {"plateau", "budget"}),
        (slope, (0.0, 1.0), 0.1, {"plateau", "budget"}),
        (rough, (1.0, 0.0), 0.1, {"converged"}),
        (strict_minimum, (0.0, 0.0), 0.1, {"converged"}),
        (flat_bottom, (0.5, 0.3), 1e-3, {"converged", "budget"}),
    ],
)
def test_what_a_place_is(
    function: Callable[..., Any], start: tuple[float, ...], lr: float, words: set[str]
) -> None:
    surface = from_function(function)(domain=((-40.0, 40.0),) * 2)
    if function is strict_minimum:
        surface = from_function(function)()
    assert word_of(surface, start, SGD(lr), steps=2000) in words


def test_a_deep_well_elsewhere_makes_no_plateau_of_a_bowl() -> None:
    def bowl(point: Any) -> Any:
        x, y = point
        return x**2 + y**2 - 1e6 * (-1e6 * ((x - 3) ** 2 + (y - 3) ** 2)).exp()

    class Deep(from_function(bowl)):  # type: ignore[misc]
        minimum = -1e6

    assert word_of(Deep(), (1.0, 0.5), SGD(0.1), steps=500) == "converged"


# what else was in the way


def test_facts_that_one_run_has_are_its_own() -> None:
    # Of two bowls of which one is wide there are not two minima: the least value is not known.
    width = torch.tensor([0.4, 10.0], dtype=torch.float64)
    for compile in ("never", "always"):
        how: Any = {"steps": 2000, "compile": compile, "record": "metrics"}
        together = optimize(get("two_bowls", left_width=width), (-0.5, 1.5), SGD(0.1), **how)
        for run, one in enumerate(width.tolist()):
            alone = optimize(get("two_bowls", left_width=one), (-0.5, 1.5), SGD(0.1), **how)
            for name in ("steps", "end", "final_loss", "final_point", "path_length", "may_recur"):
                mine, its = getattr(together, name)[..., run], getattr(alone, name)[..., 0]
                assert torch.equal(mine, its), name


def test_own_surfaces_of_matrices_are_measured_like_others() -> None:
    matrix = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)

    def form(point: Any) -> Any:
        x = torch.stack(tuple(point))
        return 0.5 * (x * (matrix @ x)).sum(0)

    assert word_of(from_function(form)(), (1.0, 1.0), SGD(0.1), steps=1000) == "converged"


def test_a_domain_has_a_finite_diameter() -> None:
    with pytest.raises(UserError, match="finite diameter"):
        from_function(rough)(domain=((-1e308, 1e308),) * 2)


def test_outcomes_are_told_of_limits_of_each_run() -> None:
    stop = Stop(divergence=torch.tensor([10.0, 1e3], dtype=torch.float64))
    trace = optimize(get("sphere"), (4.0, -3.0), SGD(1.5), steps=100, stop=stop)
    for run, limit in enumerate((10, 1000)):
        assert f"is beyond {limit:g}" in judge(get("sphere"), stop, trace, run).because
