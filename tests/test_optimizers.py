"""Update rules against ``torch.optim``."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from gradexp import optimize
from gradexp.clips import ByNorm
from gradexp.config.choices import CONF
from gradexp.config.gate.components import locate
from gradexp.engine import Batched, Reference, Stop
from gradexp.errors import UserError
from gradexp.noises import Gaussian
from gradexp.numbers import stack
from gradexp.optimizers import ASGD, SGD, AdamW, External, NAdam, Optimizer, RMSprop
from gradexp.schedules import Cosine
from gradexp.surfaces import get
from tests.conftest import same

NEVER = Stop(gradient=1e-300)
START = (3.3, -2.4)


def test_a_batch_may_mix_runs_with_and_without_momentum() -> None:
    surface = get("rastrigin")
    momenta = torch.tensor([0.0, 0.5])
    together = optimize(surface, START, SGD(1e-3, momenta, 0.3), steps=50, stop=NEVER)
    assert together.point is not None
    for i, momentum in enumerate(momenta.tolist()):
        alone = optimize(surface, START, SGD(1e-3, momentum, 0.3), steps=50, stop=NEVER)
        assert alone.point is not None
        assert torch.equal(alone.point[:, :, 0], together.point[:, :, i])


@pytest.mark.parametrize(
    ("factory", "options"),
    [
        (torch.optim.Adam, {"lr": 0.05, "betas": (0.8, 0.99)}),
        (torch.optim.LBFGS, {"lr": 0.5, "max_iter": 4}),
        (torch.optim.Rprop, {}),
    ],
)
def test_external_optimizers_are_run_as_torch_runs_them(
    factory: type[torch.optim.Optimizer], options: dict[str, Any]
) -> None:
    surface = get("himmelblau")
    trace = optimize(
        surface,
        (1.0, 1.0),
        External(factory, tuple(options.items())),
        steps=20,
        stop=NEVER,
        engine=Reference(),
    )
    parameter = torch.tensor((1.0, 1.0), dtype=torch.float64, requires_grad=True)
    optimizer = factory([parameter], **options)
    calls = 0

    def closure() -> float:
        nonlocal calls
        calls += 1
        optimizer.zero_grad()
        loss = surface.value(parameter)
        torch.autograd.backward(loss)
        return float(loss.detach())

    taken = [0]
    for _ in range(20):
        optimizer.step(closure)
        taken.append(calls)
    if factory is torch.optim.LBFGS:
        assert taken[-1] > 20
        assert trace.evaluations is not None
        assert trace.evaluations[:, 0].tolist() == taken
    else:
        assert taken[-1] == 20
        assert trace.evaluations is None
    torch.testing.assert_close(trace.final_point[:, 0], parameter.detach(), rtol=1e-12, atol=0)


class Counted(torch.optim.SGD):
    """Of a third party, for all that gradexp knows; says how many of it there are."""

    made = 0

    def __init__(self, parameters: Any, lr: float = 0.1) -> None:
        super().__init__(parameters, lr=lr)
        type(self).made += 1


@pytest.mark.parametrize(
    ("factory", "options", "shared"),
    [
        (torch.optim.Adam, {"betas": (0.8, 0.99)}, True),
        (torch.optim.Adagrad, {"initial_accumulator_value": 0.3}, True),
        (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}, True),
        (torch.optim.Muon, {"weight_decay": 0.01}, True),
        (torch.optim.LBFGS, {"max_iter": 3}, False),
        (Counted, {}, False),
    ],
)
def test_a_batch_is_what_its_runs_are_alone(
    factory: type[torch.optim.Optimizer],
    options: dict[str, Any],
    shared: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Runs share one optimizer, a parameter group each, where that is known to change nothing.
    steps: list[int] = []
    step = factory.step

    @functools.wraps(step)
    def counted(self: torch.optim.Optimizer, *args: Any) -> Any:
        steps.append(len(self.param_groups))
        return step(self, *args)

    surface, rates = get("himmelblau"), [0.001, 0.01, 10.0]  # of which the last one diverges
    one = [External(factory, (("lr", rate), *options.items())) for rate in rates]
    common: dict[str, Any] = {"steps": 30, "stop": NEVER, "engine": Reference()}
    alone = [optimize(surface, (1.0, 1.0), rule, **common) for rule in one]
    monkeypatch.setattr(factory, "step", counted)
    together = optimize(surface, (1.0, 1.0), stack(one), **common)
    assert set(steps[: common["steps"]]) == ({3} if shared else {1})
    for index, trace in enumerate(alone):
        for mine, theirs in zip(trace.run(0), together.run(index), strict=True):
            assert (mine is None and theirs is None) or same(mine, theirs)


@pytest.mark.parametrize("factory", [torch.optim.SGD, Counted])
def test_schedules_noise_and_clips_reach_external_optimizers(
    factory: type[torch.optim.Optimizer],
) -> None:
    # Shared by the runs, or one for each, they are the batched rule of the same name.
    rates = torch.tensor([1e-3, 3e-3], dtype=torch.float64)
    others: dict[str, Any] = {
        "steps": 40,
        "schedule": Cosine(30.0),
        "noise": Gaussian(1.0, seed=torch.arange(2)),
        "clip": ByNorm(20.0),
        "stop": NEVER,
    }
    theirs = stack([External(factory, (("lr", rate),)) for rate in rates.tolist()])
    one = optimize(get("himmelblau"), (1.0, 1.0), theirs, engine=Reference(), **others)
    other = optimize(get("himmelblau"), (1.0, 1.0), SGD(rates), **others)
    torch.testing.assert_close(one.point, other.point, rtol=1e-12, atol=1e-13)


class Unasked(torch.optim.Optimizer):
    """Gradient descent that takes any options, and asks no closure for its gradients."""

    def __init__(self, parameters: Any, **options: float) -> None:
        super().__init__(parameters, dict(options))
        self._left = 5

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                assert parameter.grad is not None
                parameter.add_(parameter.grad, alpha=-group["lr"])


class Asking(Unasked):
    """The same, with what the closure gives as a number."""

    def step(self, closure: Any) -> Any:  # type: ignore[override]
        loss = closure().item()
        super().step()
        return loss


class Tiring(Unasked):
    """The same, but for the sixth step."""

    def step(self) -> None:  # type: ignore[override]
        self._left -= 1
        if self._left < 0:
            raise ArithmeticError("enough")
        super().step()


@pytest.mark.parametrize("factory", [Unasked, Asking])
def test_other_forms_of_optimizers(factory: type[torch.optim.Optimizer]) -> None:
    rule = External(factory, (("lr", 1e-3),))
    theirs = optimize(get("himmelblau"), (1.0, 1.0), rule, steps=30, engine=Reference())
    ours = optimize(get("himmelblau"), (1.0, 1.0), SGD(1e-3), steps=30)
    torch.testing.assert_close(theirs.point, ours.point, rtol=1e-12, atol=0)


def test_a_step_that_fails_is_a_mistake() -> None:
    rule = External(Tiring, (("lr", 1e-3),))
    with pytest.raises(UserError, match=r"Tiring: its step failed: ArithmeticError\('enough'\)"):
        optimize(get("sphere"), (1.0, 1.0), rule, steps=30, engine=Reference())


def test_external_optimizers_need_the_reference_engine_and_known_options() -> None:
    with pytest.raises(UserError, match="engine=reference"):
        optimize(get("sphere"), (1.0, 1.0), External(torch.optim.Adam), steps=1)
    with pytest.raises(UserError, match="did you mean lr"):
        External(torch.optim.Adam, (("lrr", 0.1),))
    with pytest.raises(UserError, match="Invalid learning rate"):
        External(torch.optim.Adam, (("lr", -0.1),))


@pytest.mark.parametrize("rule", [SGD, AdamW, RMSprop, NAdam, ASGD], ids=lambda rule: rule.__name__)
def test_classes_of_torch_are_told_as_they_are_chosen(rule: type[Optimizer]) -> None:
    known = {path.stem for path in (CONF / "optimizer").glob("*.yaml")}
    with pytest.raises(
        UserError, match=r"in batches it is optimizer=(\w+); engine=reference"
    ) as told:
        Batched().check(External(getattr(torch.optim, rule.__name__)))
    assert rule.label() in known
    assert f"optimizer={rule.label()};" in str(told.value)


RULES = [
    path
    for path in sorted((CONF / "optimizer").glob("*.yaml"))
    if path.stem not in ("own", "torch")
]


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
@pytest.mark.parametrize("name", ["himmelblau", "rosenbrock", "quadratic"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-4)])
def test_every_rule_agrees_with_its_reference(
    path: Path, name: str, dtype: str, tolerance: float
) -> None:
    settings = yaml.safe_load(path.read_text())
    rule = locate("_target_", settings.pop("_target_"))
    assert issubclass(rule, Optimizer)
    lr = 1e-3 if settings["lr"] < 1 else settings["lr"]  # whose steps have a scale of their own
    surface, optimizer = get(name), rule.from_settings({**settings, "lr": lr})
    ours, theirs = (
        optimize(surface, surface.start, optimizer, steps=50, dtype=dtype, engine=engine)
        for engine in (Batched(), Reference())
    )
    off = (ours.final_point - theirs.final_point).norm(dim=0)
    assert float(off) <= tolerance * float(theirs.displacement)
