"""How runs are judged, on cases with a known answer."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gradexp import optimize
from gradexp.analysis import Outcome, distance_to_minimizer, judge, metrics
from gradexp.engine import End, Record, Stop
from gradexp.numbers import Number, Points
from gradexp.optimizers import SGD
from gradexp.surfaces import from_function, get

# surface, its numbers, start, learning rate, momentum, steps, outcome, a part of the sentence
CASES = [
    ("himmelblau", {}, (1.0, 1.0), 0.01, 0.9, 1000, "converged", "declared minimizer (3, 2)"),
    ("himmelblau", {}, (-4.0, -4.0), 0.01, 0.0, 1000, "converged", "minimizer (-3.779, -3.283)"),
    ("rosenbrock", {}, (-1.2, 1.0), 1e-3, 0.95, 5000, "converged", "minimizer (1, 1)"),
    ("rosenbrock", {}, (-1.2, 1.0), 1e-4, 0.0, 100, "budget", "the gradient norm is"),
    ("rosenbrock", {}, (-1.2, 1.0), 0.1, 0.0, 100, "diverged", "the loss is"),
    ("rosenbrock", {}, (-1.2, 1.0), 1e300, 0.0, 100, "diverged", "no longer finite after 1 steps"),
    # another well than the best one
    ("rastrigin", {}, (3.1, 0.1), 1e-3, 0.0, 500, "converged", "Hessian is positive definite"),
    ("three_hump_camel", {}, (2.0, -1.0), 0.05, 0.0, 500, "converged", "declared minimum (1.748"),
    # a whole curve of minimizers: the Hessian is degenerate there
    ("product", {}, (2.5, 0.5), 0.05, 0.0, 1000, "converged", "falls on no side"),
    ("sum_of_powers", {}, (0.5, 0.0), 0.1, 0.0, 500, "converged", "declared minimizer"),
    # on a saddle's stable manifold descent ends at the saddle
    ("strict", {}, (1.5, 0.0), 0.1, 0.5, 500, "saddle", "declared saddle (0, 0)"),
    ("hyperbolic", {}, (1.5, 0.0), 0.1, 0.0, 500, "saddle", "declared saddle (0, 0)"),
    ("monkey", {}, (0.0, 0.0), 0.1, 0.0, 500, "saddle", "declared saddle (0, 0)"),
    ("himmelblau", {}, (-0.2708445906673476, -0.9230385564799816), 1e-3, 0.0, 10, "saddle",
     "declared maximum"),
    # one that is not declared
    ("rastrigin", {}, (0.0, 0.5025460365546747), 1e-3, 0.0, 10, "saddle", "negative eigenvalue"),
    # below the declared minimum, outside the domain
    ("schwefel", {}, (1250.0, 421.0), 0.1, 0.0, 3000, "converged", "Hessian is positive definite"),
    # far out in the flat
    ("plateau", {}, (5.0, 5.0), 0.1, 0.9, 500, "plateau", "all but zero"),
    ("easom", {}, (-50.0, 50.0), 0.1, 0.9, 500, "plateau", "all but zero"),
    # flat as well, but steeper than a run would stop at
    ("plateau", {}, (4.2, 3.6), 0.01, 0.0, 500, "plateau", "too small to lead anywhere"),
    ("plateau", {}, (3.0, 2.0), 0.01, 0.0, 500, "budget", "after 500 steps"),
    # slow, but on a slope
    ("sphere", {}, (4.0, -3.0), 1e-12, 0.0, 500, "budget", "after 500 steps"),
    ("sphere", {}, (4.0, -3.0), 1e-20, 0.0, 50, "budget", "moved by less than 7e-15"),
    # two-cycles exactly at the edge of stability: gradient descent on x² with lr 1, on ½ x² with 2
    ("sphere", {}, (4.0, -3.0), 1.0, 0.0, 99, "cycling", "2 points after 99 steps: (4, -3), (-4"),
    ("quadratic", {"condition_number": 1.0}, (1.0, 1.0), 2.0, 0.0, 99, "cycling", "2 points"),
    # just below it: a spiral that closes
    ("sphere", {}, (4.0, -3.0), 1.0 - 1e-5, 0.0, 999, "budget", "after 999 steps"),
]  # fmt: skip


def outcome_of(
    name: str,
    numbers: dict[str, float],
    start: tuple[float, ...],
    lr: float,
    momentum: float,
    steps: int,
) -> Outcome:
    surface = get(name, **numbers)
    stop = Stop(gradient=1e-6 if name == "rastrigin" else 1e-8)
    trace = optimize(surface, start, SGD(lr, momentum), steps=steps, stop=stop)
    return judge(surface, stop, trace)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_outcomes(case: tuple[Any, ...]) -> None:
    *setting, word, because = case
    outcome = outcome_of(*setting)
    assert outcome.word == word, outcome
    assert because in outcome.because


@pytest.mark.parametrize(("lr", "period"), [(1.1, 2), (1.25, 4), (1.3, 16)])
def test_a_cycle_has_the_period_and_the_points_of_its_map(lr: float, period: int) -> None:
    # On x = 0 gradient descent on the strict saddle is the cubic map y ← (1 + lr) y - lr y³, which
    # doubles its period on its way to chaos.
    orbit = [0.7]
    while len(orbit) < 4000:
        y = orbit[-1]
        orbit.append((1 + lr) * y - lr * y**3)
    known = orbit[-period:]
    assert len({round(y, 6) for y in known}) == period
    assert orbit[-1] == pytest.approx(orbit[-1 - period], abs=1e-9)
    cycle = outcome_of("strict", {}, (0.0, 0.7), lr, 0.0, 3999).evidence["cycle"]
    assert cycle["period"] == period
    assert [y for _, y in cycle["points"]] == pytest.approx(known, abs=1e-6)


def test_chaos_is_no_cycle() -> None:
    assert outcome_of("strict", {}, (0.0, 0.7), 1.4, 0.0, 4000).word == "budget"


def test_spirals_and_runs_too_slow_to_see_are_no_cycles() -> None:
    # The second has come so far in that it is small beside the way behind it.
    for rate in (1e-30, 1.0 - 1e-6, (1 + 1e-7 ** (1 / 2000)) / 2):
        trace = optimize(get("sphere"), (4.0, -3.0), SGD(rate), steps=2000)
        assert judge(get("sphere"), Stop(), trace).word == "budget"


def test_going_round_in_the_last_place_is_rest() -> None:
    surface = get("rosenbrock")
    never = Stop(gradient=0.0)  # in float32 its gradient cannot be made as small as one would like
    trace = optimize(surface, (-1.2, 1.0), SGD(1e-3, 0.9), steps=8000, dtype="float32", stop=never)
    assert trace.point is not None
    last = trace.point[-60:, :, 0].double()
    assert 0 < float((last - last[-1]).norm(dim=1).max()) < 1e-5
    assert judge(surface, Stop(), trace).word == "converged"


def test_evidence() -> None:
    evidence = outcome_of("strict", {}, (1.5, 0.0), 0.1, 0.5, 500).evidence
    assert evidence["hessian_eigenvalues"] == pytest.approx([-1.0, 1.0])
    assert evidence["nearest"]["point"] == [0.0, 0.0]
    assert evidence["nearest"]["kind"] == "saddle"
    assert evidence["reached"] is True
    assert evidence["nearest"]["distance"] == pytest.approx(evidence["gradient_norm"])
    lost = outcome_of("rosenbrock", {}, (-1.2, 1.0), 1e300, 0.0, 100).evidence
    assert lost["reached"] is False
    assert lost["hessian_eigenvalues"] is None


def test_metrics() -> None:
    record = Record(tolerances=(1.0, 1e-30))
    surface = get("himmelblau")
    trace = optimize(surface, (1.0, 1.0), SGD(0.01, 0.9), steps=50, record=record)
    figures = metrics(surface, trace, 0, (1.0, 1e-30))
    assert trace.loss is not None
    losses = trace.loss[:, 0]
    assert figures["steps"] == 50
    assert trace.point is not None
    way = trace.point[:, :, 0]
    assert figures["displacement"] == pytest.approx(math.dist(way[0].tolist(), way[-1].tolist()))
    assert figures["displacement"] < figures["path_length"]
    assert figures["final_loss"] == figures["loss_gap"] == float(losses[-1])
    assert figures["best_loss"] == float(losses.min())
    assert figures["best_step"] == int(losses.argmin())
    assert figures["steps_to_gap"] == {"1.0": int((losses <= 1).nonzero()[0]), "1e-30": None}
    assert figures["distance"] == pytest.approx(
        min(math.dist(trace.final_point[:, 0].tolist(), m) for m in surface.minimizers)
    )
    saddle = get("hyperbolic")
    trace = optimize(saddle, (1.0, 0.1), SGD(0.01), steps=5, record=record)
    figures = metrics(saddle, trace, 0, (1.0, 1e-30))
    assert figures["distance"] is figures["loss_gap"] is None
    assert figures["steps_to_gap"] == {"1.0": None, "1e-30": None}


def test_distance_is_to_the_nearest_minimizer() -> None:
    points = torch.tensor([[3.0, 2.0], [-3.0, 3.0], [0.0, 0.0]], dtype=torch.float64)
    surface = get("himmelblau")
    distances = distance_to_minimizer(surface, points)
    assert distances is not None
    for point, distance in zip(points.tolist(), distances.tolist(), strict=True):
        assert distance == pytest.approx(min(math.dist(point, m) for m in surface.minimizers))
    assert distance_to_minimizer(get("monkey"), points) is None


@pytest.mark.parametrize(("x", "declared"), [(1.0005, True), (1.005, False)])
def test_how_near_is_at_a_declared_point(x: float, declared: bool) -> None:
    # Both lie on the curve of minimizers, of which only (1, 1) is declared.
    outcome = outcome_of("product", {}, (x, 1 / x), 0.1, 0.0, 1)
    assert outcome.word == "converged"
    assert outcome.evidence["reached"] is declared


def test_a_point_at_rest_halfway_up_a_narrow_well_is_not_at_its_bottom() -> None:
    surface = get("two_bowls", left_width=1e-4)
    stop = Stop(gradient=1e6)  # rests wherever its moves are small
    trace = optimize(surface, (-2.0001, 0.0), SGD(lr=1e-13), steps=1, stop=stop)
    outcome = judge(surface, stop, trace)
    assert outcome.evidence["nearest"]["distance"] < 1e-3
    assert outcome.evidence["reached"] is False


def valley(point: Points, curvature: Number, constant: Number) -> Tensor:
    x, y = point
    return x**2 + curvature * y**2 + constant


@pytest.mark.parametrize(
    ("curvature", "word"),
    [(1e-3, "converged"), (1e-9, "converged"), (-1e-9, "saddle"), (-1e-3, "saddle")],
)
def test_the_least_curvature_decides(curvature: float, word: str) -> None:
    assert at_rest(valley, (0.0, 0.0), curvature=curvature, constant=0.0).word == word


def test_downhill_by_less_than_the_loss_can_show_is_no_minimum() -> None:
    # Beside a constant of 1e8 the loss falls by less than its last place.
    outcome = at_rest(valley, (0.0, 0.0), curvature=-1e-9, constant=1e8)
    assert outcome.word == "plateau"
    assert at_rest(valley, (0.0, 0.0), curvature=1e-9, constant=1e8).word == "converged"


def at_rest(function: Any, start: tuple[float, ...], **numbers: float) -> Outcome:
    """What is said of a run that rests where it starts."""
    surface, stop = from_function(function).from_settings(numbers), Stop(gradient=1e-7)
    trace = optimize(surface, start, SGD(lr=0.1), steps=1, stop=stop)
    assert int(trace.end[0]) == End.STATIONARY
    return judge(surface, stop, trace)


# Own surfaces, where nothing is declared; a point where the gradient is all but zero; what it is.
KINDS: dict[str, tuple[Callable[[Any, Any], Any], tuple[float, ...], str]] = {
    "an inflection": (lambda x, y: x**3 + y**2, (5e-5, 0.0), "saddle"),
    "an inflection, from below": (lambda x, y: x**3 + y**2, (-5e-5, 1e-9), "saddle"),
    "one of the fifth order": (lambda x, y: x**5 + y**2, (2e-3, 0.0), "saddle"),
    "a monkey saddle": (lambda x, y: x**3 - 3 * x * y**2, (1e-5, -1e-5), "saddle"),
    "a minimum of the fourth order": (lambda x, y: x**4 + y**4, (1e-3, 2e-3), "converged"),
    "one of the eighth": (lambda x, y: (x**2 + y**2) ** 4 + 3, (0.05, 0.03), "converged"),
    "a minimum that is a maximum across": (lambda x, y: x**4 - y**4, (1e-3, 1e-3), "saddle"),
    "a straight valley": (lambda x, y: (x**2 - 1) ** 2 + 0 * y, (1.0, 3.0), "converged"),
    "the ridge between two": (lambda x, y: (x**2 - 1) ** 2 + 0 * y, (1e-9, 3.0), "saddle"),
    "a curved valley": (lambda x, y: (x * y - 1) ** 2, (2.0, 0.5), "converged"),
    "a round valley": (lambda x, y: (x**2 + y**2 - 4) ** 2, (1.2, 1.6), "converged"),
    "the top within it": (lambda x, y: (x**2 + y**2 - 4) ** 2, (0.0, 1e-9), "saddle"),
    # along every straight line through 0 the loss has a minimum there: Peano's
    "downhill along a parabola": (
        lambda x, y: (y - x**2) * (y - 3 * x**2), (1e-4, 1e-9), "saddle"),
    "far from a well": (lambda x, y: -torch.expm1(-(x**2 + y**2) / 2), (30.0, 20.0), "plateau"),
    "not so far": (lambda x, y: -torch.expm1(-(x**2 + y**2) / 2), (6.0, 4.0), "plateau"),
    "a constant": (lambda x, y: 0 * x + 0 * y + 3, (1.0, 1.0), "plateau"),
    # cross-entropy of data that a line separates falls for ever
    "separable": (
        lambda x, y: torch.exp(-x).log1p() + torch.exp(-2 * x).log1p() + y**2,
        (19.0, 0.0), "plateau"),
    "a kink": (lambda x, y: x.abs() + 2 * y.abs(), (0.0, 0.0), "converged"),
    "a kink downhill": (lambda x, y: y.abs() - x.abs(), (0.0, 0.0), "saddle"),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("loss", [1.0, 1e-9, 1e9], ids="loss x {:g}".format)
@pytest.mark.parametrize("length", [1.0, 1e-9, 1e9], ids="length x {:g}".format)
def test_kinds_of_rest(name: str, loss: float, length: float) -> None:
    formula, point, word = KINDS[name]

    def scaled(at: Points) -> Tensor:
        x, y = at
        value: Tensor = loss * formula(x / length, y / length)
        return value

    domain = ((-5 * length, 5 * length),) * 2
    surface = from_function(scaled).from_settings({"domain": domain})
    stop = Stop(gradient=1e-6 * loss / length)
    start = tuple(x * length for x in point)
    trace = optimize(surface, start, SGD(lr=1e-3 * length**2 / loss), steps=1, stop=stop)
    assert int(trace.end[0]) == End.STATIONARY
    assert judge(surface, stop, trace).word == word
