"""Every surface keeps what it promises. New ones are found by themselves."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from gradexp import stack
from gradexp.config.choices import CONF
from gradexp.errors import UserError
from gradexp.numbers import Number, columns, in_lanes, map_numbers
from gradexp.surfaces import Surface, get, hessian, names, value_and_gradient
from gradexp.surfaces.catalogue import SURFACES
from gradexp.surfaces.scale import diameter, height

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in names()),
    *((name, {"dim": 5}) for name in names() if "dim" in SURFACES[name].__dataclass_fields__),
    *(("rosenbrock", {"dim": dim}) for dim in (4, 6, 7)),
    ("rosenbrock", {"b": 3.0}),
    ("quadratic", {"dim": 1}),
    ("quadratic", {"dim": 2, "condition_number": 1e4, "angle": 0.7}),
    ("quadratic", {"dim": 5, "condition_number": 50.0, "angle": -2.0}),
    ("michalewicz", {"dim": 10}),
    ("high_index", {"dim": 6, "negative": 4}),
    ("high_index", {"dim": 1, "negative": 1}),
    ("two_bowls", {"left_depth": 0.3, "right_width": 0.5}),
    ("two_bowls", {"left_width": 1.0, "right_width": 1.0}),
    ("two_bowls", {"left_width": 2.0, "right_width": 2.0}),
    ("two_bowls", {"left_width": 5.0, "right_width": 5.0}),
    ("log_sum_exp", {"smoothing": 0.1}),
    ("plateau", {"dim": 1, "width": 0.5}),
]

# Where a formula is not differentiable at what it declares, or only to low order.
NOT_SMOOTH_AT_MINIMIZER = {"ackley"}


def sides(surface: Surface) -> tuple[Tensor, Tensor]:
    low, high = zip(*surface.domain, strict=True)
    return at(low)[:, None], at(high)[:, None]


def in_domain(surface: Surface, count: int, seed: int = 0) -> Tensor:
    """Random points ``(dim, count)`` in the domain, the same ones each time."""
    draws = np.random.default_rng(seed).random((surface.dim, count))
    low, high = sides(surface)
    return low + (high - low) * torch.as_tensor(draws)


def at(point: tuple[Number, ...]) -> Tensor:
    return torch.tensor(point, dtype=torch.float64)


def _label(variant: tuple[str, dict[str, Any]]) -> str:
    return f"{variant[0]}{variant[1] or ''}"


def those(wanted: Callable[[Surface], bool]) -> pytest.MarkDecorator:
    """The variants that a test is about: of the others it would check nothing."""
    chosen = [variant for variant in VARIANTS if wanted(get(variant[0], **variant[1]))]
    return pytest.mark.parametrize("surface", chosen, indirect=True, ids=_label)


@pytest.fixture(params=VARIANTS, ids=_label)
def surface(request: pytest.FixtureRequest) -> Surface:
    name, numbers = request.param
    return get(name, **numbers)


def test_facts_have_the_right_shape(surface: Surface) -> None:
    assert len(surface.domain) == len(surface.start) == surface.dim
    for low, high in surface.domain:
        assert low < high
    points = [*surface.minimizers, *(s.point for s in surface.stationary_points)]
    for point in points:
        assert len(point) == surface.dim
    assert len(set(points)) == len(points)
    for (low, high), x in zip(surface.domain, surface.start, strict=True):
        assert low <= x <= high
    assert (surface.minimum is None) or bool(surface.minimizers)
    assert "Source: " in (type(surface).__doc__ or "")


def test_all_ways_to_hold_a_point_agree_to_the_bit(surface: Surface) -> None:
    points = in_domain(surface, 32)
    together = surface.value(points)
    assert together.shape == (32,)
    assert torch.equal(surface.value(tuple(points)), together)
    lanes = in_lanes(surface, 32, torch.float64, torch.device("cpu"))
    stacked = in_lanes(stack([surface] * 32), 32, torch.float64, torch.device("cpu"))
    assert torch.equal(stacked.value(points), lanes.value(points))
    assert torch.equal(stacked.value(tuple(points)), lanes.value(points))
    torch.testing.assert_close(lanes.value(points), together, rtol=1e-13, atol=1e-13)
    alone = torch.stack([surface.value(points[:, i]) for i in range(32)])
    # alone, a point goes through scalar code, whose cos and exp differ in the last bit
    torch.testing.assert_close(alone, together, rtol=1e-12, atol=1e-12)
    grid = surface.value(points.reshape(surface.dim, 4, 8))
    torch.testing.assert_close(grid.flatten(), together, rtol=1e-13, atol=1e-13)


def test_each_run_of_a_stack_has_its_own_numbers(surface: Surface) -> None:
    def scaled(factor: float) -> Surface:
        return map_numbers(surface, lambda number, name: number * factor)

    runs = [scaled(factor) for factor in (1.0, 1.25, 2.0)]
    points = in_domain(surface, 3)
    expected = torch.stack([run.value(points[:, i]) for i, run in enumerate(runs)])
    torch.testing.assert_close(stack(runs).value(points), expected, rtol=1e-12, atol=1e-12)


def test_gradient_is_that_of_central_differences(surface: Surface) -> None:
    points = in_domain(surface, 64)
    _, gradient = value_and_gradient(surface, points)
    low, high = sides(surface)
    step = (high - low) * 1e-6
    close = torch.zeros(64, dtype=torch.bool)
    for i in range(surface.dim):
        shift = torch.zeros_like(points)
        shift[i] = step[i]
        above, below = surface.value(points + shift), surface.value(points - shift)
        quotient = (above - below) / (2 * step[i])
        noise = 1e-15 * (above.abs() + below.abs()) / step[i]
        scale = gradient.abs().amax(0) + surface.value(points).abs() / (high - low).max()
        error = (gradient[i] - quotient).abs()
        close = error <= 1e-5 * scale + 10 * noise + 1e-12
        # next to a kink, or where waves are as short as the step, the quotient is no derivative
        assert float(close.double().mean()) > 0.95, f"coordinate {i}: {error[~close]}"


def test_hessian_is_that_of_differences_of_the_gradient(surface: Surface) -> None:
    points = in_domain(surface, 16)
    matrix = hessian(surface, points)
    torch.testing.assert_close(matrix, matrix.transpose(0, 1), rtol=1e-8, atol=1e-8)
    low, high = sides(surface)
    step = (high - low) * 1e-7
    for i in range(surface.dim):
        shift = torch.zeros_like(points)
        shift[i] = step[i]
        _, above = value_and_gradient(surface, points + shift)
        _, below = value_and_gradient(surface, points - shift)
        quotient = (above - below) / (2 * step[i])
        scale = matrix.abs().amax() + above.abs().amax() / (high - low).max()
        assert float(((matrix[i] - quotient).abs() <= 1e-4 * scale).double().mean()) > 0.95


@those(lambda surface: surface.minimum is not None)
def test_minimizers_have_the_declared_value_and_nothing_lower_is_found(surface: Surface) -> None:
    assert surface.minimum is not None
    minimum = float(surface.minimum)
    scale = max(1.0, abs(minimum))
    for minimizer in surface.minimizers:
        assert float(surface.value(at(minimizer))) == pytest.approx(minimum, abs=1e-12 * scale)
    centers = [at(minimizer)[:, None] for minimizer in surface.minimizers]
    near = [center + 1e-3 * (in_domain(surface, 200) - center) for center in centers]
    everywhere = torch.cat([in_domain(surface, 20000), *near], dim=1)
    low, high = sides(surface)
    values = surface.value(everywhere.clamp(low, high))
    assert float(values.min()) >= minimum - 1e-12 * scale


@those(lambda s: bool(s.minimizers) and s.label() not in NOT_SMOOTH_AT_MINIMIZER)
def test_minimizers_are_stationary_with_no_way_down(surface: Surface) -> None:
    for minimizer in surface.minimizers:
        point = at(minimizer)
        _, gradient = value_and_gradient(surface, point)
        matrix = hessian(surface, point)
        scale = max(1.0, float(matrix.abs().max()))
        low, high = (side[:, 0] for side in sides(surface))
        # On an edge of the domain, of a surface with no minimum beyond, the way out may lead down.
        edge = (point <= low) | (point >= high)
        outwards = torch.where(point >= high, -gradient, gradient)
        assert _largest(gradient[~edge]) <= 1e-12 * scale
        assert bool((outwards[edge] >= -1e-12 * scale).all())
        free = matrix[~edge][:, ~edge]
        assert float(torch.linalg.eigvalsh(free)[0]) >= -1e-12 * scale


KINKED = {"ackley", "sum_of_powers", "eggholder"}
"""Where second derivatives jump at a minimizer, or the domain ends there."""


@those(lambda surface: bool(surface.minimizers) and surface.label() not in KINKED)
def test_curvature_at_minimizers_is_that_of_differences(surface: Surface) -> None:
    for minimizer in surface.minimizers:
        point = at(minimizer)
        matrix = hessian(surface, point)
        for i in range(surface.dim):
            shift = torch.zeros_like(point)
            shift[i] = 1e-6 * max(1.0, abs(float(point[i])))
            _, above = value_and_gradient(surface, point + shift)
            _, below = value_and_gradient(surface, point - shift)
            quotient = (above - below) / (2 * shift[i])
            scale = 1e-4 * float(matrix.abs().max()) + 1e-9
            torch.testing.assert_close(matrix[i], quotient, rtol=1e-4, atol=scale)


def test_facts_are_the_same_for_one_run_and_for_many(surface: Surface) -> None:
    stacked = stack([surface, surface])

    def numbers(facts: Surface) -> list[float]:
        points = [*facts.minimizers, *(s.point for s in facts.stationary_points)]
        values = [x for point in [*points, facts.start] for x in point]
        values += [] if facts.minimum is None else [facts.minimum]
        return [float(x[0]) if isinstance(x, Tensor) else float(x) for x in values]

    assert numbers(stacked) == pytest.approx(numbers(surface), abs=1e-12)


def _largest(values: Tensor) -> float:
    return float(values.abs().max()) if len(values) else 0.0


@those(lambda surface: bool(surface.stationary_points))
def test_stationary_points_are_of_their_kind(surface: Surface) -> None:
    for stationary in surface.stationary_points:
        point = at(stationary.point)
        value, gradient = value_and_gradient(surface, point)
        eigenvalues = torch.linalg.eigvalsh(hessian(surface, point))
        scale = max(1.0, float(eigenvalues.abs().max()))
        assert _largest(gradient) <= 1e-12 * scale
        low, high = float(eigenvalues[0]), float(eigenvalues[-1])
        if stationary.kind == "minimum":
            assert low > 0
            assert surface.minimum is None or float(value) > float(surface.minimum)
        elif stationary.kind == "maximum":
            assert high < 0
        else:
            assert low < 0 < high or abs(low) <= 1e-12 * scale or abs(high) <= 1e-12 * scale
        if stationary.descent is not None:
            assert float(surface.value(point + 0.01 * at(stationary.descent))) < float(value)


def midpoint_violations(surface: Surface) -> int:
    """Of many pairs, near and far, those whose midpoint lies above their chord."""
    low, high = sides(surface)
    centers = [at(surface.start)[:, None]]
    centers += [at(minimizer)[:, None] for minimizer in surface.minimizers]
    centers += [at(s.point)[:, None] for s in surface.stationary_points]
    found = 0
    for scale in (1.0, 0.1, 0.01):
        for index, center in enumerate([(low + high) / 2, *centers]):
            seeds = 2 * index + 1
            a, b = (in_domain(surface, 4000, seed) for seed in (seeds, seeds + 1))
            a, b = (center + scale * (points - (low + high) / 2) for points in (a, b))
            chord = (surface.value(a) + surface.value(b)) / 2
            middle = surface.value((a + b) / 2)
            rounding = 1e-13 * (chord.abs() + middle.abs())
            found += int((middle > chord + rounding).sum())
    return found


def test_family_is_a_promise(surface: Surface) -> None:
    assert surface.family in ("convex", "multi_minima", "saddle")
    if surface.family == "convex":
        assert midpoint_violations(surface) == 0
    else:
        assert midpoint_violations(surface) > 0


@pytest.mark.parametrize(
    ("name", "numbers"), [v for v in VARIANTS if v[0] == "quadratic"], ids=lambda v: str(v)
)
def test_condition_number_of_quadratic_is_exact(name: str, numbers: dict[str, Any]) -> None:
    surface = get(name, **numbers)
    eigenvalues = torch.linalg.eigvalsh(hessian(surface, in_domain(surface, 1)[:, 0]))
    n, kappa = surface.dim, numbers.get("condition_number", 10.0)
    spectrum = [kappa ** (i / max(n - 1, 1)) for i in range(n)]
    torch.testing.assert_close(eigenvalues, at(tuple(spectrum)), rtol=1e-12, atol=0)


def test_high_index_saddles_have_the_promised_number_of_ways_down() -> None:
    surface = get("high_index", dim=6, negative=4)
    counts = [
        int((torch.linalg.eigvalsh(hessian(surface, at(s.point))) < 0).sum())
        for s in surface.stationary_points
    ]
    assert counts == [4, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("name", names())
def test_config_mirrors_the_class(name: str) -> None:
    path = CONF / "surface" / f"{name}.yaml"
    text = path.read_text()
    settings = yaml.safe_load(text)
    target = settings.pop("_target_")
    cls = SURFACES[name]
    assert target.split(".")[-1] == cls.__name__
    assert target.split(".")[2] == get(name).family
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}
    assert settings == defaults
    assert text.startswith("# ")
    for key in settings:
        assert re.search(rf"^{key}: \S+ +# ", text, re.MULTILINE), f"{key} has no comment"


def test_there_is_a_config_for_every_surface_and_none_besides() -> None:
    files = {path.stem for path in (CONF / "surface").glob("*.yaml")}
    assert files - {"own"} == set(names())


def test_unknown_names_and_fields_are_mistakes() -> None:
    with pytest.raises(UserError, match="did you mean rosenbrock"):
        get("rosenbrok")
    with pytest.raises(UserError, match="known: b, dim"):
        get("rosenbrock", c=1.0)
    with pytest.raises(UserError, match="at most dim"):
        get("high_index", dim=2, negative=3)


def stationary_of(surface: Surface) -> tuple[Tensor, Tensor]:
    """The points ``(2, N)`` of the domain of a surface of two dimensions that Newton's method comes
    to from a grid, and their losses."""
    ends = torch.tensor(surface.domain, dtype=torch.float64)
    far = float(diameter(surface))
    sides = [torch.linspace(low, high, 31, dtype=torch.float64) for low, high in ends.tolist()]
    point = torch.stack(torch.meshgrid(*sides, indexing="ij")).reshape(2, -1)
    point = point + 1e-3 * far * torch.tensor([[0.37], [0.61]], dtype=torch.float64)
    length = torch.zeros(point.shape[1])
    for _ in range(50):
        _, (u, v) = value_and_gradient(surface, point)
        (a, b), (_, c) = hessian(surface, point)
        step = torch.stack([c * u - b * v, a * v - b * u]) / (a * c - b * b)
        length = step.norm(dim=0)
        point = point - step * (0.1 * far / length).clamp(max=1.0)
    _, gradient = value_and_gradient(surface, point)
    inside = (ends[:, :1] - 1e-9 <= point) & (point <= ends[:, 1:] + 1e-9)
    small = gradient.norm(dim=0) < 1e-7 * float(height(surface)) / far
    found = inside.all(dim=0) & small & (length < 1e-9 * far)
    return point[:, found], surface.value(point[:, found])


@pytest.mark.parametrize("name", [name for name in names() if get(name).dim == 2])
def test_no_stationary_point_is_missing_that_should_be_there(name: str) -> None:
    """Costs 0.2 s each."""
    surface = get(name)
    point, value = stationary_of(surface)
    declared = [*surface.minimizers, *(one.point for one in surface.stationary_points)]
    places = torch.tensor(declared, dtype=torch.float64).reshape(-1, 2).T
    apart = (point[:, :, None] - places[:, None, :]).norm(dim=0)
    if surface.complete:
        assert point.shape[1]
        near = 1e-4 * diameter(surface)
        assert bool((apart.amin(dim=1) < near).all()), "one is not declared"
        ends = torch.tensor(surface.domain, dtype=torch.float64)
        inside = ((ends[:, :1] <= places) & (places <= ends[:, 1:])).all(dim=0)
        assert bool((apart.amin(dim=0) < near)[inside].all()), "one is not found"
    if surface.minimum is not None and len(value):
        assert float(value.min()) > float(surface.minimum) - 1e-9 * float(height(surface))


def test_facts_that_are_known_to_many_digits() -> None:
    x = get("cross_in_tray").minimizers[0][0]
    assert x == 1.3494066171539107917934  # atan(π √2)
    (_, saddle) = get("two_bowls").stationary_points
    assert saddle.kind == "saddle"
    assert saddle.point == pytest.approx((-0.789984, 0.0), abs=1e-6)
    # the roots of the gradient that mpmath finds with 40 digits
    for dim, first, last in [
        (4, -0.7756592265653527, 0.14597201855219466),
        (7, -0.9917225725614055, 0.9052228177139535),
        (30, -0.9932861009750849, 0.9999999896577931),
    ]:
        (second,) = get("rosenbrock", dim=dim).stationary_points
        assert second.kind == "minimum"
        assert (second.point[0], second.point[-1]) == pytest.approx((first, last), abs=1e-14)
    for dim in (3, 31):
        assert get("rosenbrock", dim=dim).stationary_points == ()


@pytest.mark.parametrize("dim", range(4, 31))
def test_rosenbrock_has_a_second_minimum(dim: int) -> None:
    surface = get("rosenbrock", dim=dim)
    (second,) = surface.stationary_points
    point = columns(second.point)
    assert float(value_and_gradient(surface, point)[1].norm()) < 1e-12
    assert float(torch.linalg.eigvalsh(hessian(surface, point))[0]) > 0.3
