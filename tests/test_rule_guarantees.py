"""Rules that torch.optim lacks: plain loops of their formulas, and what is proved of them."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from gradexp.analysis.theory import rate, stability_edge
from gradexp.numbers import stack
from gradexp.optimizers import SGD, HeavyBall, Nesterov, NesterovStronglyConvex, Polyak
from gradexp.surfaces import Surface, get, value_and_gradient
from tests.test_rules import EXACT, PLACES, STEPS, error, torch_way, way

MOMENTA = (0.0, 0.5, 0.9)
QUADRATIC = get("quadratic", dim=3, angle=0.3, condition_number=50.0)
"""Strongly convex with m = 1, of a gradient with Lipschitz constant L = 50; minimum 0 at 0."""
FAR = torch.tensor([[4.5, -3.0], [-3.2, 0.1], [2.1, 5.0]], dtype=torch.float64)


def gradient_of(surface: Surface) -> Callable[[Tensor], Tensor]:
    def gradient(point: Tensor) -> Tensor:
        return value_and_gradient(surface, point)[1]  # type: ignore[no-any-return]

    return gradient


def heavy_ball(slope: Any, x: Tensor, lr: float, b: Any) -> Iterator[Tensor]:
    previous = x
    while True:
        yield x
        x, previous = x - lr * slope(x) + b * (x - previous), x


def nesterov(slope: Any, y: Tensor, lr: float) -> Iterator[Tensor]:
    x, t = y, 1.0
    while True:
        yield y
        following, after = y - lr * slope(y), (1 + (1 + 4 * t**2) ** 0.5) / 2
        y = following + (t - 1) / after * (following - x)
        x, t = following, after


def nesterov_strongly_convex(slope: Any, y: Tensor, lr: float, m: float) -> Iterator[Tensor]:
    x, b = y, (1 - (lr * m) ** 0.5) / (1 + (lr * m) ** 0.5)
    while True:
        yield y
        following = y - lr * slope(y)
        x, y = following, following + b * (following - x)


def first(points: Iterator[Tensor]) -> Tensor:
    return torch.stack([*itertools.islice(points, STEPS + 1)])


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_heavy_ball_with_a_constant_rate_is_torch_sgd(maximize: bool, weight_decay: float) -> None:
    more: dict[str, Any] = {"weight_decay": weight_decay, "maximize": maximize}
    settings = [{"lr": 1e-3, "momentum": momentum, **more} for momentum in MOMENTA]
    for surface, start in PLACES[:1] if maximize else PLACES[:2]:
        begin = torch.tensor(start, dtype=torch.float64)[:, None].expand(-1, len(MOMENTA))
        ours, _ = way(stack(HeavyBall.from_settings(s) for s in settings), surface, begin)
        theirs, _ = torch_way(torch.optim.SGD, settings, surface, start)
        assert error(ours, theirs) <= EXACT


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize(
    ("surface", "start", "maximize"),
    [(*PLACES[0], False), (*PLACES[0], True), (*PLACES[1], False)],  # the second has no crest
    ids=["rastrigin", "rastrigin-uphill", "himmelblau"],
)
def test_rules_are_their_formulas(
    surface: Surface, start: tuple[float, ...], weight_decay: float, maximize: bool
) -> None:
    begin = torch.tensor(start, dtype=torch.float64)[:, None].expand(-1, len(MOMENTA))
    momenta, sign = torch.tensor(MOMENTA, dtype=torch.float64), -1 if maximize else 1
    more: dict[str, Any] = {"weight_decay": weight_decay, "maximize": maximize}
    known = gradient_of(surface)

    def slope(x: Tensor) -> Tensor:
        return sign * known(x) + weight_decay * x

    pairs: list[tuple[Any, Iterator[Tensor]]] = [
        (
            stack(HeavyBall(1e-3, b, **more) for b in MOMENTA),
            heavy_ball(slope, begin, 1e-3, momenta),
        ),
        (Nesterov(1e-3, **more), nesterov(slope, begin, 1e-3)),
        (
            NesterovStronglyConvex(1e-3, strong_convexity=20.0, **more),
            nesterov_strongly_convex(slope, begin, 1e-3, 20.0),
        ),
    ]
    for rule, points in pairs:
        ours, _ = way(rule, surface, begin)
        assert error(ours, first(points)) <= EXACT, rule


def gaps(rule: Any, steps: int) -> Tensor:
    """f(x_k) - f*, from k = 0 on, of the iterates of a rule."""
    point, state = FAR, rule.init(FAR)
    found = [QUADRATIC.value(FAR)]
    for step in range(steps):
        point, state = rule.update(point, gradient_of(QUADRATIC)(point), state, step)
        found.append(QUADRATIC.value(getattr(state, "iterate", point)))
    return torch.stack(found)


def test_nesterov_keeps_its_guarantee() -> None:
    lr, k = 1 / 50, torch.arange(1, 301)[:, None]
    bound = 2 * FAR.square().sum(0) / (lr * (k + 1) ** 2)
    found = gaps(Nesterov(lr), 300)[1:]
    assert bool((found <= bound).all())
    assert float((found / bound).max()) > 0.01  # the bound says something


def test_nesterov_for_strongly_convex_surfaces_keeps_its_rate() -> None:
    # Nesterov (2004), theorem 2.2.3: f(x_k) - f* <= (1 - √(m/L))ᵏ (f(x₀) - f* + m/2 ‖x₀ - x*‖²)
    found = gaps(NesterovStronglyConvex(1 / 50, strong_convexity=1.0), 200)
    begun = found[0] + 0.5 * FAR.square().sum(0)
    bound = (1 - (1 / 50) ** 0.5) ** torch.arange(201, dtype=torch.float64)[:, None] * begun
    assert bool((found <= bound).all())
    assert bool((gaps(SGD(1 / 50), 200) > bound).any(0).all())  # the bound says something


@pytest.mark.parametrize("c", [0.5, 1.0, 2.0])
def test_polyak_steps_never_lead_away_from_the_minimizer(c: float) -> None:
    # ‖x - s g‖² <= ‖x‖² + s² ‖g‖² - 2 s gap, as f is convex; s <= 2 gap/‖g‖² for c >= 1/2.
    rule, distances = Polyak(lr=10.0, c=c), [FAR.norm(dim=0)]
    point: Any = FAR
    state = rule.init(point)
    for step in range(2000):
        gap, gradient = value_and_gradient(QUADRATIC, point)
        point, state = rule.update(point, gradient, state, step, gap=gap)
        distances.append(point.norm(dim=0))
    way_there = torch.stack(distances)
    assert bool((way_there[1:] <= way_there[:-1] * (1 + 1e-15)).all())
    if c > 0.5:  # with 1/2 the bound is tight
        assert float(way_there[-1].max()) < 1e-6


def test_polyak_stays_where_the_gradient_is_zero_and_steps_no_farther_than_its_rate() -> None:
    rule = Polyak(lr=0.5)
    point = torch.tensor([[0.0, 1.0, 1.0]])
    gradient, gap = torch.tensor([[0.0, 2.0, 2.0]]), torch.tensor([0.0, 100.0, -1e-9])
    moved: Any
    moved, _ = rule.update(point, gradient, rule.init(point), 0, gap=gap)
    assert moved.tolist() == [[0.0, 0.0, 1.0]]
    with pytest.raises(TypeError, match="gap"):
        rule.update(point, gradient, rule.init(point), 0)


def test_theory_knows_heavy_ball_as_it_knows_sgd_with_momentum() -> None:
    ours, theirs = HeavyBall(0.03, momentum=0.8), SGD(0.03, momentum=0.8)
    curvatures = [1.0, 50.0]
    assert rate(ours, curvatures) == pytest.approx(rate(theirs, curvatures), rel=1e-9)
    assert stability_edge(ours, 50.0) == pytest.approx(2 * 1.8 / 50, rel=1e-12)


def test_theory_knows_the_rate_of_nesterov_for_strongly_convex_surfaces() -> None:
    # With a = 1/L the flattest direction, of curvature m, decides: both its eigenvalues are
    # 1 - √(m/L). There is no edge in closed form: the momentum goes with the learning rate.
    rule = NesterovStronglyConvex(1 / 50, strong_convexity=1.0)
    assert rate(rule, [1.0, 50.0]) == pytest.approx(1 - (1 / 50) ** 0.5, rel=1e-7)  # a double root
    assert stability_edge(rule, 50.0) is None
