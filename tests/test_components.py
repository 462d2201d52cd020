"""Components: ranges, stacking, lanes."""

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gradexp import initializations, stack
from gradexp.errors import UserError
from gradexp.numbers import (
    Component,
    Interval,
    Number,
    Points,
    Seed,
    batch_size,
    in_lanes,
    numbers,
    safe_sqrt,
    select,
    structure,
)
from gradexp.optimizers import SGD
from gradexp.surfaces import get


@dataclass(frozen=True)
class Nested(Component):
    inner: SGD
    corners: tuple[tuple[Number, ...], ...]
    seed: Seed
    name: str = "n"


def nested(lr: float, corner: float, seed: int) -> Nested:
    return Nested(SGD(lr=lr), ((corner, 2.0), (3.0,)), seed)


def values(number: Number) -> list[float]:
    """The numbers of a stack, run by run."""
    assert isinstance(number, Tensor)
    return [float(x) for x in number]


def test_stack_turns_every_number_into_a_column_and_keeps_the_rest() -> None:
    stacked = stack([nested(0.1, 1.0, 7), nested(0.2, 5.0, 2**62)])
    assert values(stacked.inner.lr) == [0.1, 0.2]
    assert values(stacked.corners[0][0]) == [1.0, 5.0]
    assert values(stacked.corners[1][0]) == [3.0, 3.0]
    assert isinstance(stacked.seed, Tensor)
    assert stacked.seed.dtype is torch.int64
    assert stacked.seed.tolist() == [7, 2**62]
    assert stacked.inner.nesterov is False
    assert stacked.name == "n"
    assert batch_size(stacked) == 2


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=5), st.floats(0, 0.99))
def test_select_undoes_stack(rates: list[float], momentum: float) -> None:
    runs = [SGD(lr=lr, momentum=momentum) for lr in rates]
    stacked = stack(runs)
    assert [select(stacked, index) for index in range(len(runs))] == runs


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (SGD(lr=1.0), SGD(lr=1.0, maximize=True)),
        (get("rosenbrock"), get("rosenbrock", dim=3)),
        (get("sphere"), get("plateau")),
        (initializations.Point((1.0, 2.0)), initializations.Point((1.0, 2.0, 3.0))),
    ],
)
def test_what_differs_in_structure_does_not_stack(first: Component, second: Component) -> None:
    assert structure(first) != structure(second) or type(first) is not type(second)
    with pytest.raises(ValueError, match="cannot share a batch"):
        stack([first, second])


def test_structure_forgets_the_numbers_only() -> None:
    assert structure(SGD(lr=0.1)) == structure(SGD(lr=0.2, momentum=0.5))
    assert set(numbers(SGD(lr=0.1))) == {"lr", "momentum", "dampening", "weight_decay"}


def test_a_stack_is_not_stacked_again() -> None:
    stacked = stack([SGD(lr=0.1), SGD(lr=0.2)])
    with pytest.raises(ValueError, match="a stack already"):
        stack([stacked, stacked])
    with pytest.raises(ValueError, match="nothing"):
        stack([])


def test_lanes_are_full_and_end_in_copies_of_the_last_run() -> None:
    lanes = in_lanes(stack([nested(0.1, 1.0, 7), nested(0.2, 5.0, 8)]), 2, torch.float32, _CPU)
    assert isinstance(lanes.inner.lr, Tensor)
    assert isinstance(lanes.seed, Tensor)
    assert lanes.inner.lr.dtype is torch.float32
    assert lanes.inner.lr.tolist()[0] == pytest.approx(0.1)
    assert lanes.inner.lr.tolist()[1:] == pytest.approx([0.2] * 31)
    assert lanes.seed.tolist()[:3] == [7, 8, 8]
    assert len(lanes.inner.lr) % 32 == 0


_CPU = torch.device("cpu")


def test_numbers_for_different_numbers_of_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="is for 2 runs, momentum for 3"):
        SGD(lr=torch.tensor([0.1, 0.2]), momentum=torch.zeros(3))
    with pytest.raises(ValueError, match="is for 2 runs, lr for 3"):
        batch_size(SGD(lr=torch.tensor([0.1, 0.2])), SGD(lr=torch.full((3,), 0.1)))
    with pytest.raises(ValueError, match="not \\(B,\\)"):
        SGD(lr=torch.full((2, 2), 0.1))


@pytest.mark.parametrize(
    ("interval", "inside", "outside", "text"),
    [
        (Interval(), [0.0, -1e300], [math.inf, math.nan], "a finite number"),
        (Interval(low=0.0), [5e-324], [0.0, -1.0, math.inf], "a number in (0, ∞)"),
        (Interval(0.0, 1.0, closed="left"), [0.0, 0.5], [1.0, -0.1], "a number in [0, 1)"),
        (Interval(0.0, 1.0, closed="right"), [1.0], [0.0, 1.1], "a number in (0, 1]"),
        (Interval(0.0, 1.0, closed="both"), [0.0, 1.0], [1.1], "a number in [0, 1]"),
    ],
)
def test_intervals(
    interval: Interval, inside: list[float], outside: list[float], text: str
) -> None:
    assert interval.holds(torch.tensor(inside, dtype=torch.float64))
    for value in outside:
        assert not interval.holds(torch.tensor(value, dtype=torch.float64))
        assert not interval.holds(torch.tensor([*inside, value], dtype=torch.float64))
    assert str(interval) == text


def test_one_bad_number_in_a_batch_is_a_mistake() -> None:
    with pytest.raises(UserError, match="lr"):
        SGD(lr=torch.tensor([0.1, -0.1]))
    with pytest.raises(UserError, match="nesterov"):
        SGD(lr=0.1, momentum=torch.tensor([0.9, 0.0]), nesterov=True)


def test_whole_numbers_are_taken_for_numbers_and_lists_for_tuples() -> None:
    assert SGD(lr=1) == SGD(lr=1.0)
    assert initializations.Point([1, 2]) == initializations.Point((1.0, 2.0))  # type: ignore[arg-type]


def test_safe_sqrt_is_flat_at_zero_and_a_root_elsewhere() -> None:
    x = torch.tensor([0.0, 4.0], dtype=torch.float64, requires_grad=True)
    root = safe_sqrt(x)
    torch.autograd.backward(root.sum())
    assert root.tolist() == [0.0, 2.0]
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 0.25]


@pytest.mark.parametrize("momentum", [0.9, torch.tensor([0.9], dtype=torch.float64)])
def test_rules_keep_the_precision_of_the_point(momentum: Number) -> None:
    rule = SGD(lr=0.1, momentum=momentum)
    point: Points = torch.zeros(2, 1, dtype=torch.float64)
    ones = torch.ones(2, 1, dtype=torch.float64)
    state = rule.init(point)
    for step in range(2):
        point, state = rule.update(point, ones, state, step)
    assert isinstance(state.velocity, Tensor)
    assert state.velocity[0].item() == 1.9
