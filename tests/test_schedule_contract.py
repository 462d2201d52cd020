"""Schedules in batches and in both precisions, from config files, and mistakes with them."""

import re
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from torch import Tensor

from gradexp import optimize, schedules
from gradexp.config.application import arguments_parser, compose
from gradexp.config.choices import CONF
from gradexp.config.gate.components import locate
from gradexp.errors import UserError
from gradexp.numbers import in_lanes, map_numbers, numbers, select, stack
from gradexp.optimizers import SGD, Adam, NesterovStronglyConvex
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
    SingleSchedule,
    Step,
    Together,
    WarmRestarts,
    WarmupCosine,
)
from gradexp.surfaces import get
from tests.test_schedules import ALL, BASE, STEPS

WIDTH = torch.linspace(1.0, 1.1, 32, dtype=torch.float64)


def spread(ours: Schedule, dtype: torch.dtype = torch.float64) -> tuple[Schedule, dict[str, Any]]:
    """The schedule of many runs, no two with the same numbers; and their hyperparameters."""
    runs = map_numbers(ours, lambda number, name: number * WIDTH)
    base = {name: (value * WIDTH).to(dtype) for name, value in BASE.items()}
    return in_lanes(runs, len(WIDTH), dtype, torch.device("cpu")), base


@pytest.mark.parametrize("ours", ALL, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_many_steps_at_once_are_as_one_after_the_other(ours: Schedule, dtype: torch.dtype) -> None:
    runs, base = spread(ours, dtype)
    steps = torch.arange(STEPS, dtype=dtype)
    together = runs.values(base, steps[:, None])
    alone = [runs.values(base, step) for step in steps]
    for name, values in together.items():
        assert isinstance(values, Tensor)
        assert values.dtype == dtype
        rows = torch.stack([torch.as_tensor(row[name]) for row in alone])
        assert torch.equal(values.expand(rows.shape), rows)
        assert bool(values.isfinite().all())


@pytest.mark.parametrize("ours", ALL, ids=str)
def test_a_batch_is_as_its_runs_alone(ours: Schedule) -> None:
    runs, base = spread(ours)
    steps = torch.arange(STEPS, dtype=torch.float64)[:, None]
    together = runs.values(base, steps)
    for i in (0, 13, 31):
        alone = select(runs, i).values({name: float(base[name][i]) for name in BASE}, steps)
        assert set(alone) == set(together)
        for name, value in alone.items():
            expected = torch.as_tensor(value).expand(STEPS, 1)
            column = torch.as_tensor(together[name])[..., i : i + 1].expand(STEPS, 1)
            torch.testing.assert_close(column, expected, rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("ours", ALL, ids=str)
def test_float32_is_close_and_stays_float32(ours: Schedule) -> None:
    for step in range(0, STEPS, 7):
        narrow = ours.values(BASE, torch.tensor(float(step)))
        wide = ours.values(BASE, torch.tensor(float(step), dtype=torch.float64))
        for name, value in narrow.items():
            assert isinstance(value, Tensor)
            assert value.dtype == torch.float32
            expected = pytest.approx(float(wide[name]), rel=5e-5, abs=1e-7 * BASE[name])
            assert float(value) == expected, step


STEP = torch.tensor(0.0, dtype=torch.float64)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Cosine(0.5), "T_max"),
        (lambda: Polynomial(10.0, 0.0), "power"),
        (lambda: Step(gamma=0.0), "gamma"),
        (lambda: Step(step_size=0.0), "step_size"),
        (lambda: MultiStep((3.0, 2.0)), "milestones[1]"),
        (lambda: MultiStep((torch.tensor([1.0, 3.0]), torch.tensor([2.0, 2.0]))), "milestones[1]"),
        (lambda: MultiStep(5.0), "milestones"),  # type: ignore[arg-type]
        (lambda: Piecewise((3.0,), (1.0,)), "factors"),
        (lambda: Piecewise((3.0,), (1.0, -1.0)), "factors[1]"),
        (lambda: Piecewise((3.0, 1.0), (1.0, 1.0, 1.0)), "milestones[1]"),
        (lambda: Linear(total_iters=-1.0), "total_iters"),
        (lambda: WarmupCosine(10.0, 10.0), "warmup_steps"),
        (lambda: WarmupCosine(torch.tensor([9.0, 30.0]), 10.0), "warmup_steps"),
        (lambda: InverseSquareRoot(0.0), "warmup_steps"),
        (lambda: WarmRestarts(T_mult=0.5), "T_mult"),
        (lambda: OneCycle(100.0, pct_start=1.1), "pct_start"),
        (lambda: OneCycle(100.0, pct_start=0.6, three_phase=True), "pct_start"),
        (lambda: OneCycle(100.0, anneal_strategy="exp"), "anneal_strategy"),  # type: ignore[arg-type]
        (lambda: OneCycle(100.0).values({"lr": 1.0}, STEP), "cycle_momentum"),
        (lambda: Cyclic(mode="sine"), "mode"),  # type: ignore[arg-type]
        (lambda: Cyclic(step_size_up=0.0), "step_size_up"),
        (lambda: Cyclic(step_size_down=0.0), "step_size_down"),
        (lambda: Cyclic().values({"lr": 1.0}, STEP), "cycle_momentum"),
        (lambda: Together(Constant(), 3.0), "second"),  # type: ignore[arg-type]
        (lambda: Together(Step(), Exponential()).values(BASE, STEP), "second"),
        (lambda: Together(Step(), OneCycle(9.0)).values(BASE, STEP), "second"),
        (lambda: Together(Step(of="rho"), Constant()).values(BASE, STEP), "first.of"),
        (lambda: Linear(of="learning_rate").values(BASE, STEP), "of"),
    ],
)
def test_a_mistake_names_its_key(make: Callable[[], object], key: str) -> None:
    with pytest.raises(UserError) as caught:
        make()
    assert caught.value.key == key


def test_two_schedules_of_one_hyperparameter_are_refused_with_a_reason() -> None:
    with pytest.raises(
        UserError, match="second=exponential: both schedules set lr; choose another"
    ):
        Together(Step(), Exponential()).values(BASE, STEP)


def test_a_cyclic_schedule_without_steps_down_has_as_many_as_up() -> None:
    assert Cyclic(step_size_up=7.0) == Cyclic(step_size_up=7.0, step_size_down=7.0)
    both = stack([Cyclic(step_size_up=7.0), Cyclic(step_size_up=9.0, step_size_down=2.0)])
    assert numbers(both)["step_size_down"].tolist() == [7.0, 2.0]


def composed(*overrides: str) -> Any:
    """The schedule of a config, as plain values."""
    config = compose(arguments_parser("gradexp run").parse_args(overrides))
    return OmegaConf.to_container(config, resolve=True)["schedule"]  # type: ignore[call-overload, index]


def built(settings: Any) -> Any:
    """What a config's values make."""
    if not isinstance(settings, dict):
        return settings
    cls = locate("_target_", settings["_target_"])
    return cls(**{key: built(value) for key, value in settings.items() if key != "_target_"})


NAMES = sorted(path.stem for path in (CONF / "schedule").glob("*.yaml"))


def test_every_schedule_has_a_config_file() -> None:
    classes = [getattr(schedules, name) for name in schedules.__all__]
    assert sorted(cls.label() for cls in classes if cls not in (Schedule, SingleSchedule)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_choice_is_tested_above_and_has_the_defaults_of_its_class(name: str) -> None:
    ours = built(composed(f"schedule={name}", "steps=300"))
    assert ours.label() == name
    assert type(ours) in [type(one) for one in ALL]
    for field in fields(ours):
        if field.default not in (MISSING, None):
            assert getattr(ours, field.name) == field.default
    text = yaml.safe_load((CONF / "schedule" / f"{name}.yaml").read_text())
    whole = {"T_max", "total_iters", "total_steps"}
    assert {key for key, value in text.items() if value == "${steps}"} == {
        field.name for field in fields(ours) if field.default is MISSING and field.name in whole
    }
    assert set(ours.values(BASE, STEP)) <= set(BASE)


def test_the_parts_of_two_together_are_chosen_in_the_config() -> None:
    chosen = ["schedule=together", "schedule@schedule.first=cosine", "steps=70"]
    ours = built(composed(*chosen, "schedule.first.eta_min=0.1", "schedule.second.total_iters=9"))
    assert ours == Together(Cosine(70.0, 0.1), Linear(total_iters=9.0, of="momentum"))
    chosen = ["schedule=together", "schedule@schedule.second=step"]
    ours = built(composed(*chosen, "schedule.second.of='betas[1]'"))
    assert ours.second == Step(of="betas[1]")


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("rule", "schedule", "reason"),
    [
        (
            lambda some: NesterovStronglyConvex(lr=some([1e-3, 0.9])),
            Cyclic(max_factor=4.0, cycle_momentum=False),
            "at step 100 strong_convexity=1.0 must be at most 1 / lr",
        ),
        (
            lambda some: SGD(1e-3, momentum=some([0.5, 0.9])),
            Piecewise((100.0,), (1.0, 1.5), of="momentum"),
            "momentum=1.35 must be a number in",
        ),
    ],
)
def test_what_a_schedule_makes_of_any_run_of_a_batch_is_looked_at(
    rule: Any, schedule: Schedule, reason: str, turned: bool
) -> None:
    def some(numbers: list[float]) -> Tensor:
        spread = torch.full((5_000,), numbers[0], dtype=torch.float64)
        spread[0 if turned else 3_333] = numbers[1]
        return spread

    with pytest.raises(UserError, match=re.escape(reason)):
        optimize(get("sphere"), (1.0, 1.0), rule(some), steps=300, schedule=schedule)


def test_numbers_are_checked_in_the_precision_of_the_runs() -> None:
    near = Adam(betas=(0.9, torch.tensor([0.9, 1 - 1e-9], dtype=torch.float64)))
    optimize(get("sphere"), (1.0, 1.0), near, steps=3)
    with pytest.raises(UserError, match=r"optimizer\.betas\[1\].*\[0, 1\), in float32"):
        optimize(get("sphere"), (1.0, 1.0), near, steps=3, dtype="float32")
