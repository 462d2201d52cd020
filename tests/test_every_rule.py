"""Every update rule and every schedule, in all engines: what holds of one must hold of each.

New ones are found by their config files.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from gradexp import optimize
from gradexp.analysis import judge
from gradexp.clips import ByNorm, ByValue, Clip, Unclipped
from gradexp.config.choices import CONF
from gradexp.config.gate.components import locate
from gradexp.engine import Batched, Reference, Stop, Trace
from gradexp.noises import Gaussian, Noise, StudentT
from gradexp.numbers import numbers, replaced
from gradexp.optimizers import SGD, Adam, Optimizer
from gradexp.schedules import Exponential, Linear, OneCycle, Piecewise, Schedule
from gradexp.surfaces import get
from tests.conftest import in_tiers, same

RUNS = 70
STEPS = 100
RULES = sorted(
    path for path in (CONF / "optimizer").glob("*.yaml") if path.stem not in ("own", "torch")
)
SCHEDULES = sorted(
    path for path in (CONF / "schedule").glob("*.yaml") if path.stem not in ("constant", "together")
)


SHORT: dict[str, dict[str, Any]] = {
    "cyclic": {"step_size_up": 15.0, "step_size_down": 20.0},
    "linear": {"total_iters": 30.0},
    "multi_step": {"milestones": (30.0, 60.0)},
    "piecewise": {"milestones": (30.0,)},
    "step": {"step_size": 25.0},
    "warm_restarts": {"T_0": 20.0, "T_mult": 2.0},
}
"""Settings of schedules, by the names of their files, with which they turn within `STEPS`."""


def built(path: Path, **others: Any) -> Any:
    """The component of a config file."""
    settings = yaml.safe_load(path.read_text())
    made = locate("_target_", settings.pop("_target_"))
    settings = {key: STEPS if value == "${steps}" else value for key, value in settings.items()}
    return made.from_settings({**settings, **others})


def run(
    rule: Optimizer,
    dim: int,
    compile: Any,
    schedule: Schedule | None = None,
    noise: Noise | None = None,
    clip: Clip | None = None,
    **options: Any,
) -> Trace:
    surface = get("rosenbrock", dim=dim)
    trace = optimize(
        surface,
        surface.start,
        rule,
        steps=STEPS,
        schedule=schedule,
        noise=noise,
        clip=clip,
        stop=Stop(gradient=1e-300),
        compile=compile,
        **options,
    )
    assert trace.engine == ({"always": "compiled", "never": "eager"}[compile])
    return trace


def part(component: Any, which: int) -> Any:
    """The component of one run."""
    mine = {
        name: number[which : which + 1]
        for name, number in numbers(component).items()
        if isinstance(number, torch.Tensor)
    }
    return replaced(component, mine)


def assert_compiled_is_eager_and_alone_is_among(rule: Any, dim: int, **parts: Any) -> None:
    traces = {how: run(rule, dim, how, **parts) for how in ("never", "always")}
    moved = traces["never"].displacement
    assert bool((moved > 0).all())
    for name in ("loss", "gradient_norm", "point", "path_length"):
        one, other = (getattr(trace, name) for trace in traces.values())
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)
    for how, together in traces.items():
        place = RUNS - 3
        mine = {name: part(component, place) for name, component in parts.items()}
        alone = run(part(rule, place), dim, how, **mine)
        among = together.run(place)
        for name, one, other in zip(among._fields, alone.run(0), among, strict=True):
            assert same(one, other), (how, name)


def rates(top: float) -> torch.Tensor:
    return torch.logspace(-1, 0, RUNS, dtype=torch.float64) * top


@pytest.mark.parametrize("dim", [2, 20])
@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_every_rule(path: Path, dim: int) -> None:
    rule = built(path, lr=rates(1e-3))
    assert_compiled_is_eager_and_alone_is_among(rule, dim)


@pytest.mark.parametrize("path", SCHEDULES, ids=lambda path: path.stem)
def test_every_schedule(path: Path) -> None:
    # Numbers that all runs share are worked out once a step; those of one run are not.
    rule = SGD(lr=rates(1e-4), momentum=0.5)
    shared = built(path, **SHORT.get(path.stem, {}))
    assert_compiled_is_eager_and_alone_is_among(rule, 2, schedule=shared)
    name, number = next(iter(numbers(shared).items()))
    assert isinstance(number, float)
    spread = torch.full((RUNS,), number, dtype=torch.float64)
    spread[0] *= 0.9
    own = replaced(shared, {name: spread})
    assert_compiled_is_eager_and_alone_is_among(rule, 2, schedule=own)
    same_numbers = run(rule, 2, "always", own).run(5)
    for one, other in zip(run(rule, 2, "always", shared).run(5), same_numbers, strict=True):
        assert same(one, other)


@pytest.mark.parametrize("dim", in_tiers([2, 3, 5, 20], [3, 20].__contains__))
@pytest.mark.parametrize("kind", [Gaussian, StudentT])
def test_noise(kind: Any, dim: int) -> None:
    # So much of it that where a run goes is its noise's.
    rule, seeds = SGD(lr=rates(1e-4), momentum=0.5), torch.arange(RUNS)
    calm, noisy = (
        run(rule, dim, "never", noise=kind(size, 0.1, seed=seeds)) for size in (0.0, 30.0)
    )
    far = (calm.final_point - noisy.final_point).norm(dim=0)
    assert float(far.min()) > 1e-4
    assert_compiled_is_eager_and_alone_is_among(rule, dim, noise=kind(30.0, 0.1, seed=seeds))


@pytest.mark.parametrize("dim", [2, 20])
@pytest.mark.parametrize("clip", [ByNorm(max_norm=3.0), ByValue(clip_value=2.0)], ids=str)
def test_clips(clip: Clip, dim: int) -> None:
    assert_compiled_is_eager_and_alone_is_among(SGD(lr=rates(1e-2)), dim, clip=clip)


def test_bias_corrections_are_the_same_whoever_shares_their_decay() -> None:
    decays = torch.full((RUNS,), 0.9, dtype=torch.float64)
    decays[0] = 0.8
    for dtype in ("float64", "float32"):
        lone = run(Adam(lr=rates(1e-3)), 2, "always", dtype=dtype)
        mixed = run(Adam(lr=rates(1e-3), betas=(decays, 0.999)), 2, "always", dtype=dtype)
        for one, other in zip(lone.run(5), mixed.run(5), strict=True):
            assert same(one, other)


@pytest.mark.parametrize(
    "rule", [SGD(1e-3, momentum=0.9), Adam(1e-2), built(CONF / "optimizer/polyak.yaml")]
)
def test_the_reference_engine_schedules_disturbs_and_clips_as_the_others(rule: Optimizer) -> None:
    surface = get("himmelblau")
    traces = [
        optimize(
            surface,
            torch.tensor([[1.0, 2.0, -1.0], [0.5, 1.0, 2.0]]),
            rule,
            steps=50,
            schedule=Exponential(gamma=0.98),
            noise=Gaussian(std=0.1, seed=torch.arange(3)),
            clip=ByNorm(max_norm=5.0),
            stop=Stop(gradient=1e-300),
            **options,
        )
        for options in ({"compile": "never"}, {"engine": Reference()})
    ]
    torch.testing.assert_close(traces[0].point, traces[1].point, rtol=1e-10, atol=1e-12)
    free = optimize(surface, (1.0, 0.5), rule, steps=50)
    assert not torch.allclose(free.final_point[:, 0], traces[0].final_point[:, 0])


SCHEDULED = [
    pytest.param(path, name, id=f"{path.stem}-{name}")
    for path in RULES
    for name in numbers(built(path, lr=1e-3))
    # torch takes all squares in v for as old as the β₂ of now would make them.
    if (path.stem, name) != ("radam", "betas[1]")
]


@pytest.mark.parametrize(("path", "name"), SCHEDULED)
def test_every_number_of_a_rule_follows_a_schedule_as_its_reference_does(
    path: Path, name: str
) -> None:
    # A warm-up, which begins with the first step: what a rule makes of its rate then counts, too.
    # Of momenta some that are 0 for a while, at first or later: torch leaves its velocity as it is.
    rule, surface = built(path, lr=1e-3), get("himmelblau")
    schedules: list[Schedule] = [Linear(0.1, 1.0, 20.0, of=name)]
    if name == "momentum":
        rule = replaced(rule, {name: 0.9})
        first = [Piecewise((15.0,), (0.0, 1.0), of=name), Linear(0.0, 1.0, 20.0, of=name)]
        schedules += [*first, Piecewise((10.0, 25.0), (1.0, 0.0, 1.0), of=name)]
    elif numbers(rule)[name] == 0 or name == "eps":
        rule = replaced(rule, {name: 0.1})
    if name == "dampening":
        rule = replaced(rule, {"momentum": 0.9})
    if name.startswith(("etas", "step_sizes")):
        schedules = [Linear(1.0, 1.1, 20.0, of=name)]  # they are to stay below and above 1
    for schedule in schedules:
        traces = [
            optimize(surface, (1.0, 0.5), rule, steps=40, schedule=schedule, engine=engine)
            for engine in (Batched(), Reference())
        ]
        torch.testing.assert_close(traces[0].point, traces[1].point, rtol=1e-12, atol=1e-12)


def test_schedules_of_momentum_reach_the_first_of_the_betas_in_both_engines() -> None:
    rule, schedule = Adam(lr=0.05), OneCycle(40.0)
    traces = [
        optimize(get("himmelblau"), (1.0, 0.5), rule, steps=40, schedule=schedule, engine=engine)
        for engine in (Batched(), Reference())
    ]
    torch.testing.assert_close(traces[0].point, traces[1].point, rtol=1e-11, atol=1e-12)


def test_clips_are_those_of_torch() -> None:
    gradients = torch.randn(3, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert Unclipped().clip(gradients) is gradients
    for ours, theirs in (
        (ByNorm(max_norm=1.5), lambda p: torch.nn.utils.clip_grad_norm_([p], 1.5)),
        (ByValue(clip_value=0.7), lambda p: torch.nn.utils.clip_grad_value_([p], 0.7)),
    ):
        clipped = ours.clip(gradients)
        together = torch.stack(ours.clip(tuple(gradients)))
        assert torch.equal(clipped, together)
        for gradient, found in zip(gradients.unbind(1), clipped.unbind(1), strict=True):
            parameter = torch.zeros(3, dtype=torch.float64, requires_grad=True)
            parameter.grad = gradient.clone()
            theirs(parameter)
            torch.testing.assert_close(found, parameter.grad, rtol=1e-15, atol=0)
        assert 0 < int((clipped != gradients).any(dim=0).sum()) < 50


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_every_rule_rests_where_there_is_no_way_and_nowhere_else(path: Path) -> None:
    """Costs 0.2 s each.

    Where a run starts at a minimizer or at a saddle it makes no step; where it starts a gradient of
    1e-12 away from the saddle, it either leaves it or says that it has not.
    """
    rule, saddle = built(path), get("strict")
    for surface, start, word in (
        (get("sphere"), (0.0, 0.0), "converged"),
        (get("rosenbrock"), (1.0, 1.0), "converged"),
        (saddle, (0.0, 0.0), "saddle"),
    ):
        trace = optimize(surface, start, rule, steps=50, record="metrics", compile="never")
        if start != (0.0, 0.0) and path.stem in ("adamw", "asgd"):  # that pull points to 0
            assert int(trace.steps[0]) > 0
            continue
        assert judge(surface, Stop(), trace).word == word
        assert int(trace.steps[0]) == 0 or path.stem == "polyak"  # it needs the gap alone
    trace = optimize(saddle, (1e-12, 1e-12), built(path, lr=0.1), steps=400, compile="never")
    outcome = judge(saddle, Stop(), trace)
    assert outcome.word != "saddle"
    assert float(trace.final_point[1, 0].abs()) > 1e-12
