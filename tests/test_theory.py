"""What theory says, against closed forms, and against runs."""

import math

import numpy as np
import pytest
import torch

from gradexp import optimize
from gradexp.analysis import metrics
from gradexp.analysis.run_metrics import fit_rate
from gradexp.analysis.theory import (
    escape_steps,
    iteration_matrix,
    predictions,
    rate,
    saddle_left,
    stability_edge,
)
from gradexp.engine import End
from gradexp.numbers import columns
from gradexp.optimizers import SGD
from gradexp.optimizers.optimizer import Optimizer
from gradexp.surfaces import get

SETTINGS = [(0.1, 0.0), (0.05, 0.5), (0.3, 0.9), (1e-3, 0.99)]


@pytest.mark.parametrize(("lr", "momentum"), SETTINGS)
def test_the_matrix_of_heavy_ball(lr: float, momentum: float) -> None:
    curvatures = [0.5, 3.0, -1.0]
    found = iteration_matrix(SGD(lr, momentum), torch.tensor(curvatures, dtype=torch.float64))
    for matrix, curvature in zip(found.numpy(), curvatures, strict=True):
        if momentum:
            known = np.array([[1 - lr * curvature, -lr * momentum], [curvature, momentum]])
            assert matrix == pytest.approx(known, abs=1e-15)
        assert max(abs(np.linalg.eigvals(matrix))) == pytest.approx(
            textbook_radius(lr, momentum, curvature), rel=1e-7
        )


def textbook_radius(lr: float, momentum: float, curvature: float) -> float:
    """Of heavy ball: the larger root of z² - (1 + β - αλ) z + β."""
    return float(max(abs(np.roots([1, -(1 + momentum - lr * curvature), momentum]))))


@pytest.mark.parametrize("condition", [10.0, 1e4])
def test_the_best_heavy_ball_has_the_rate_of_polyak(condition: float) -> None:
    low, high = 1.0, condition
    lr = (2 / (math.sqrt(low) + math.sqrt(high))) ** 2
    root = (math.sqrt(condition) - 1) / (math.sqrt(condition) + 1)
    # Both ends of the spectrum are double roots there, of which rounding makes its square root.
    assert rate(SGD(lr, root**2), [low, high]) == pytest.approx(root, abs=1e-7)
    for other in (SGD(lr * 0.9, root**2), SGD(lr, root**2 * 0.95), SGD(lr, root)):
        found = rate(other, [low, high])
        assert found is not None
        assert found > root


def test_directions_along_a_valley_floor_do_not_count() -> None:
    assert rate(SGD(0.1), [0.0, 2.0]) == pytest.approx(0.8)
    assert rate(SGD(0.1), [0.0, 0.0]) is None


def test_a_rule_that_is_not_linear_has_no_theory() -> None:
    class Bent(SGD):
        linear = False

    surface, start = get("strict"), torch.tensor([0.0, 1e-3], dtype=torch.float64)
    assert set(predictions(Bent(0.1), surface, start, [1.0, 2.0]).values()) == {None}
    assert Optimizer.linear is False


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.1, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_the_edge_of_stability(momentum: float, nesterov: bool, decay: float) -> None:
    curvature = 7.0
    rule = SGD(lr=123.0, momentum=momentum, nesterov=nesterov, weight_decay=decay)
    known = 2 * (1 + momentum) / (curvature + decay) / (1 + 2 * momentum if nesterov else 1)
    assert stability_edge(rule, curvature) == pytest.approx(known, rel=1e-12)


def test_there_is_no_edge_uphill_or_where_nothing_is_curved() -> None:
    assert stability_edge(SGD(0.1, maximize=True), 1.0) is None
    assert stability_edge(SGD(0.1), 0.0) is None


@pytest.mark.parametrize("nesterov", [False, True])
def test_runs_are_lost_above_the_edge_and_settle_below(nesterov: bool) -> None:
    surface = get("quadratic", condition_number=10.0)
    rule = SGD(lr=1.0, momentum=0.9, nesterov=nesterov)
    edge = stability_edge(rule, 10.0)
    assert edge is not None
    rates = torch.tensor([0.95, 1.05], dtype=torch.float64) * edge
    rule = SGD(rates, momentum=0.9, nesterov=nesterov)
    trace = optimize(surface, (1.0, 1.0), rule, steps=3000, record="metrics")
    assert trace.end.tolist() == [End.STATIONARY, End.DIVERGED]


@pytest.mark.parametrize(
    ("lr", "momentum", "nesterov"),
    [
        (0.01, 0.0, False),
        (0.15, 0.0, False),
        (0.05, 0.9, False),
        (0.05, 0.9, True),
        (0.2, 0.5, False),
    ],
)
def test_a_run_contracts_as_predicted(lr: float, momentum: float, nesterov: bool) -> None:
    surface, rule = get("quadratic", condition_number=10.0), SGD(lr, momentum, nesterov=nesterov)
    trace = optimize(surface, (1.0, 1.0), rule, steps=10_000)
    fitted = metrics(surface, trace, 0, ())["rate"]
    predicted = rate(rule, [1.0, 10.0])
    assert predicted is not None
    # Rotating directions make the fit wave about the line.
    assert math.log(fitted) == pytest.approx(math.log(predicted), rel=0.03)


def test_a_rate_is_fitted_to_the_second_half() -> None:
    step = np.arange(201)
    norms = np.where(step < 100, 1.0, 0.9 ** (step - 100.0))
    fit = fit_rate(step, norms)
    assert fit is not None
    assert fit.rate == pytest.approx(0.9)
    assert fit.first_step == 100
    assert fit.r2 == pytest.approx(1.0)
    waves = 2 * np.sin(step)
    waving = fit_rate(step, norms * np.exp(waves))
    assert waving is not None
    known = np.corrcoef(step[100:], (np.log(norms) + waves)[100:])[0, 1] ** 2
    assert waving.r2 == pytest.approx(known)
    slower = fit_rate(step * 7, norms)
    assert slower is not None
    assert slower.rate == pytest.approx(0.9 ** (1 / 7))
    assert fit_rate(np.arange(8), np.ones(8)) is None


@pytest.mark.parametrize("name", ["hyperbolic", "strict"])
@pytest.mark.parametrize(
    ("lr", "momentum", "nesterov"),
    [(0.1, 0.0, False), (0.05, 0.5, False), (0.01, 0.9, False), (0.01, 0.9, True)],
)
def test_a_saddle_is_left_when_predicted(
    name: str, lr: float, momentum: float, nesterov: bool
) -> None:
    surface, rule = get(name), SGD(lr, momentum, nesterov=nesterov)
    for distance in (1e-3, 1e-7):
        start = torch.tensor([0.0, distance], dtype=torch.float64)
        saddle = saddle_left(surface, start)
        assert saddle is not None
        predicted = escape_steps(rule, surface, saddle, start)
        trace = optimize(surface, (0.0, distance), rule, steps=5000)
        measured = metrics(surface, trace, 0, ())["escape_steps"]
        assert predicted is not None
        # The first whole step, and a few of a hundred for the quartic that bends the way out.
        assert predicted <= measured + 0.5
        assert measured <= math.ceil(predicted * 1.02) + 1


def test_several_ways_down_are_taken_together() -> None:
    # At a maximum with two equal curvatures the direction makes no difference.
    surface, rule = get("styblinski_tang"), SGD(1e-3)
    (maximum,) = (s for s in surface.stationary_points if s.kind == "maximum")
    for angle in (0.0, 0.25 * math.pi, 0.3 * math.pi, 0.5 * math.pi):
        offset = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
        start = torch.tensor(maximum.point, dtype=torch.float64) + 1e-3 * offset
        assert saddle_left(surface, start) == maximum
        predicted = escape_steps(rule, surface, maximum, start)
        trace = optimize(surface, tuple(start.tolist()), rule, steps=1000)
        measured = metrics(surface, trace, 0, ())["escape_steps"]
        assert predicted == pytest.approx(measured, rel=0.02)
    # A slow way that is far along beats a fast one that is not.
    surface, rule = get("high_index", dim=2, negative=2), SGD(0.05)
    start = torch.tensor([1e-9, 0.02], dtype=torch.float64)
    saddle = saddle_left(surface, start)
    assert saddle is not None
    predicted = escape_steps(rule, surface, saddle, start)
    trace = optimize(surface, (1e-9, 0.02), rule, steps=2000)
    assert predicted == pytest.approx(metrics(surface, trace, 0, ())["escape_steps"], rel=0.06)


def test_the_nearest_saddle_is_left_and_large_ones_are_not_predicted() -> None:
    near = saddle_left(get("goldstein_price"), torch.tensor([0.72, 0.28], dtype=torch.float64))
    assert near is not None
    assert near.point == (0.8, 0.2)
    surface = get("high_index", dim=100)
    start = columns(surface.start)
    saddle = saddle_left(surface, start)
    assert saddle is not None
    assert escape_steps(SGD(0.1), surface, saddle, start) is None


def test_a_run_that_starts_far_from_saddles_or_on_one_does_not_leave_any() -> None:
    surface = get("strict")
    assert saddle_left(surface, torch.tensor([1.5, 0.5], dtype=torch.float64)) is None
    on_it = torch.tensor([0.05, 0.0], dtype=torch.float64)
    saddle = saddle_left(surface, on_it)
    assert saddle is not None
    assert escape_steps(SGD(0.1), surface, saddle, on_it) is None
    trace = optimize(surface, (0.05, 0.0), SGD(0.1), steps=500)
    assert metrics(surface, trace, 0, ())["escape_steps"] is None
