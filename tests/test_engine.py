"""The engine: recording, stopping, batches; against closed forms and the reference engine."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from gradexp import optimize
from gradexp.engine import Batched, End, Record, Reference, Stop
from gradexp.errors import UserError
from gradexp.noises import Gaussian
from gradexp.numbers import normals_of_step
from gradexp.numbers.philox import Stream
from gradexp.optimizers import SGD
from gradexp.schedules import Exponential, Schedule
from gradexp.surfaces import get, names
from tests.conftest import Undecorated, same

NEVER = Stop(gradient=1e-300)


def recorded(part: Tensor | None) -> Tensor:
    assert part is not None
    return part


@pytest.mark.parametrize(
    ("steps", "points", "expected"),
    [
        (10, 11, list(range(11))),
        (10, 100, list(range(11))),
        (10, 6, [0, 2, 4, 6, 8, 10]),
        (10, 5, [0, 3, 6, 9, 10]),
        (10, 2, [0, 10]),
        (11, 2, [0, 11]),
        (1, 2, [0, 1]),
    ],
)
def test_recorded_steps_are_even_and_hold_first_and_last(
    steps: int, points: int, expected: list[int]
) -> None:
    record = Record(points=points)
    trace = optimize(get("quadratic"), (1.0, 1.0), SGD(lr=1e-3), steps=steps, record=record)
    assert trace.step.tolist() == expected
    assert recorded(trace.point).shape == (len(expected), 2, 1)
    assert len(expected) <= max(points, 2)
    full = optimize(get("quadratic"), (1.0, 1.0), SGD(lr=1e-3), steps=steps)
    assert torch.equal(recorded(trace.loss), recorded(full.loss)[trace.step])


@pytest.mark.parametrize("what", ["trace", "loss", "metrics"])
def test_only_what_is_asked_for_is_kept_and_the_ends_are_the_same(
    what: Literal["trace", "loss", "metrics"],
) -> None:
    surface, optimizer = get("himmelblau"), SGD(lr=torch.tensor([0.01, 0.2]))
    full = optimize(surface, (1.0, 1.0), optimizer, steps=100)
    trace = optimize(surface, (1.0, 1.0), optimizer, steps=100, record=what)
    assert (trace.loss is None) == (what == "metrics")
    assert (trace.point is None) == (trace.gradient_norm is None) == (what != "trace")
    for name in ("end", "steps", "final_loss", "final_point", "best_loss", "best_step"):
        assert torch.equal(getattr(trace, name), getattr(full, name))


def test_gradient_descent_on_a_quadratic_is_its_closed_form() -> None:
    surface = get("quadratic", dim=5, condition_number=100.0)
    eigenvalues = torch.tensor([100.0 ** (i / 4) for i in range(5)], dtype=torch.float64)
    start = torch.tensor([1.0, -2.0, 3.0, -4.0, 5.0], dtype=torch.float64)
    trace = optimize(surface, start, SGD(lr=0.015), steps=100, stop=NEVER)
    factors = (1 - 0.015 * eigenvalues)[None] ** torch.arange(101)[:, None]
    torch.testing.assert_close(
        recorded(trace.point)[:, :, 0], start * factors, rtol=1e-12, atol=1e-300
    )


@pytest.mark.parametrize(("lr", "momentum"), [(0.01, 0.9), (0.03, 0.5), (0.002, 0.99)])
def test_heavy_ball_contracts_at_the_spectral_radius(lr: float, momentum: float) -> None:
    eigenvalues = [1.0, 10.0, 100.0]
    surface = get("quadratic", dim=3, condition_number=100.0)
    trace = optimize(surface, (1.0, 1.0, 1.0), SGD(lr, momentum), steps=3000, stop=NEVER)
    radius = max(
        float(torch.linalg.eigvals(_heavy_ball(lr, momentum, value)).abs().max())
        for value in eigenvalues
    )
    length = recorded(trace.point)[:, :, 0].norm(dim=1)
    late = length > 1e-250
    steps = torch.arange(3001)[late][500:]
    logs = length[late][500:].log()
    slope = float(((logs - logs.mean()) * (steps - steps.double().mean())).sum())
    slope /= float((steps - steps.double().mean()).square().sum())
    assert math.exp(slope) == pytest.approx(radius, rel=1e-3)


def _heavy_ball(lr: float, momentum: float, eigenvalue: float) -> Tensor:
    rows = [[momentum, eigenvalue], [-lr * momentum, 1 - lr * eigenvalue]]
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("engine", [Batched(), Reference()])
def test_the_schedule_sets_the_learning_rate_of_each_step(engine: Batched | Reference) -> None:
    surface, start = get("himmelblau"), (1.0, 1.0)
    schedule = Exponential(gamma=0.9)
    sgd = SGD(lr=0.01, momentum=0.5)
    trace = optimize(surface, start, sgd, steps=50, schedule=schedule, engine=engine)
    parameter = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], lr=0.01, momentum=0.5)
    theirs = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
    for _ in range(50):
        optimizer.zero_grad()
        torch.autograd.backward(surface.value(parameter))
        optimizer.step()
        theirs.step()
    torch.testing.assert_close(trace.final_point[:, 0], parameter.detach(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("engine", [Batched(), Reference()])
def test_the_noise_is_that_of_its_seed_and_step(engine: Batched | Reference) -> None:
    # On a sphere with lr 1, x' = x - (2x + noise), so the noise can be read off the trace.
    noise = Gaussian(std=0.3, seed=5)
    trace = optimize(
        get("sphere"), (1.0, -1.0), SGD(lr=1.0), steps=400, noise=noise, stop=NEVER, engine=engine
    )
    path = recorded(trace.point)[:, :, 0]
    drawn = -(path[1:] + path[:-1]) / 0.3
    seeds = torch.full((400,), 5)
    expected = normals_of_step(seeds, Stream.NOISE, 2, torch.arange(400), torch.float64).T
    torch.testing.assert_close(drawn, expected, rtol=1e-9, atol=1e-9)
    assert float(drawn.std()) == pytest.approx(1.0, rel=0.1)
    assert abs(float(torch.corrcoef(drawn.T)[0, 1])) < 0.2
    assert abs(float((drawn[1:] * drawn[:-1]).mean())) < 0.2


def test_what_is_not_finite_has_diverged_even_where_the_limit_is_not() -> None:
    stop = Stop(divergence=1e300)
    trace = optimize(get("sphere"), (1.0, 1.0), SGD(lr=1e10), steps=50, stop=stop, dtype="float32")
    assert End(int(trace.end[0])) is End.DIVERGED
    assert not bool(trace.final_loss.isfinite())


def test_a_stopped_run_stays_exactly_where_it_stopped() -> None:
    rates = torch.tensor([0.4, 1e-4, 3.0])  # stops soon, never, diverges
    stop = Stop(gradient=1e-6, divergence=1e6)
    trace = optimize(get("sphere"), (3.0, 4.0), SGD(lr=rates), steps=200, stop=stop)
    assert [End(end) for end in trace.end.tolist()] == [End.STATIONARY, End.BUDGET, End.DIVERGED]
    norms, losses = recorded(trace.gradient_norm), recorded(trace.loss)
    for run in (0, 2):
        made = int(trace.steps[run])
        assert 0 < made < 200
        rest = recorded(trace.point)[made:, :, run]
        assert bool((rest == rest[0]).all())
        assert bool((recorded(trace.point)[made - 1, :, run] != rest[0]).any())
    stopped = int(trace.steps[0])
    assert float(norms[stopped, 0]) < 1e-6 <= float(norms[stopped - 1, 0])
    diverged = int(trace.steps[2])
    assert float(losses[diverged, 2]) > 1e6 >= float(losses[diverged - 1, 2])
    assert int(trace.steps[1]) == 200
    cut = trace.run(0)
    assert cut.step.tolist() == list(range(stopped + 1))
    assert cut.point is not None
    assert torch.equal(cut.point[-1], trace.final_point[:, 0])


def test_the_trace_of_a_run_ends_where_it_ended_even_between_recorded_steps() -> None:
    stop, record = Stop(gradient=1e-6), Record(points=11)
    trace = optimize(get("sphere"), (3.0, 4.0), SGD(lr=0.4), steps=100, stop=stop, record=record)
    made = int(trace.steps[0])
    assert made % 10
    run = trace.run(0)
    assert run.step.tolist() == [*range(0, made, 10), made]
    assert run.loss is not None
    assert float(run.loss[-1]) == float(trace.final_loss[0])


@pytest.mark.parametrize("compile", ["never", "always"])
def test_a_batch_whose_runs_have_all_ended_is_not_run_on(
    compile: Literal["never", "always"],
) -> None:
    told: list[int] = []
    trace = optimize(
        get("sphere"),
        (3.0, 4.0),
        SGD(lr=0.5),
        steps=10**9,
        record="metrics",
        compile=compile,
        progress=told.append,
    )
    assert int(trace.steps[0]) == 2  # of which the second is none
    assert len(told) == 1  # block


def test_metrics_are_those_of_the_full_trace() -> None:
    tolerances = (1.0, 1e-3, 1e-9)
    optimizer = SGD(lr=torch.tensor([0.01, 0.015, 1e-3]), momentum=torch.tensor([0.9, 0.95, 0.0]))
    record = Record(tolerances=tolerances)
    trace = optimize(get("himmelblau"), (1.0, 1.0), optimizer, steps=300, record=record)
    losses, norms = recorded(trace.loss), recorded(trace.gradient_norm)
    assert torch.equal(trace.best_loss, losses.min(dim=0).values)
    assert torch.equal(trace.best_step, losses.argmin(dim=0))
    for row, tolerance in enumerate(tolerances):
        for steps, distance in ((trace.gap_steps, losses), (trace.gradient_steps, norms)):
            for run in range(3):
                below = (distance[:, run] <= tolerance).nonzero()
                expected = int(below[0]) if len(below) else -1
                assert int(recorded(steps)[row, run]) == expected


def test_the_gap_is_unknown_where_the_minimum_is() -> None:
    record = Record(tolerances=(1e-3,))
    trace = optimize(get("hyperbolic"), (1.0, 0.1), SGD(lr=0.1), steps=5, record=record)
    assert trace.gap_steps is None


@pytest.mark.parametrize("name", names())
def test_both_engines_agree(name: str) -> None:
    surface = get(name)
    optimizer = SGD(lr=torch.tensor([1e-4, 1e-3]), momentum=0.5, weight_decay=1e-3)
    noise = Gaussian(std=0.01, seed=torch.tensor([3, 4]))
    traces = [
        optimize(surface, surface.start, optimizer, steps=20, noise=noise, engine=engine)
        for engine in (None, Reference())
    ]
    ours, theirs = (trace.final_point for trace in traces)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    assert torch.equal(traces[0].steps, traces[1].steps)
    assert torch.equal(traces[0].end, traces[1].end)


def test_starts_and_numbers_may_each_be_one_or_many() -> None:
    many = optimize(get("sphere"), torch.ones(2, 5), SGD(lr=0.1), steps=3)
    assert many.final_point.shape == (2, 5)
    mixed = optimize(
        get("quadratic", condition_number=torch.tensor([1.0, 9.0])),
        (1.0, torch.tensor([1.0, 2.0])),
        SGD(lr=0.1),
        steps=3,
    )
    assert mixed.final_point.shape == (2, 2)
    scalar = optimize(get("sphere"), (1.0, 1.0), SGD(lr=torch.tensor(0.1)), steps=3)
    assert repr(scalar) == "Trace(1 runs, 4 recorded steps of loss, gradient_norm, point)"
    with pytest.raises(ValueError, match="5 starts, but numbers for 2 runs"):
        optimize(get("sphere"), torch.ones(2, 5), SGD(lr=torch.tensor([0.1, 0.2])), steps=3)


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": True}, "steps"),
        ({"start": (1.0,)}, "start"),
        ({"start": (1.0, math.nan)}, "start"),
        ({"start": torch.ones(2, 3, 2)}, "start"),
        ({"start": torch.ones(2, 0)}, "start"),
        ({"dtype": "float16"}, "dtype"),
        ({"device": "tpu"}, "device"),
        ({"record": "all"}, "record"),
        ({"steps": 2**31}, "steps"),
        ({"steps": 2.0}, "steps"),
        ({"steps": 10**9, "record": Record(points=10**9), "start": torch.ones(2, 1000)}, "record"),
        ({"start": 1.0}, "start"),
        ({"start": None}, "start"),
        ({"start": "ab"}, "start"),
        ({"start": (10**400, 1.0)}, "start"),
        ({"start": (torch.ones(2, 2), 1.0)}, "start"),
        ({"start": torch.ones(2, dtype=torch.complex64)}, "start"),
        ({"start": (1e300, 1.0), "dtype": "float32"}, "start"),
        ({"device": None}, "device"),
        ({"engine": "batched"}, "engine"),
        ({"optimizer": SGD}, "optimizer"),
        ({"optimizer": "sgd"}, "optimizer"),
        ({"surface": "sphere"}, "surface"),
        ({"surface": Undecorated()}, "surface"),
        ({"schedule": 0.1}, "schedule"),
        ({"noise": 0.1}, "noise"),
        ({"stop": {"gradient": 1.0}}, "stop"),
        ({"compile": "sometimes"}, "compile"),
    ],
)
def test_mistakes(arguments: dict[str, object], key: str) -> None:
    given: dict[str, Any] = {
        "surface": get("sphere"),
        "start": (1.0, 1.0),
        "optimizer": SGD(lr=0.1),
        "steps": 1,
        **arguments,
    }
    with pytest.raises(UserError) as caught:
        optimize(**given)
    assert caught.value.key == key
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lr", [0.1, np.float32(0.1), 1, np.int64(1), Fraction(1, 10)])
def test_any_real_number_is_a_number(lr: Any) -> None:
    assert SGD(lr=lr).lr == float(lr)
    assert type(SGD(lr=lr).lr) is float


def test_arrays_and_tensors_with_gradients_are_numbers_of_a_batch() -> None:
    rates = torch.tensor([0.1, 0.2], dtype=torch.float64)
    start = torch.ones(2, dtype=torch.float64)
    given: list[tuple[Any, Any]] = [
        (start, rates),
        (start.numpy(), rates.numpy()),
        (start.clone().requires_grad_(), rates.clone().requires_grad_()),
    ]
    steps: Any = np.int64(3)
    one, array, graph = (
        optimize(get("sphere"), at, SGD(lr=lr), steps=steps, device=torch.device("cpu"))
        for at, lr in given
    )
    assert same(one.loss, array.loss)
    assert same(one.loss, graph.loss)
    assert not graph.final_point.requires_grad


@pytest.mark.parametrize(
    "lr",
    [
        np.array([0.1, -0.1] * 500),
        torch.tensor([0.1j]),
        torch.tensor([1.0, 2.0]).to_sparse(),
        np.array(["fast"]),
        np.bool_(True),
        [0.1, 0.2],
        0.1j,
    ],
)
def test_what_is_no_number_is_a_mistake_in_one_line(lr: Any) -> None:
    with pytest.raises(UserError, match=r"^lr=.*: must be a number in [^\n]*$") as caught:
        SGD(lr=lr)
    assert len(str(caught.value)) < 150


def test_what_a_schedule_of_ones_own_names_must_be_there() -> None:
    @dataclass(frozen=True)
    class Misspelt(Schedule):
        def values(self, base: Any, step: Tensor) -> Any:
            return {"learning_rate": step}

    with pytest.raises(UserError, match="schedule=learning_rate: is not a number of the optimizer"):
        optimize(get("sphere"), (1.0, 1.0), SGD(0.1), steps=1, schedule=Misspelt())
