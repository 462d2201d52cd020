"""Words that would claim too much: of runs far outside, beside valleys, on their way from where
they only seem to rest, or moved by their rule and not by noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gradexp import optimize
from gradexp.analysis import Outcome, judge
from gradexp.engine import Reference, Stop, Trace
from gradexp.noises import Gaussian
from gradexp.optimizers import SGD, Adam, Lion, Optimizer
from gradexp.surfaces import Surface, from_function, get


def ended(
    surface: Surface, start: tuple[float, ...], rule: Optimizer, steps: int, **more: Any
) -> tuple[Outcome, Trace]:
    trace = optimize(surface, start, rule, steps=steps, record="metrics", compile="never", **more)
    return judge(surface, Stop(), trace), trace


def own(formula: Callable[[Any], Any]) -> Surface:
    surface: Surface = from_function(formula)(dim=2)
    return surface


def growing(point: Any) -> Any:
    x, y = point
    return x**2 - 1e-9 * y**2


def valley(point: Any) -> Any:
    x, y = point
    return y**2 + 1e-10 * x**2


def bent_valley(point: Any) -> Any:
    x, y = point
    return (y - x**2) ** 2 + 1e-9 * x**2


def hill(point: Any) -> Any:
    x, y = point
    return -((x**2 - 1) ** 2) / 4 - y**2


@pytest.mark.parametrize(
    ("start", "rule", "steps"),
    [
        ((1.0, 1.0), SGD(1.001), 5500),  # its factor is -1.002 a step: loss 1e10, and on its way
        ((1e6, 1e6), SGD(1e-7), 300),
        ((1e6, 1e6), Adam(0.1), 300),
        ((1e-30, 0.0), SGD(1.5), 50),  # doubles at every step
        ((1e-30, 0.0), SGD(0.1, maximize=True), 200),
    ],
)
def test_what_runs_away_or_has_far_to_go_rests_nowhere(
    start: tuple[float, float], rule: Optimizer, steps: int
) -> None:
    assert ended(get("sphere"), start, rule, steps)[0].word == "budget"


@pytest.mark.parametrize("y", [0.1, 1e-5])
def test_however_slowly_a_saddle_is_left_it_is_left(y: float) -> None:
    assert ended(own(growing), (1.0, y), SGD(0.1), 2000)[0].word == "budget"


def test_uphill_saddles_are_left_the_other_way() -> None:
    outcome, trace = ended(own(hill), (1e-30, 1.0), SGD(0.1, maximize=True), 400)
    assert (outcome.word, int(trace.steps[0])) == ("budget", 400)


@pytest.mark.parametrize(
    ("surface", "start", "rule", "steps"),
    [
        (own(valley), (1.0, 1.0), SGD(0.1), 2000),
        (own(bent_valley), (2.0, 1.0), SGD(0.02, 0.9), 5000),
        (get("quadratic", condition_number=1e10), (0.1, 3.0), SGD(5e-11), 500),
    ],
)
def test_a_minimizer_that_is_far_along_a_valley_is_not_reached(
    surface: Surface, start: tuple[float, float], rule: Optimizer, steps: int
) -> None:
    outcome, trace = ended(surface, start, rule, steps)
    assert float(trace.final_point[:, 0].norm()) > 0.09  # the minimizer is at 0
    assert outcome.word == "plateau"
    assert "from the minimum" in outcome.because


@pytest.mark.parametrize("width", [1e-3, 1e-4, 1e-5])
def test_wells_far_narrower_than_the_domain(width: float) -> None:
    def wells(point: Any) -> Any:
        x, y = point[0] / width, point[1] / width
        return (x**2 - 1) ** 2 / 4 + y**2

    rule = SGD(0.1 * width**2)
    outcome, trace = ended(own(wells), (1e-3 * width, width), rule, 2000)
    assert outcome.word == "converged"
    assert float(trace.final_point[0, 0]) == pytest.approx(width, rel=1e-3)


@pytest.mark.parametrize(("lr", "betas"), [(0.1, (0.9, 0.99)), (0.25, (0.5, 0.5))])
def test_lion_goes_round_whichever_engine_runs_it(lr: float, betas: tuple[float, float]) -> None:
    outcomes = [
        ended(get("sphere"), (4.0, -3.0), Lion(lr, betas), 800, **engine)[0]
        for engine in ({}, {"engine": Reference()})
    ]
    assert outcomes[0].word == outcomes[1].word
    assert outcomes[0].evidence["cycle"] == outcomes[1].evidence["cycle"]


def test_noise_that_moves_nothing_makes_no_noise_floor() -> None:
    silent, still = (
        ended(get("sphere"), (4.0, -3.0), Lion(0.1), 400, noise=Gaussian(std, seed=0))
        for std in (1e-8, 0.0)
    )
    assert torch.equal(silent[1].final_point, still[1].final_point)
    assert silent[0].word != "noise_floor"


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_a_gradient_whose_square_is_no_number_is_told_as_it_is(size: float) -> None:
    def bowl(point: Any) -> Any:
        x, y = point
        return size * (x**2 + y**2)

    outcome, _ = ended(own(bowl), (3.0, 4.0), SGD(1e-300), 3)
    assert outcome.evidence["gradient_norm"] == pytest.approx(10 * size)
