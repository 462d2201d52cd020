"""Every option of every rule that torch.optim has against torch.optim's own class, and what holds
for all rules."""

import inspect
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import pytest
import torch
from torch import Tensor

from gradexp import optimizers
from gradexp.errors import UserError
from gradexp.numbers import LANES, in_lanes, map_numbers, stack
from gradexp.optimizers import (
    ASGD,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    HeavyBall,
    Lion,
    NAdam,
    Nesterov,
    NesterovStronglyConvex,
    Optimizer,
    Polyak,
    RAdam,
    RMSprop,
    Rprop,
)
from gradexp.surfaces import Surface, get, value_and_gradient

STEPS = 100
EXACT = 1e-12

RASTRIGIN = get("rastrigin")
"""Its waves hold a run in a bowl, or uphill under a crest."""
PLACES: list[tuple[Surface, tuple[float, ...]]] = [
    (RASTRIGIN, (3.3, -2.4)),
    (get("himmelblau"), (-1.3, 2.2)),
    (get("quadratic", dim=3, angle=0.3), (4.5, -3.2, 2.1)),
]


@dataclass(frozen=True)
class Grid:
    """All settings of a rule that are run."""

    rule: type[Optimizer]
    lr: float
    numbers: dict[str, tuple[Any, ...]]
    """the values of each option that is a number; its runs share a batch"""
    structure: dict[str, tuple[bool, ...]] = field(default_factory=dict)
    """the values of each other option"""
    allowed: Callable[[dict[str, Any]], bool] = lambda options: True
    """whether torch takes these together"""

    @property
    def twin(self) -> Any:
        return getattr(torch.optim, self.rule.__name__)

    def structures(self) -> Iterator[dict[str, bool]]:
        for values in itertools.product(*self.structure.values(), (False, True)):
            yield dict(zip((*self.structure, "maximize"), values, strict=True))

    def settings(self, structure: dict[str, bool]) -> list[dict[str, Any]]:
        """The options of each run of a batch; no two have the same learning rate."""
        crossed = itertools.product(*self.numbers.values())
        every = [dict(zip(self.numbers, values, strict=True)) | structure for values in crossed]
        runs = [options for options in every if self.allowed(options)]
        return [{"lr": self.lr * (1 - 0.5 * i / len(runs)), **run} for i, run in enumerate(runs)]


BETAS = ((0.9, 0.999), (0.8, 0.99))
EPS = (1e-8, 0.1)
DECAY = (0.0, 0.3)
SWITCH = (False, True)
GRIDS = [
    Grid(
        SGD,
        1e-3,
        {"momentum": (0.0, 0.5, 0.95), "dampening": (0.0, 0.3, -0.5), "weight_decay": (0.0, 0.5)},
        {"nesterov": SWITCH},
        lambda run: not run["nesterov"] or (run["momentum"] > 0 and run["dampening"] == 0),
    ),
    Grid(
        Adam,
        1e-3,
        {"betas": BETAS, "eps": EPS, "weight_decay": DECAY},
        {"amsgrad": SWITCH, "decoupled_weight_decay": SWITCH},
    ),
    Grid(
        AdamW,
        1e-3,
        {"betas": BETAS, "eps": (1e-8, 0.1), "weight_decay": (0.01, 0.3)},
        {"amsgrad": SWITCH},
    ),
    Grid(
        NAdam,
        1e-3,
        {"betas": BETAS, "eps": EPS, "weight_decay": DECAY, "momentum_decay": (4e-3, 0.0)},
        {"decoupled_weight_decay": SWITCH},
    ),
    Grid(
        RAdam,
        1e-3,
        {"betas": (*BETAS, (0.9, 0.5)), "eps": EPS, "weight_decay": DECAY},
        {"decoupled_weight_decay": SWITCH},
    ),
    Grid(Adamax, 1e-3, {"betas": BETAS, "eps": EPS, "weight_decay": DECAY}),
    Grid(
        Adagrad,
        1e-2,
        {
            "lr_decay": (0.0, 0.05),
            "weight_decay": DECAY,
            "initial_accumulator_value": (0.0, 0.5),
            "eps": (1e-10, 0.1),
        },
    ),
    Grid(Adadelta, 1.0, {"rho": (0.9, 0.5), "eps": (1e-6, 1e-7), "weight_decay": (0.0, 0.3)}),
    Grid(
        RMSprop,
        1e-4,
        {"alpha": (0.99, 0.95), "eps": EPS, "weight_decay": DECAY, "momentum": (0.0, 0.8)},
        {"centered": SWITCH},
    ),
    Grid(
        Rprop, 1e-2, {"etas": ((0.5, 1.2), (0.3, 1.1)), "step_sizes": ((1e-6, 50.0), (1e-3, 0.02))}
    ),
    Grid(
        ASGD,
        1e-3,
        {"lambd": (1e-4, 0.1), "alpha": (0.75, 0.4), "t0": (1e6, 20.0, 0.0), "weight_decay": DECAY},
    ),
]
CASES = [
    pytest.param(
        grid, structure, id=f"{grid.rule.__name__}-{'-'.join(k for k in structure if structure[k])}"
    )
    for grid in GRIDS
    for structure in grid.structures()
]


@contextmanager
def torch_in_double() -> Iterator[None]:
    """torch's classes keep scalars of their state in the default type."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(usual)


def way(rule: Optimizer, surface: Surface, start: Tensor, steps: int = STEPS) -> tuple[Tensor, Any]:
    """The points of a batch, ``(steps + 1, dim, B)``, and the last state."""
    point: Any = start
    points, state = [point], rule.init(point)
    for step in range(steps):
        _, gradient = value_and_gradient(surface, point)
        point, state = rule.update(point, gradient, state, step)
        points.append(point)
    return torch.stack(points), state


def torch_way(
    twin: Any,
    settings: list[dict[str, Any]],
    surface: Surface,
    start: tuple[float, ...],
    steps: int = STEPS,
) -> tuple[Tensor, list[torch.optim.Optimizer]]:
    """The points that torch's class comes to with each of these options, and its objects."""
    with torch_in_double():
        parameters = [torch.tensor(start, requires_grad=True) for _ in settings]
        pairs = zip(parameters, settings, strict=True)
        optimizers = [twin([parameter], **options) for parameter, options in pairs]
        points = [torch.stack([p.detach().clone() for p in parameters], dim=1)]
        for _ in range(steps):
            values = surface.value(torch.stack(parameters, dim=1))
            torch.autograd.backward(values.sum())
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            points.append(torch.stack([p.detach() for p in parameters], dim=1))
    return torch.stack(points), optimizers


def error(ours: Tensor, theirs: Tensor) -> float:
    """The largest relative error over steps and runs, of ways that moved and stayed bounded."""
    assert float(theirs.norm(dim=1).max()) < 10
    assert float((theirs[-1] - theirs[0]).norm(dim=0).min()) > 2e-5 * (len(theirs) - 1)
    return float(((ours - theirs).norm(dim=1) / theirs.norm(dim=1)).max())


@pytest.mark.parametrize("steps", [STEPS, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("grid", "structure"), CASES)
def test_it_is_the_class_of_torch(grid: Grid, structure: dict[str, bool], steps: int) -> None:
    settings = grid.settings(structure)
    rules = [grid.rule.from_settings(options) for options in settings]
    # Uphill only where there are crests to come to rest under.
    for surface, start in PLACES[:1] if structure["maximize"] else PLACES:
        begin = torch.tensor(start, dtype=torch.float64)[:, None].expand(-1, len(rules))
        ours, state = way(stack(rules), surface, begin, steps)
        theirs, optimizers = torch_way(grid.twin, settings, surface, start, steps)
        assert error(ours, theirs) <= EXACT, surface
        if surface is RASTRIGIN:  # plain numbers, some of them 0, take roads of their own
            alone, _ = way(rules[0], surface, begin[:, :1], steps)
            assert error(alone, theirs[:, :, :1]) <= EXACT
        if grid.rule is ASGD:
            means = torch.stack(
                [state["ax"] for o in optimizers for state in o.state.values()], dim=1
            )
            torch.testing.assert_close(state.average, means, rtol=EXACT, atol=0)


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.rule.__name__)
def test_fields_and_defaults_are_those_of_torch(grid: Grid) -> None:
    theirs = {
        name: parameter.default
        for name, parameter in inspect.signature(grid.twin).parameters.items()
        if name not in ("params", "foreach", "capturable", "differentiable", "fused")
    }
    assert {f.name: f.default for f in fields(grid.rule)} == theirs
    assert {"lr", "maximize", *grid.numbers, *grid.structure} == theirs.keys()
    assert type(grid.rule().reference([torch.zeros(2)])).__name__.startswith(grid.twin.__name__)


ALL = [
    *((grid.rule, grid.settings(structure)) for grid in GRIDS for structure in grid.structures()),
    (Lion, [{"betas": betas, "weight_decay": 0.1} for betas in BETAS]),
    (HeavyBall, [{"lr": 1e-3, "momentum": b, "weight_decay": 0.1} for b in (0.0, 0.9)]),
    (Nesterov, [{"lr": lr, "weight_decay": 0.1, "maximize": True} for lr in (1e-3, 1e-4)]),
    (NesterovStronglyConvex, [{"lr": 1e-3, "strong_convexity": m} for m in (0.1, 2.0)]),
    (Polyak, [{"lr": lr, "c": c} for lr in (0.1, 1.0) for c in (0.5, 1.0)]),
]


@pytest.mark.parametrize(("rule", "settings"), ALL, ids=lambda x: getattr(x, "__name__", ""))
def test_tuples_of_coordinates_give_the_same_bits(
    rule: type[Optimizer], settings: list[dict[str, Any]]
) -> None:
    surface, start = PLACES[2]
    batch, cpu = stack(rule.from_settings(s) for s in settings), torch.device("cpu")
    batch = in_lanes(batch, len(settings), torch.float64, cpu)
    point = torch.tensor(start, dtype=torch.float64)[:, None] + torch.linspace(0, 1, LANES)
    parts: Any = tuple(point)
    state, state_of_parts = batch.init(point), batch.init(parts)
    for step in range(20):
        loss, gradient = value_and_gradient(surface, point)
        more = {"gap": loss} if rule.needs_gap else {}
        point, state = batch.update(point, gradient, state, step, **more)
        parts, state_of_parts = batch.update(parts, tuple(gradient), state_of_parts, step, **more)
        assert torch.equal(point, torch.stack(parts))
    for whole, part in zip(state, state_of_parts, strict=True):
        if isinstance(part, tuple) and part:
            part = torch.stack(part)
        assert torch.equal(whole, part) if isinstance(whole, Tensor) else whole == part == ()


@pytest.mark.parametrize("which", [0, -1])
@pytest.mark.parametrize(("rule", "settings"), ALL, ids=lambda x: getattr(x, "__name__", ""))
def test_the_number_of_a_step_and_what_meets_it_may_be_tensors(
    rule: type[Optimizer], settings: list[dict[str, Any]], which: int
) -> None:
    surface, start = PLACES[2]
    plain = rule.from_settings(settings[which])

    def shared(number: Any, name: str) -> Any:
        if number == 0:
            return number
        if name.partition("[")[0] in rule.used_only_with_step:
            return torch.tensor(number, dtype=torch.float64)
        return torch.tensor([number], dtype=torch.float64)

    tensors = map_numbers(plain, shared)
    point = other = torch.tensor(start, dtype=torch.float64)[:, None]
    state, other_state = plain.init(point), tensors.init(other)
    for step in range(20):
        loss, gradient = value_and_gradient(surface, point)
        more = {"gap": loss} if rule.needs_gap else {}
        point, state = plain.update(point, gradient, state, step, **more)
        at: Any = torch.tensor(step)
        other, other_state = tensors.update(other, gradient, other_state, at, **more)
    torch.testing.assert_close(point, other, rtol=EXACT, atol=0)


@pytest.mark.parametrize(
    ("rule", "settings", "reason"),
    [
        (Rprop, {"etas": (1.5, 1.2)}, "the first below 1, the second above 1"),
        (Rprop, {"etas": (0.5, 0.9)}, "the first below 1, the second above 1"),
        (Rprop, {"step_sizes": (1.0, 0.1)}, "in this order"),
        (NesterovStronglyConvex, {"lr": 0.5, "strong_convexity": 3.0}, "at most 1"),
        (Adam, {"betas": (0.9, 1.0)}, "betas"),
        (Adagrad, {"eps": -1.0}, "eps"),
        (Polyak, {"c": 0.0}, "c"),
    ],
)
def test_settings_out_of_range_are_mistakes(
    rule: type[Optimizer], settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        rule.from_settings(settings)


def test_a_centered_mean_square_below_zero_is_zero() -> None:
    rule = RMSprop(lr=1e-3, alpha=0.5, centered=True)
    point: Any = torch.ones(3, 1)
    gradient = torch.tensor([[0.1], [0.7], [1.3]])
    state = rule.init(point)
    for step in range(200):
        point, state = rule.update(point, gradient, state, step)
    assert bool(point.isfinite().all())


def test_every_rule_that_torch_has_is_in_the_grid() -> None:
    rules = [getattr(optimizers, name) for name in optimizers.__all__]
    theirs = {rule for rule in rules if hasattr(rule, "torch_class")}
    assert theirs == {grid.rule for grid in GRIDS}
