"""Schedules against ``torch.optim.lr_scheduler`` and their formulas."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.optim import lr_scheduler

from gradexp.schedules import (
    Constant,
    Cosine,
    Cyclic,
    Exponential,
    InverseSquareRoot,
    Linear,
    MultiStep,
    OneCycle,
    Piecewise,
    Polynomial,
    Schedule,
    Step,
    Together,
    WarmRestarts,
    WarmupCosine,
)

LR = 0.3
BASE = {"lr": LR, "momentum": 0.9}
STEPS = 400
Scheduler = Callable[[torch.optim.Optimizer], Any]


class Case(NamedTuple):
    """A schedule, and torch's of the same options."""

    ours: Schedule
    theirs: Scheduler
    steps: int = STEPS
    """as many as torch's is defined for"""


def torch_schedule(name: str, **options: Any) -> Scheduler:
    return lambda optimizer: getattr(lr_scheduler, name)(optimizer, **options)


def twin(ours: type[Schedule], name: str, **options: Any) -> Case:
    return Case(ours(**options), torch_schedule(name, **options))


def warmup_cosine(total: int, warmup: int, start: float, eta_min: float) -> Case:
    def theirs(optimizer: torch.optim.Optimizer) -> Any:
        ramp = lr_scheduler.LinearLR(optimizer, start, total_iters=warmup)
        wave = lr_scheduler.CosineAnnealingLR(optimizer, total - warmup, eta_min)
        return lr_scheduler.SequentialLR(optimizer, [ramp, wave], [warmup])

    return Case(WarmupCosine(total, warmup, start, eta_min), theirs, total + 1)


def one_cycle(total_steps: int, **options: Any) -> Case:
    theirs = torch_schedule("OneCycleLR", max_lr=LR, total_steps=total_steps, **options)
    return Case(OneCycle(total_steps, **options), theirs, total_steps)


def cyclic(max_factor: float, **options: Any) -> Case:
    theirs = torch_schedule("CyclicLR", base_lr=LR, max_lr=LR * max_factor, **options)
    return Case(Cyclic(max_factor, **options), theirs)


def constant_factor(factor: float, total_iters: int) -> Case:
    theirs = torch_schedule("ConstantLR", factor=factor, total_iters=total_iters)
    return Case(Piecewise((total_iters,), (factor, 1.0)), theirs)


TWINS = [
    Case(Constant(), torch_schedule("ConstantLR", factor=1.0)),
    twin(Exponential, "ExponentialLR", gamma=0.97),
    twin(Exponential, "ExponentialLR", gamma=1.01),
    twin(Step, "StepLR", step_size=30, gamma=0.5),
    twin(Step, "StepLR", step_size=1, gamma=0.99),
    twin(Step, "StepLR", step_size=100, gamma=2.0),
    twin(Step, "StepLR", step_size=1000),
    twin(MultiStep, "MultiStepLR", milestones=(50, 51, 200), gamma=0.3),
    twin(MultiStep, "MultiStepLR", milestones=(0, 70, 70, 300)),
    twin(MultiStep, "MultiStepLR", milestones=()),
    twin(Polynomial, "PolynomialLR", total_iters=300, power=0.9),
    twin(Polynomial, "PolynomialLR", total_iters=390, power=2.0),
    twin(Polynomial, "PolynomialLR", total_iters=1000),
    twin(Linear, "LinearLR", start_factor=0.05, end_factor=1.0, total_iters=40),
    twin(Linear, "LinearLR", start_factor=1.0, end_factor=0.01, total_iters=350),
    twin(Linear, "LinearLR", start_factor=1 / 3, end_factor=0.9, total_iters=5),
    twin(Cosine, "CosineAnnealingLR", T_max=300),
    twin(Cosine, "CosineAnnealingLR", T_max=50, eta_min=0.01),
    twin(Cosine, "CosineAnnealingLR", T_max=1000, eta_min=1e-3),
    twin(WarmRestarts, "CosineAnnealingWarmRestarts", T_0=50),
    twin(WarmRestarts, "CosineAnnealingWarmRestarts", T_0=7, T_mult=2, eta_min=1e-3),
    twin(WarmRestarts, "CosineAnnealingWarmRestarts", T_0=1, T_mult=3),
    twin(WarmRestarts, "CosineAnnealingWarmRestarts", T_0=1, T_mult=1),
    twin(WarmRestarts, "CosineAnnealingWarmRestarts", T_0=10, T_mult=7, eta_min=0.1),
    warmup_cosine(300, 30, 0.1, 0.0),
    warmup_cosine(350, 1, 0.5, 1e-3),
    warmup_cosine(400, 399, 1e-3, 0.02),
    one_cycle(300),
    one_cycle(301, pct_start=0.25, anneal_strategy="linear"),
    one_cycle(400, three_phase=True, div_factor=10.0, final_div_factor=100.0),
    one_cycle(333, three_phase=True, anneal_strategy="linear", pct_start=0.5),
    one_cycle(300, pct_start=0.0, base_momentum=0.7, max_momentum=0.99),
    one_cycle(300, pct_start=0.001, three_phase=True),
    one_cycle(300, pct_start=1.0),
    one_cycle(300, cycle_momentum=False),
    cyclic(4.0, step_size_up=20),
    cyclic(10.0, step_size_up=13, step_size_down=40, base_momentum=0.5, max_momentum=0.95),
    cyclic(3.0, step_size_up=30, mode="triangular2"),
    cyclic(0.5, step_size_up=30, step_size_down=7, mode="exp_range", gamma=0.99),
    cyclic(1.5, step_size_up=30, mode="exp_range", gamma=1.002),
    cyclic(2.0, step_size_up=1, step_size_down=1, cycle_momentum=False),
    constant_factor(0.25, 40),
    constant_factor(1 / 3, 5),
]
OTHERS = [
    InverseSquareRoot(40.0),
    Piecewise((30.0, 30.0, 200.0), (0.1, 2.0, 1.0, 0.0)),
    Together(WarmupCosine(300.0), Linear(0.5, 1.0, 200.0, of="momentum")),
]
"""What torch has no schedule of."""
ALL = [case.ours for case in TWINS] + OTHERS


def at(ours: Schedule, name: str, steps: int = STEPS, base: Any = BASE) -> Tensor:
    """A hyperparameter at the first steps, ``(steps,)`` or ``(steps, B)``, step by step."""
    rows = []
    for step in range(steps):
        values = ours.values(base, torch.tensor(float(step), dtype=torch.float64))
        rows.append(torch.as_tensor(values.get(name, base[name]), dtype=torch.float64))
    return torch.stack(rows)


def of_torch(
    theirs: Scheduler, steps: int, momentum: str = "momentum"
) -> tuple[list[float], list[float]]:
    """The learning rate and the momentum that torch's schedule gives a real optimizer."""
    parameter = torch.zeros(1, requires_grad=True)
    optimizer: torch.optim.Optimizer
    if momentum == "momentum":
        optimizer = torch.optim.SGD([parameter], lr=LR, momentum=0.9)
    else:
        optimizer = torch.optim.Adam([parameter], lr=LR, betas=(0.9, 0.999))
    schedule = theirs(optimizer)
    rates, momenta = [], []
    for step in range(steps):
        if step:
            optimizer.step()
            schedule.step()
        (group,) = optimizer.param_groups
        rates.append(group["lr"])
        momenta.append(group["momentum"] if momentum == "momentum" else group["betas"][0])
    return rates, momenta


def assert_equal(ours: Tensor, theirs: list[float], scale: float, rtol: float = 1e-12) -> None:
    expected = torch.tensor(theirs, dtype=torch.float64)
    torch.testing.assert_close(ours, expected, rtol=rtol, atol=1e-15 * scale)


@pytest.mark.parametrize("case", TWINS, ids=lambda case: str(case.ours))
def test_a_schedule_is_that_of_torch_step_by_step(case: Case) -> None:
    rates, momenta = of_torch(case.theirs, case.steps)
    assert case.steps >= 300
    assert_equal(at(case.ours, "lr", case.steps), rates, LR)
    assert_equal(at(case.ours, "momentum", case.steps), momenta, 1.0)


@pytest.mark.parametrize(
    "case", [c for c in TWINS if isinstance(c.ours, Cyclic | OneCycle)], ids=lambda c: str(c.ours)
)
def test_of_adam_the_momentum_is_the_first_beta(case: Case) -> None:
    rates, momenta = of_torch(case.theirs, case.steps, "betas[0]")
    base = {"lr": LR, "betas[0]": 0.9, "betas[1]": 0.999}
    assert_equal(at(case.ours, "lr", case.steps, base), rates, LR)
    assert_equal(at(case.ours, "betas[0]", case.steps, base), momenta, 1.0)


@pytest.mark.parametrize("case", [c for c in TWINS if isinstance(c.ours, OneCycle | WarmupCosine)])
def test_what_ends_keeps_its_last_value(case: Case) -> None:
    for name in BASE:
        values = at(case.ours, name, case.steps + 100)
        assert bool((values[case.steps :] == values[case.steps - 1]).all())


def cycles(first: int, ratio: str, steps: int) -> list[tuple[Fraction, Fraction]]:
    """Where the cycles of warm restarts begin, and how long they are."""
    found = [(Fraction(), Fraction(first))]
    while sum(found[-1]) < steps:
        begin, length = found[-1]
        found.append((begin + length, length * Fraction(ratio)))
    return found


@pytest.mark.parametrize("first", [1, 3, 10, 33])
@pytest.mark.parametrize("ratio", ["1", "1.01", "1.5", "2", "3", "10"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_restarts_are_at_their_steps(first: int, ratio: str, dtype: torch.dtype) -> None:
    begins = [begin for begin, _ in cycles(first, ratio, 20_000) if begin.denominator == 1]
    steps = torch.tensor([int(begin) for begin in begins], dtype=dtype)
    assert WarmRestarts(first, float(ratio)).value(LR, steps).tolist() == [
        pytest.approx(LR, rel=1e-12 if dtype == torch.float64 else 1e-6)
    ] * len(steps)


@pytest.mark.parametrize(("first", "ratio"), [(10, "1.3"), (33, "1.01"), (2, "2.5"), (10, "2")])
def test_between_restarts_there_is_half_a_wave(first: int, ratio: str) -> None:
    steps, share = 2000, []
    for begin, length in cycles(first, ratio, steps):
        inside = range(math.ceil(begin), min(math.ceil(begin + length), steps))
        share += [float((step - begin) / length) for step in inside]
    expected = [LR * (1 + math.cos(math.pi * x)) / 2 for x in share]
    assert len(expected) == steps
    # 1 / (m - 1) takes digits; what is near 0 at a cycle's end shows it.
    assert_equal(at(WarmRestarts(first, float(ratio)), "lr", steps), expected, LR, rtol=1e-10)


def test_the_inverse_square_root_is_that_of_its_source() -> None:
    width, warmup = 512, 40
    ours = at(InverseSquareRoot(float(warmup)), "lr", base={**BASE, "lr": (width * warmup) ** -0.5})
    for step, value in enumerate(ours.tolist(), start=1):
        source = width**-0.5 * min(step**-0.5, step * warmup**-1.5)
        assert value == pytest.approx(source, rel=1e-12)
    assert int(ours.argmax()) == warmup - 1


def test_piecewise_has_one_factor_after_the_other() -> None:
    values = at(Piecewise((2.0, 3.0, 5.0), (0.1, 2.0, 1.0, 0.0)), "lr", 7)
    assert (values / LR).tolist() == pytest.approx([0.1, 0.1, 2, 1, 1, 0, 0])


def test_a_warm_up_may_have_no_steps() -> None:
    assert bool((at(Linear(0.1, 0.5, 0.0), "lr") == 0.5 * LR).all())
    assert torch.equal(at(WarmupCosine(300.0, 0.0), "lr", 300), at(Cosine(300.0), "lr", 300))
    assert bool((at(InverseSquareRoot(1.0), "lr").diff() < 0).all())


def test_together_both_are_as_alone() -> None:
    first, second = Cosine(100.0), Linear(0.5, 1.0, 30.0, of="momentum")
    both = Together(first, second)
    assert torch.equal(at(both, "lr"), at(first, "lr"))
    assert torch.equal(at(both, "momentum"), at(second, "momentum"))


def test_any_number_of_an_optimizer_may_change() -> None:
    step = torch.tensor(3.0, dtype=torch.float64)
    changed = Exponential(0.5, of="betas[1]").values({"lr": 1.0, "betas[1]": 0.8}, step)
    assert changed == {"betas[1]": pytest.approx(0.1)}
    changed = Exponential(0.5, of="momentum").values({"lr": 1.0, "betas[0]": 0.8}, step)
    assert changed == {"betas[0]": pytest.approx(0.1)}
