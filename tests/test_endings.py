"""How runs end, where mathematics knows: the same word at the same step whatever was recorded,
whoever else was there, and whichever engine ran it.

Costs 30 s, half of it programs that are compiled.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from gradexp import optimize
from gradexp.analysis import Outcome, judge
from gradexp.analysis.theory import escape_radius, escape_steps
from gradexp.engine import Reference, Stop, Trace
from gradexp.noises import Gaussian
from gradexp.numbers import select
from gradexp.optimizers import SGD, Adam, Lion, Optimizer
from gradexp.surfaces import Surface, from_function, get, names

SLOW = pytest.mark.slow
CHAOTIC = {"levy": 1, "shubert": 1}
"""Runs that come to another place in the other precision: their way there is chaotic."""

WAYS: dict[str, dict[str, Any]] = {
    "eager": {"compile": "never"},
    "eager, losses": {"compile": "never", "record": "loss"},
    "eager, metrics": {"compile": "never", "record": "metrics"},
    "compiled": {"compile": "always"},
    "compiled, losses": {"compile": "always", "record": "loss"},
    "compiled, metrics": {"compile": "always", "record": "metrics"},
    "reference": {"engine": Reference()},
    "reference, metrics": {"engine": Reference(), "record": "metrics"},
}


def endings(
    surface: Surface,
    start: tuple[float, ...],
    optimizer: Optimizer,
    steps: int,
    ways: dict[str, dict[str, Any]] = WAYS,
    **more: Any,
) -> dict[str, tuple[Outcome, int]]:
    """The outcome of a run, and its steps, in every way."""
    found = {}
    for way, how in ways.items():
        trace = optimize(surface, start, optimizer, steps=steps, **how, **more)
        outcome = judge(surface, more.get("stop", Stop()), trace)
        found[way] = outcome, int(trace.steps[0])
    return found


def the_ending(*given: Any, **more: Any) -> tuple[Outcome, int]:
    """The outcome of a run and its steps, which are the same in every way."""
    found = endings(*given, **more)
    words = {way: (outcome.word, steps) for way, (outcome, steps) in found.items()}
    assert len(set(words.values())) == 1, words
    return next(iter(found.values()))


# at rest


def test_a_run_with_momentum_does_not_rest_where_it_only_passes() -> None:
    # x → x - ½ v with v = 2 x is at 0 after one step, where torch's run goes on as well.
    outcome, steps = the_ending(get("sphere"), (4.0, -3.0), SGD(0.5, 0.9), 500)
    x = torch.tensor([4.0, -3.0], dtype=torch.float64, requires_grad=True)
    rule = torch.optim.SGD([x], lr=0.5, momentum=0.9)
    for step in range(steps):
        x.grad = 2 * x.detach()
        rule.step()
        assert step > 0 or x.tolist() == [0.0, 0.0]
    assert outcome.word == "converged"
    assert steps > 100
    trace = optimize(get("sphere"), (4.0, -3.0), SGD(0.5, 0.9), steps=500)
    assert torch.allclose(trace.final_point[:, 0], x.detach(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("rule", [SGD(0.5, 0.9), SGD(0.1), Adam(0.1), Lion(0.1)], ids=str)
def test_a_run_that_starts_at_a_minimizer_makes_no_step(rule: Optimizer) -> None:
    ways = {name: how for name, how in WAYS.items() if how.get("compile") != "always"}
    outcome, steps = the_ending(get("sphere"), (0.0, 0.0), rule, 100, ways)
    assert (outcome.word, steps) == ("converged", 0)


def test_a_rule_that_jumps_away_from_a_minimizer_does_not_rest_beside_it() -> None:
    # Adam's first step is lr g / (|g| + 1e-8), a tenth of lr where the gradient is 2e-9.
    trace = optimize(get("sphere"), (1e-9, 0.0), Adam(0.1), steps=1000)
    assert int(trace.steps[0]) > 10
    assert float(trace.path_length[0]) > 0.01


def test_never_means_never() -> None:
    never = Stop(gradient=0.0)
    outcome, steps = the_ending(get("sphere"), (4.0, -3.0), SGD(0.25), 300, stop=never)
    assert (outcome.word, steps) == ("converged", 300)
    assert outcome.evidence["gradient_norm"] < 1e-80


def test_a_plateau_is_crossed_with_momentum() -> None:
    # Where it is flat the velocity carries on: 0.5 + 0.9 ε + 0.81 ε + ... with gradients of all but
    # zero; the run has not come to rest before its moves have vanished, too.
    trace = optimize(get("easom"), (-50.0, 50.0), SGD(1.0, 0.99), steps=10)
    assert judge(get("easom"), Stop(), trace).word == "plateau"

    def cliff(point: Tensor) -> Tensor:  # a slope, then flat land
        x, y = point
        value: Tensor = torch.nn.functional.softplus(20 * x) / 20 + 0.5 * y.square()
        return value

    surface = from_function(cliff)(start=(0.5, 0.0), domain=((-5.0, 5.0), (-5.0, 5.0)))
    trace = optimize(surface, (0.5, 0.0), SGD(0.5, 0.9), steps=500)
    crossed = optimize(surface, (0.5, 0.0), SGD(0.5), steps=500)
    assert float(trace.final_point[0, 0]) < float(crossed.final_point[0, 0]) - 1
    assert float(trace.path_length[0]) == pytest.approx(0.5 - float(trace.final_point[0, 0]))


# saddles


@pytest.mark.parametrize("distance", [1e-9, 1e-12, 1e-30])
@pytest.mark.parametrize("side", [0.0, 1.0], ids=["on the way out", "beside it"])
def test_a_strict_saddle_is_left_as_theory_says(distance: float, side: float) -> None:
    surface, rule = get("strict"), SGD(0.1)
    start = (side * distance, distance)
    ways = WAYS if distance == 1e-12 else {way: WAYS[way] for way in ("eager", "compiled, metrics")}
    outcome, _ = the_ending(surface, start, rule, 900, ways)
    assert outcome.word == "converged"
    trace = optimize(surface, start, rule, steps=900, compile="never")
    assert trace.point is not None
    (saddle,) = [one for one in surface.stationary_points if one.kind == "saddle"]
    known = escape_steps(rule, surface, saddle, torch.tensor(start, dtype=torch.float64))
    away = trace.point[:, :, 0].norm(dim=1) > escape_radius(surface)
    assert known is not None
    assert known == pytest.approx(math.log(escape_radius(surface) / distance) / math.log(1.1))
    assert int(away.nonzero()[0, 0]) == pytest.approx(known, abs=1.5)


def test_a_saddle_is_left_even_after_a_long_way_along_its_stable_manifold() -> None:
    outcome, steps = the_ending(get("strict"), (1.5, 1e-30), SGD(0.1), 900)
    assert outcome.word == "converged"
    assert steps > 700


@pytest.mark.slow  # 3 s
def test_what_has_not_left_a_saddle_in_time_is_not_said_to_rest_there() -> None:
    outcome, steps = the_ending(get("strict"), (1.5, 1e-30), SGD(0.1), 500)
    assert (outcome.word, steps) == ("budget", 500)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_on_its_stable_manifold_a_run_ends_at_the_saddle(momentum: float) -> None:
    outcome, steps = the_ending(get("strict"), (1.5, 0.0), SGD(0.1, momentum), 500)
    assert outcome.word == "saddle"
    assert steps < 250


@pytest.mark.slow  # 3 s
def test_of_a_batch_each_run_leaves_at_its_own_time() -> None:
    surface = get("strict")
    distance = torch.logspace(-15, -1, 40, dtype=torch.float64)
    start = torch.stack([torch.linspace(0, 1, 40, dtype=torch.float64), distance])
    start[1, ::7] = 0.0
    for how in WAYS.values():
        together = optimize(surface, start, SGD(0.1), steps=1000, **how)
        for run in (0, 1, 20, 39):
            alone = optimize(surface, start[:, run], SGD(0.1), steps=1000, **how)
            assert_same_run(together, run, alone)


def assert_same_run(together: Trace, run: int, alone: Trace) -> None:
    for one, other in zip(together.run(run), alone.run(0), strict=True):
        assert (one is None) == (other is None)
        assert one is None or other is None or torch.equal(one, other)
    for name in ("steps", "end", "best_loss", "best_step", "path_length", "reversals"):
        assert torch.equal(getattr(together, name)[run], getattr(alone, name)[0]), name


# cycles


def test_a_two_cycle_is_one_whatever_was_recorded() -> None:
    outcome, _ = the_ending(get("sphere"), (4.0, -3.0), SGD(1.0), 99)
    assert outcome.word == "cycling"
    assert outcome.evidence["cycle"] == {"period": 2, "points": [[4.0, -3.0], [-4.0, 3.0]]}


@pytest.mark.parametrize("apart", [2e-7, -2e-7])
def test_orbits_that_shrink_or_grow_slowly_are_no_cycles(apart: float) -> None:
    outcome, _ = the_ending(get("sphere"), (4.0, -3.0), SGD(1.0 + apart / 2), 400)
    assert outcome.word == "budget"


def test_an_attracting_cycle_is_one_before_it_is_reached_to_the_last_bit() -> None:
    # Half-way it is a hundredth of its size away, at the end 1e-7.
    surface, run = get("rosenbrock"), (get("rosenbrock"), (-1.2, 1.0), SGD(3e-3))
    trace = optimize(*run, steps=5000, record="metrics", compile="never")
    assert judge(surface, Stop(), trace).evidence["cycle"]["period"] == 2
    trace = optimize(*run, steps=2000, record="metrics", compile="never")
    assert judge(surface, Stop(), trace).word == "budget"


def cubic(point: Tensor, r: float | Tensor = 3.2) -> Tensor:
    """Gradient descent with a step of 1 is the logistic map x → r x (1 - x) in either coordinate:
    f' = x - r x (1 - x)."""
    x, y = point
    value: Tensor = (1 - r) * (x**2 + y**2) / 2 + r * (x**3 + y**3) / 3
    return value


def logistic(r: float, start: float, steps: int) -> list[float]:
    """The orbit of the logistic map."""
    orbit = [start]
    for _ in range(steps):
        orbit.append(r * orbit[-1] * (1 - orbit[-1]))
    return orbit


PERIODS = {
    3.2: 2, 3.4: 2, 3.5: 4, 3.55: 8, 3.566: 16, 3.83: 3, 3.845: 6, 3.739: 5, 3.7017: 7, 3.9057: 5,
    # the edge of chaos, chaos, and 3.828, just below the window of period 3: nearly periodic for
    # long, then not (intermittency of type I)
    3.569945672: 0, 3.6: 0, 3.7: 0, 3.828: 0, 3.9: 0, 3.999999: 0,
}  # fmt: skip
"""The periods of the logistic map's orbits, 0 of those without: Strogatz, "Nonlinear dynamics and
chaos", ch. 10."""


def test_the_periods_of_the_logistic_map() -> None:
    make: Any = from_function(cubic)
    r = torch.tensor(list(PERIODS), dtype=torch.float64)
    surface = make(r=r, domain=((0.0, 1.0), (0.0, 1.0)))
    start, steps = (0.3, 0.3), 6000
    trace = optimize(surface, start, SGD(1.0), steps=steps, record="metrics", compile="never")
    for run, (rate, period) in enumerate(PERIODS.items()):
        outcome = judge(select(surface, run), Stop(), trace, run)
        assert outcome.word == ("cycling" if period else "budget"), rate
        if period:
            assert outcome.evidence["cycle"]["period"] == period, rate
            known = logistic(rate, 0.3, steps)[-period:]
            assert len({round(x, 6) for x in known}) == period
            points = [x for x, _ in outcome.evidence["cycle"]["points"]]
            assert points == pytest.approx(known, abs=1e-6)


def test_cycles_of_lion_are_not_left_again() -> None:
    # Its moves have one size, so that positions soon seem to repeat; what it remembers does not.
    lr = torch.linspace(0.01, 1.0, 257, dtype=torch.float64)
    run = get("sphere"), (4.0, -3.0), Lion(lr)
    trace = optimize(*run, steps=4000, record="metrics", compile="always")
    longer = optimize(*run, steps=8000, compile="always")
    assert longer.point is not None
    assert trace.recurrence is not None
    found = (trace.recurrence.period > 1).nonzero()[:, 0].tolist()
    assert 5 < len(found) < 50
    for index in found:
        period = int(trace.recurrence.period[index])
        way = longer.point[2000:, :, index]
        assert float((way[period:] - way[:-period]).abs().max()) < 1e-5, lr[index]


# noise


def test_noise_at_a_saddle_drives_a_run_away() -> None:
    noise = Gaussian(std=0.1)
    outcome, steps = the_ending(get("strict"), (1e-9, 1e-9), SGD(0.1), 600, noise=noise)
    assert (outcome.word, steps) == ("noise_floor", 600)
    x, y = outcome.evidence["noise_floor"]["minimizer"]
    assert (x, abs(y)) == pytest.approx((0.0, 1.0), abs=1e-6)


@pytest.mark.slow  # 4 s
def test_noise_of_size_zero_is_none() -> None:
    silent, (without, steps) = (
        Gaussian(std=0.0),
        the_ending(get("sphere"), (4.0, -3.0), SGD(0.1), 500),
    )
    outcome, made = the_ending(get("sphere"), (4.0, -3.0), SGD(0.1), 500, noise=silent)
    assert (outcome.word, made) == (without.word, steps) == ("converged", made)


def test_noise_that_vanishes_at_the_minimum_lets_a_run_converge() -> None:
    noise = Gaussian(std=0.0, relative=0.5)
    ways = {name: how for name, how in WAYS.items() if how.get("compile") != "always"}
    outcome, _ = the_ending(get("sphere"), (4.0, -3.0), SGD(0.1), 500, ways, noise=noise)
    assert outcome.word == "converged"


@pytest.mark.slow  # 3 s each
@pytest.mark.parametrize("compile", ["never", "always"])
def test_a_run_without_noise_is_the_same_among_runs_with_some(compile: Any) -> None:
    std = torch.tensor([0.0, 0.1], dtype=torch.float64)
    run = get("rosenbrock"), (-1.2, 1.0), SGD(2e-3)  # it cycles, as if it fluctuated
    more = {"steps": 1000, "record": "metrics", "compile": compile}
    together = optimize(*run, noise=Gaussian(std=std), **more)
    for index in range(2):
        alone = optimize(*run, noise=Gaussian(std=std[index : index + 1]), **more)
        assert_same_run(together, index, alone)
    assert judge(get("rosenbrock"), Stop(), together, 0).word == "budget"


def test_however_small_its_steps_a_run_with_noise_does_not_rest() -> None:
    trace = optimize(get("sphere"), (0.0, 0.0), SGD(1e-12), steps=500, noise=Gaussian(std=0.1))
    assert int(trace.steps[0]) == 500


def test_a_run_that_comes_down_still_is_not_at_its_noise_floor() -> None:
    noise = Gaussian(std=0.1, seed=torch.arange(20))
    surface = get("quadratic", condition_number=10.0)
    trace = optimize(
        surface, (5.0, 5.0), SGD(1e-3), steps=1000, noise=noise, record="metrics", compile="never"
    )
    assert {judge(surface, Stop(), trace, run).word for run in range(20)} == {"budget"}


@pytest.mark.parametrize(("lr", "momentum"), [(0.1, 0.0), (0.02, 0.9)])
def test_the_noise_floor_is_that_of_the_lyapunov_equation(lr: float, momentum: float) -> None:
    from gradexp.analysis.theory import noise_floor

    surface = get("quadratic", condition_number=10.0)
    rule, noise = SGD(lr, momentum), Gaussian(std=0.1, seed=torch.arange(64))
    trace = optimize(
        surface, (1.0, 1.0), rule, steps=2000, noise=noise, record="metrics", compile="never"
    )
    floors = [judge(surface, Stop(), trace, run) for run in range(64)]
    there = [one for one in floors if one.word == "noise_floor"]
    assert len(there) >= 60  # one of a hundred is said to have a trend
    gaps = torch.tensor([one.evidence["noise_floor"]["median_gap"] for one in there])
    known = noise_floor(rule, [1.0, 10.0], 0.1)
    assert float(gaps.median()) == pytest.approx(known, rel=0.1)


# scale


def scaled(point: Tensor, c: float = 1.0, a: float = 1.0) -> Tensor:
    """The double well c ((u² - 1)² / 4 + v²), u = x / a, with a saddle between two minima."""
    u, v = (x / a for x in point)
    value: Tensor = c * ((u**2 - 1) ** 2 / 4 + v**2)
    return value


STARTS = {
    "converged": ((0.3, 1.0), 0.1, 500),
    "saddle": ((0.0, 1.0), 0.1, 500),
    "budget": ((0.3, 1.0), 1e-4, 100),
    "cycling": ((0.5, 0.0), 1.1, 400),
    "diverged": ((3.0, 1.0), 1.1, 500),
}


@pytest.mark.parametrize("exactly", [True, False], ids=["powers of two", "powers of ten"])
@pytest.mark.parametrize("word", STARTS)
def test_scale_changes_neither_word_nor_step(word: str, exactly: bool) -> None:
    (u, v), lr, steps = STARTS[word]
    base, each = (2.0, (-30, -7, 0, 30)) if exactly else (10.0, (-9, -2, 0, 9))
    make: Any = from_function(scaled)
    c = torch.tensor([base**n for n in each for _ in range(2)], dtype=torch.float64)
    momentum = torch.tensor([0.0, 0.5] * len(each), dtype=torch.float64)
    found = set()
    for a in (base**n for n in each):
        surface = make(c=c, a=a, domain=((-3 * a, 3 * a),) * 2, start=(0.3 * a, a))
        rule = SGD(lr * a**2 / c, momentum)
        trace = optimize(
            surface, (u * a, v * a), rule, steps=steps, record="metrics", compile="never"
        )
        for run in range(len(c)):
            outcome = judge(select(surface, run), Stop(), trace, run)
            if outcome.word != word:  # with momentum it does not cycle
                assert (word, run % 2) == ("cycling", 1)
            found.add((run % 2, outcome.word, int(trace.steps[run])))
    made: dict[int, list[int]] = {0: [], 1: []}
    for kind, _, number in found:
        made[kind].append(number)
    assert all(max(numbers) - min(numbers) <= (0 if exactly else 1) for numbers in made.values())


def test_surfaces_of_a_batch_have_each_their_own_scale() -> None:
    make: Any = from_function(scaled)
    c = torch.logspace(-9, 9, 37, dtype=torch.float64)
    domain = ((-3.0, 3.0),) * 2
    surface = make(c=c, domain=domain, start=(0.3, 1.0))
    rates = 0.1 / c
    together = optimize(surface, (0.3, 1.0), SGD(rates), steps=500, compile="never")
    assert int(together.steps.max()) - int(together.steps.min()) <= 1
    for run in (0, 18, 36):
        one = select(surface, run)
        rule = SGD(float(rates[run]))
        alone = optimize(one, (0.3, 1.0), rule, steps=500, compile="never")
        assert_same_run(together, run, alone)


def test_limits_that_are_set_are_absolute() -> None:
    surface, rule = get("rosenbrock"), SGD(1e-3, 0.9)
    for limit in (1e-2, 1e-5):
        trace = optimize(surface, (-1.2, 1.0), rule, steps=9000, stop=Stop(gradient=limit))
        assert trace.gradient_norm is not None
        norms = trace.gradient_norm[:, 0]
        assert float(norms[-1]) <= limit
        assert float(norms[:-3].min()) > limit / 2
    trace = optimize(surface, (-1.2, 1.0), SGD(0.1), steps=100, stop=Stop(divergence=1e6))
    assert trace.loss is not None
    assert float(trace.loss[-1, 0]) > 1e6 >= float(trace.loss[-2, 0])


@pytest.mark.parametrize("compile", ["never", "always"])
def test_who_starts_outside_does_not_change_when_another_has_diverged(compile: Any) -> None:
    # The loss at (-4.9, 5) is above those that the limit of a start inside is measured by.
    starts = torch.tensor([[-4.9, 5.0], [1e9, 1e9]], dtype=torch.float64).T
    rule = SGD(torch.tensor([1.05, 1.01], dtype=torch.float64))
    together = optimize(get("sphere"), starts, rule, steps=200, compile=compile)
    for run, lr in enumerate((1.05, 1.01)):
        alone = optimize(get("sphere"), starts[:, run], SGD(lr), steps=200, compile=compile)
        assert_same_run(together, run, alone)


def test_a_start_far_outside_has_not_diverged() -> None:
    start = (1e9, 1e9)
    trace = optimize(get("sphere"), start, SGD(0.25), steps=200)
    assert judge(get("sphere"), Stop(), trace).word == "converged"
    trace = optimize(get("sphere"), start, SGD(2.0), steps=200)
    assert judge(get("sphere"), Stop(), trace).word == "diverged"


NOWHERE = {"hyperbolic", "monkey", "shubert", "sum_of_powers"}
"""Without a minimum, or with one that no such run comes to so soon."""
LONGER = {"rosenbrock": 1.0, "goldstein_price": 0.01, "freudenstein_roth": 1.0}
"""How much smaller the learning rates are, where three times as many steps are wanted."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ("ackley", "himmelblau") else SLOW)
        for name in names()
        if name not in NOWHERE
    ],
)
def test_single_precision_arrives_where_double_does(name: str) -> None:
    surface = get(name)
    lr = torch.logspace(-4, -1, 8, dtype=torch.float64).repeat(2) * LONGER.get(name, 1.0)
    momentum = torch.tensor([0.0, 0.9], dtype=torch.float64).repeat_interleave(8)
    steps = 6000 if name in LONGER else 2000
    words = {}
    for dtype in ("float64", "float32"):
        rule = SGD(lr, momentum)
        trace = optimize(
            surface, surface.start, rule, steps=steps, dtype=dtype, record="metrics",
            compile="never",
        )  # fmt: skip
        words[dtype] = [judge(surface, Stop(), trace, run).word for run in range(16)]
        if dtype == "float64":
            early = (trace.steps < 0.4 * steps).tolist()
    assert any(
        one == "converged" and soon for one, soon in zip(words["float64"], early, strict=True)
    )
    apart = [
        (one, other)
        for one, other, soon in zip(*words.values(), early, strict=True)
        if one == "converged" and soon and other != "converged"
    ]
    assert len(apart) <= CHAOTIC.get(name, 0), apart
