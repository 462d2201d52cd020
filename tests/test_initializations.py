"""Where runs begin."""

import math

import pytest
import torch

from gradexp import stack
from gradexp.errors import UserError
from gradexp.initializations import (
    Initialization,
    NearSaddle,
    Normal,
    Point,
    Ring,
    Standard,
    Uniform,
    starts,
)
from gradexp.surfaces import get, hessian


def test_point_and_standard() -> None:
    surface = get("rosenbrock", dim=3)
    assert starts(Standard(), surface, 1)[:, 0].tolist() == [-1.2, 1.0, -1.2]
    assert starts(Point((1.0, 2.0, 3.0)), surface, 2).T.tolist() == [[1.0, 2.0, 3.0]] * 2


def test_uniform_fills_the_domain_and_nothing_else() -> None:
    surface = get("branin")
    points = starts(stack([Uniform(seed) for seed in range(5000)]), surface, 5000)
    for (low, high), x in zip(surface.domain, points, strict=True):
        assert low <= float(x.min()) < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < float(x.max()) <= high
        assert float(x.mean()) == pytest.approx((low + high) / 2, abs=0.02 * (high - low))


def test_normal_has_its_center_and_spread() -> None:
    runs = [Normal(center=(1.0, -2.0), std=0.5, seed=seed) for seed in range(5000)]
    points = starts(stack(runs), get("sphere"), 5000)
    assert points.mean(dim=1).tolist() == pytest.approx([1.0, -2.0], abs=0.03)
    assert points.std(dim=1).tolist() == pytest.approx([0.5, 0.5], rel=0.03)
    standard = starts(Normal(std=0.0), get("rosenbrock"), 1)
    assert standard[:, 0].tolist() == [-1.2, 1.0]


@pytest.mark.parametrize("make", [Uniform, Normal])
def test_random_starts_follow_from_the_seed_alone(make: type[Initialization]) -> None:
    surface = get("levy", dim=5)
    seeds = [5, 0, 2**40, 77, 5]
    together = starts(stack([make(seed=s) for s in seeds]), surface, 5)  # type: ignore[call-arg]
    for i, seed in enumerate(seeds):
        alone = starts(make(seed=seed), surface, 1)  # type: ignore[call-arg]
        assert torch.equal(alone[:, 0], together[:, i])
    assert torch.equal(together[:, 0], together[:, 4])
    assert len({tuple(point) for point in together.T.tolist()}) == 4


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_ring_keeps_radius_and_angle(dim: int) -> None:
    surface = get("styblinski_tang", dim=dim)
    point = starts(Ring(radius=0.5, angle=math.pi / 3, kind="maximum"), surface, 1)[:, 0]
    offset = point - torch.tensor(surface.stationary_points[1].point)
    assert float(offset.norm()) == pytest.approx(0.5, abs=1e-6)
    if dim > 1:
        assert float(torch.atan2(offset[1], offset[0])) == pytest.approx(math.pi / 3, abs=1e-6)


def test_ring_goes_around_the_chosen_point() -> None:
    surface = get("himmelblau")
    angles = torch.linspace(0, 6, 7, dtype=torch.float64)
    for index, minimizer in enumerate(surface.minimizers):
        points = starts(Ring(radius=1.0, angle=angles, index=index), surface, 7)
        offsets = points - torch.tensor(minimizer, dtype=torch.float64)[:, None]
        torch.testing.assert_close(offsets.norm(dim=0), torch.ones(7).double())


SADDLES = [
    (name, index)
    for name in ("hyperbolic", "strict", "product", "himmelblau", "six_hump_camel", "high_index")
    for index in range(sum(s.kind == "saddle" for s in get(name).stationary_points))
]


@pytest.mark.parametrize(("name", "index"), SADDLES)
def test_near_saddle_lies_along_the_unstable_direction(name: str, index: int) -> None:
    surface = get(name)
    saddles = [s for s in surface.stationary_points if s.kind == "saddle"]
    center = torch.tensor(saddles[index].point, dtype=torch.float64)
    distances = torch.tensor([1e-3, -1e-2], dtype=torch.float64)
    offsets = starts(NearSaddle(distances, index), surface, 2) - center[:, None]
    torch.testing.assert_close(offsets.norm(dim=0), distances.abs(), rtol=1e-9, atol=0)
    matrix = hessian(surface, center)
    least = torch.linalg.eigvalsh(matrix)[0]
    torch.testing.assert_close(matrix @ offsets, least * offsets, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(offsets[:, 1], -10 * offsets[:, 0], rtol=1e-9, atol=1e-15)


def test_near_a_degenerate_saddle_the_declared_direction_is_taken() -> None:
    point = starts(NearSaddle(distance=0.1), get("monkey"), 1)[:, 0]
    assert point.tolist() == pytest.approx([-0.1, 0.0])


@pytest.mark.parametrize(
    ("initialization", "key"),
    [
        (Point((1.0,)), "point"),
        (Point((1.0, 2.0, 3.0)), "point"),
        (Normal(center=(1.0, 2.0, 3.0)), "center"),
        (NearSaddle(index=4), "index"),
        (Ring(kind="maximum", index=1), "index"),
    ],
)
def test_what_does_not_fit_the_surface_is_a_mistake(
    initialization: Initialization, key: str
) -> None:
    with pytest.raises(UserError) as caught:
        starts(initialization, get("himmelblau"), 1)
    assert caught.value.key == key
