"""What needs a CUDA device."""

import warnings
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor

from gradexp import optimize
from gradexp.engine import Stop, Trace
from gradexp.noises import Gaussian
from gradexp.optimizers import SGD
from gradexp.schedules import (
    Exponential,
)
from gradexp.surfaces import Surface, get
from tests.conftest import same
from tests.test_cuda_programs import EVERY, LARGE, OTHERS


def on_device(
    surface: Surface,
    order: Tensor,
    device: str,
    compile: Any,
    steps: int = 500,
    start: Tensor | None = None,
    **options: Any,
) -> Trace:
    """The runs of these numbers."""
    rates = torch.logspace(-8, -5, 1000, dtype=torch.float64)
    return optimize(
        surface,
        surface.start if start is None else start,
        SGD(lr=rates[order], momentum=0.9),
        steps=steps,
        schedule=Exponential(gamma=0.9999),
        noise=Gaussian(std=1e-9, seed=order),
        device=device,
        compile=compile,
        **options,
    )


NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
BOTH = pytest.mark.parametrize("compile", ["never", "always"])


@pytest.mark.cuda
@NEEDS_CUDA
@BOTH
@pytest.mark.parametrize("surface", [*EVERY, *LARGE], ids=lambda surface: surface.label())
def test_a_device_makes_the_steps_of_the_cpu(surface: Surface, compile: str) -> None:
    order, start = torch.arange(0, 1000, 25), torch.tensor(surface.start, dtype=torch.float64)
    expected = on_device(surface, order, "cpu", compile)
    found = on_device(surface, order, "cuda", compile)
    assert found.end.device.type == "cuda"
    assert found.engine == ("compiled" if compile == "always" else "eager")
    found = found.cpu()
    # Sines may differ in their last bit: so far apart does that much at the start take runs.
    nudged = on_device(surface, order, "cpu", compile, start=start * (1 + 2**-52) + 2**-60)
    for part in ("loss", "gradient_norm", "point", "best_loss", "path_length"):
        one, other, third = (getattr(trace, part) for trace in (expected, found, nudged))
        assert one.isfinite().all()
        allowed = 1e-11 * (1 + one.abs().max()) + 1e-9 * one.abs() + 100 * (third - one).abs()
        assert ((other - one).abs() <= allowed).all(), part
    assert torch.equal(expected.steps, found.steps)


@pytest.mark.cuda
@NEEDS_CUDA
@BOTH
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("surface", EVERY, ids=lambda surface: surface.label())
def test_a_run_of_a_device_does_not_depend_on_who_shares_its_batch(
    surface: Surface, dtype: str, compile: str
) -> None:
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(1))
    together = on_device(surface, order, "cuda", compile, dtype=dtype).cpu()
    for place in (31, 999):
        alone = on_device(surface, order[place : place + 1], "cuda", compile, dtype=dtype).cpu()
        for one, other in zip(alone.run(0), together.run(place), strict=True):
            assert same(one, other)


@pytest.mark.cuda
@NEEDS_CUDA
@BOTH
@pytest.mark.parametrize("dim", [2, 30])
@pytest.mark.parametrize("others", OTHERS, ids=lambda others: others["optimizer"].label())
def test_a_device_knows_rules_schedules_noise_and_clips(
    others: dict[str, Any], dim: int, compile: Any
) -> None:
    surface = get("rosenbrock", dim=dim)
    on_cpu, on_cuda = (
        optimize(
            surface,
            surface.start,
            steps=100,
            stop=Stop(gradient=1e-300),
            device=device,
            compile=compile,
            **others,
        ).cpu()
        for device in ("cpu", "cuda")
    )
    for part in ("loss", "gradient_norm", "point", "path_length"):
        one, other = getattr(on_cpu, part), getattr(on_cuda, part)
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10, equal_nan=True)


@pytest.mark.cuda
@NEEDS_CUDA
@BOTH
def test_the_host_waits_for_a_device_once_a_block_at_most(compile: str) -> None:
    surface, order = get("rosenbrock"), torch.arange(1000)

    def waits(steps: int) -> int:
        on_device(surface, order, "cuda", compile, steps=steps)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                on_device(surface, order, "cuda", compile, steps=steps)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        return len([one for one in caught if "called a synchronizing" in str(one.message)])

    # What is checked before the first block and gathered after the last one is the same for both.
    blocks = 100 if compile == "never" else 0
    assert waits(6400 + 640) - waits(640) <= blocks


@pytest.mark.cuda
@NEEDS_CUDA
@pytest.mark.parametrize("name", ["rosenbrock", "rastrigin"])
def test_a_map_of_a_device_is_that_of_the_cpu_to_the_bit(name: str) -> None:
    rates = torch.logspace(-5, -2, 100_000, dtype=torch.float64)
    traces = [
        optimize(
            get(name),
            (-1.2, 1.0),
            SGD(lr=rates, momentum=0.9),
            steps=1000,
            record="metrics",
            device=device,
            compile="always",
        ).cpu()
        for device in ("cpu", "cuda")
    ]
    assert len(torch.unique(traces[0].end)) > 1
    for field in fields(Trace):
        one, other = (getattr(trace, field.name) for trace in traces)
        if isinstance(one, Tensor):
            assert same(one, other), field.name
