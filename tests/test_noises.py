"""Gradient noise: its distributions, and that it depends on the seed and the step alone."""

from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from gradexp import optimize
from gradexp.engine import Stop
from gradexp.noises import Gaussian, Noise, Noiseless, StudentT
from gradexp.numbers import students_of_step
from gradexp.numbers.philox import Stream
from gradexp.optimizers import SGD
from gradexp.surfaces import get, value_and_gradient

MANY = 20_000
SEEDS = torch.arange(MANY)


def added(noise: Noise, gradient: Tensor, step: int = 7) -> Tensor:
    found: Tensor = noise.add_to(gradient, step) - gradient
    return found


def flat(*slopes: float) -> Tensor:
    """A gradient that is the same in all runs."""
    return torch.tensor(slopes, dtype=torch.float64)[:, None].expand(-1, MANY)


@pytest.mark.parametrize("degrees", [0.5, 1.0, 2.0, 5.0, 1e6])
def test_heavy_tails_are_those_of_student(degrees: float) -> None:
    noise = StudentT(scale=0.3, degrees_of_freedom=degrees, seed=SEEDS)
    for row in added(noise, flat(0.0, 0.0, 0.0)):
        assert stats.kstest(row.numpy() / 0.3, stats.t(degrees).cdf).pvalue > 1e-3


def test_gaussian_noise_has_its_standard_deviation() -> None:
    for row in added(Gaussian(std=0.3, seed=SEEDS), flat(3.0, 4.0)):
        assert stats.kstest(row.numpy() / 0.3, "norm").pvalue > 1e-3


@pytest.mark.parametrize("kind", [Gaussian, StudentT])
def test_noise_may_go_with_the_norm_of_the_gradient(kind: Any) -> None:
    fixed, relative, both = (
        added(kind(size, relative, seed=SEEDS), flat(3.0, 4.0))
        for size, relative in ((1.0, 0.0), (0.0, 0.2), (1.0, 0.2))
    )
    torch.testing.assert_close(relative, fixed, rtol=1e-9, atol=1e-12)  # 0.2 of a norm of 5
    torch.testing.assert_close(both, 2 * fixed, rtol=1e-9, atol=1e-12)
    still = kind(0.0, 0.2, seed=SEEDS).add_to(flat(0.0, 0.0), 3)
    assert not bool(still.any())


@pytest.mark.parametrize("kind", [Gaussian, StudentT])
def test_any_step_can_be_had_and_none_is_another(kind: Any) -> None:
    noise = kind(seed=SEEDS[:320])
    gradient = flat(0.0, 0.0)[:, :320]
    steps = [added(noise, gradient, step) for step in (0, 1, 2, 2**31)]
    again = added(noise, gradient, 2)
    assert torch.equal(again, steps[2])
    values = torch.stack(steps).flatten().tolist()
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("kind", [Gaussian, StudentT])
@pytest.mark.parametrize("compile", ["never", "always"])
def test_runs_of_one_seed_see_one_noise_whatever_their_other_settings(
    kind: Any, compile: Any
) -> None:
    # From steps of different length, each of nothing but the slope and the noise.
    rates = torch.logspace(-4, 0, 40, dtype=torch.float64)
    surface = get("booth")
    _, slope = value_and_gradient(surface, torch.zeros(2, 1, dtype=torch.float64))
    trace = optimize(
        surface, (0.0, 0.0), SGD(lr=rates), steps=1, noise=kind(1e-3, seed=5), compile=compile
    )
    assert trace.point is not None
    noise = (trace.point[0] - trace.point[1]) / rates - slope
    torch.testing.assert_close(noise, noise[:, :1].expand(-1, 40), rtol=1e-7, atol=1e-10)
    other = optimize(
        surface, (0.0, 0.0), SGD(lr=0.1), steps=1, noise=kind(1e-3, seed=6), compile=compile
    )
    assert other.point is not None
    theirs = (other.point[0] - other.point[1])[:, 0] / 0.1 - slope[:, 0]
    assert bool((theirs - noise[:, 0]).abs().min() > 1e-9)


def test_what_is_recorded_is_the_surface_without_noise() -> None:
    surface = get("himmelblau")
    noisy = optimize(
        surface,
        (1.0, 1.0),
        SGD(lr=1e-3),
        steps=50,
        noise=Gaussian(std=5.0, seed=3),
        stop=Stop(gradient=1e-300),
    )
    assert noisy.point is not None
    assert noisy.loss is not None
    assert noisy.gradient_norm is not None
    points = noisy.point[:, :, 0].T.clone().requires_grad_()
    values = surface.value(points)
    torch.testing.assert_close(noisy.loss[:, 0], values.detach(), rtol=1e-12, atol=0)
    (slopes,) = torch.autograd.grad(values.sum(), points)
    torch.testing.assert_close(noisy.gradient_norm[:, 0], slopes.norm(dim=0), rtol=1e-12, atol=0)
    calm = optimize(surface, (1.0, 1.0), SGD(lr=1e-3), steps=50, noise=Noiseless())
    assert calm.point is not None
    assert float((calm.point - noisy.point).abs().max()) > 1e-2


def test_in_single_precision_the_noise_is_that_of_double_to_rounding() -> None:
    double, single = (
        students_of_step(3.0, SEEDS[:992], Stream.NOISE, 4, 9, dtype)
        for dtype in (torch.float64, torch.float32)
    )
    assert single.dtype == torch.float32
    close = (double - single).abs() <= 1e-3 * (1 + double.abs())
    assert float(close.double().mean()) > 0.999  # but for the farthest, of which 24 bits say less
