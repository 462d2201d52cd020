"""A run's numbers do not depend on who shares its batch, nor on what is recorded of it."""

from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from gradexp import optimize
from gradexp.engine import Record, Stop, Trace, batched
from gradexp.engine.codegen import NativeChunk
from gradexp.engine.eager import EagerChunk
from gradexp.initializations import Normal, starts
from gradexp.noises import Gaussian
from gradexp.optimizers import SGD
from gradexp.schedules import Exponential
from gradexp.surfaces import Surface, get, names
from tests.conftest import COVERING, in_tiers, same

Compile = Literal["never", "always"]
BOTH = pytest.mark.parametrize("compile", ["never", "always"])
RUNS, STEPS = 1000, 200
AT_THE_END = (
    *("end", "steps", "final_loss", "final_gradient_norm", "final_point", "best_loss"),
    *("best_step", "path_length", "reversals", "gap_steps", "gradient_steps", "may_recur"),
)
LATE = ("loss", "mean", "spread", "calm")


def run(
    surface: Surface,
    order: Tensor,
    compile: Compile,
    dtype: str = "float64",
    steps: int = STEPS,
    record: Record | Literal["trace", "loss", "metrics"] = "trace",
) -> Trace:
    """The runs of these numbers: from all around the start, some too fast, some slow, with noise
    and a schedule."""
    std = 0.1 * (surface.domain[0][1] - surface.domain[0][0])
    start = starts(Normal(std=std, seed=order), surface, len(order))
    rates = torch.logspace(-5, 0, RUNS, dtype=torch.float64)
    momenta = torch.linspace(0.99, 0, RUNS, dtype=torch.float64)
    return optimize(
        surface,
        start,
        SGD(lr=rates[order], momentum=momenta[order]),
        steps=steps,
        schedule=Exponential(gamma=0.9999),
        noise=Gaussian(std=1e-3, seed=order),
        record=record,
        dtype=dtype,
        compile=compile,
    )


def assert_alone_as_among(surface: Surface, compile: Compile, dtype: str, steps: int) -> None:
    order = torch.randperm(RUNS, generator=torch.Generator().manual_seed(1))
    together = run(surface, order, compile, dtype, steps)
    assert int(together.steps.max()) > 0
    for place in (31, 999):
        alone = run(surface, order[place : place + 1], compile, dtype, steps)
        among = together.run(place)
        assert all(same(one, other) for one, other in zip(alone.run(0), among, strict=True))
        for name in AT_THE_END:
            one, other = getattr(alone, name), getattr(together, name)
            assert one is other is None or same(one[..., 0], other[..., place]), name
        assert alone.late is not None
        assert together.late is not None
        for name in LATE:
            one, other = getattr(alone.late, name), getattr(together.late, name)
            assert same(one[..., 0], other[..., place]), name


@BOTH
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", in_tiers(names(), COVERING.__contains__))
def test_a_run_does_not_depend_on_who_shares_its_batch(
    name: str, dtype: str, compile: Compile
) -> None:
    assert_alone_as_among(get(name), compile, dtype, STEPS)


@BOTH
@pytest.mark.parametrize("dim", in_tiers([16, 17, 100], lambda dim: dim != 16))  # 15 s to compile
@pytest.mark.parametrize("name", ["rosenbrock", "quadratic", "ackley"])
def test_nor_does_it_in_many_dimensions(name: str, dim: int, compile: Compile) -> None:
    assert_alone_as_among(get(name, dim=dim), compile, "float64", steps=70)


@BOTH
def test_nor_on_chunks_and_threads(compile: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    order = torch.arange(RUNS)
    whole = run(get("rastrigin"), order, compile)
    monkeypatch.setitem(batched._COMPILED_COORDINATES, "cpu", 200)
    monkeypatch.setattr(batched, "_EAGER_NUMBERS", 200 * 64)
    torch.set_num_threads(2)
    try:
        parts = run(get("rastrigin"), order, compile)
    finally:
        torch.set_num_threads(1)
    for name in ("step", "loss", "gradient_norm", "point", *AT_THE_END):
        assert same(getattr(whole, name), getattr(parts, name)), name


@BOTH
@pytest.mark.parametrize("name", ["rosenbrock", "himmelblau", "quadratic"])
def test_nor_on_what_is_recorded_and_who_has_left(name: str, compile: Compile) -> None:
    # Where nothing is recorded along the way, runs that have ended leave the batch.
    order, tolerances = torch.arange(RUNS), (1.0, 1e-2)
    traces = [
        run(get(name), order, compile, record=Record(what=what, points=7, tolerances=tolerances))
        for what in ("trace", "loss", "metrics")
    ]
    assert len(torch.unique(traces[0].steps)) > 10
    for trace in traces[1:]:
        for part in AT_THE_END:
            assert same(getattr(traces[0], part), getattr(trace, part)), part


@BOTH
@pytest.mark.parametrize(("every", "steps"), [(10, 2000), (100, 10_000)])
def test_a_batch_costs_what_its_live_runs_cost(
    every: int, steps: int, compile: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0

    def counting(chunk_class: Any) -> None:
        advance = chunk_class.advance

        def counted(self: Any, first: int, looks: int, recording: Any, columns: slice) -> None:
            nonlocal made
            made += looks * self.steps().shape[0]
            advance(self, first, looks, recording, columns)

        monkeypatch.setattr(chunk_class, "advance", counted)

    # Ten chunks, whose live runs would fill a pair of registers each: they go on together.
    monkeypatch.setitem(batched._COMPILED_COORDINATES, "cpu", 4096)
    monkeypatch.setattr(batched, "_EAGER_NUMBERS", 4096 * 64)
    counting(NativeChunk if compile == "always" else EagerChunk)
    lr = torch.full((20_000,), 1.0)  # they diverge within a few steps
    lr[::every] = 1e-5
    trace = optimize(
        get("rosenbrock"),
        (-1.2, 1.0),
        SGD(lr=lr),
        steps=steps,
        stop=Stop(gradient=1e-300),
        record="metrics",
        compile=compile,
    )
    live = int(trace.steps.sum())
    assert len(lr) / every * steps <= live
    assert live < made < 1.15 * live + 64 * len(lr)  # a first block of all
