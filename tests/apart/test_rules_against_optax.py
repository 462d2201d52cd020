"""Rules against optax, in float64, with the settings in which both mean the same."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import optax
import pytest
import torch
from torch import Tensor

from gradexp.optimizers import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Lion,
    NAdam,
    Optimizer,
    Polyak,
    RAdam,
    RMSprop,
    Rprop,
)
from gradexp.surfaces import Surface, value_and_gradient
from tests.test_rules import EXACT, PLACES, STEPS, error

jax.config.update("jax_enable_x64", True)

B1, B2 = BETAS = (0.8, 0.99)


def rooted(lr: float) -> Any:
    """A schedule of lr √(1 - β₂ᵗ)."""
    return lambda count: lr * (1 - B2 ** (count + 1)) ** 0.5


PAIRS: dict[str, tuple[Optimizer, Any]] = {
    "sgd": (SGD(1e-3), optax.sgd(1e-3)),
    "momentum": (SGD(1e-3, momentum=0.8), optax.sgd(1e-3, momentum=0.8)),
    "nesterov": (
        SGD(1e-3, momentum=0.8, nesterov=True),
        optax.sgd(1e-3, momentum=0.8, nesterov=True),
    ),
    "adam": (Adam(1e-3, BETAS, eps=1e-3), optax.adam(1e-3, B1, B2, eps=1e-3)),
    # optax takes the largest of the corrected squares, torch corrects the largest. Uncorrected they
    # are the same, and what is left of torch's correction is a factor of the step where ε = 0.
    "amsgrad": (
        Adam(1e-3, BETAS, eps=0.0, amsgrad=True),
        optax.amsgrad(rooted(1e-3), B1, B2, eps=0.0, bias_correction_nu=False),
    ),
    "adamw": (
        AdamW(1e-3, BETAS, weight_decay=0.3),
        optax.adamw(1e-3, B1, B2, weight_decay=0.3),
    ),
    # torch's momentum grows to β₁, optax's is β₁ at once; here torch's is, too.
    "nadam": (
        NAdam(1e-3, BETAS, momentum_decay=1e6),
        optax.nadam(1e-3, B1, B2),
    ),
    # torch adds ε before the bias correction, optax after it.
    "radam": (RAdam(1e-3, BETAS, eps=0.0), optax.radam(1e-3, B1, B2, eps=0.0)),
    "adamax": (Adamax(1e-3, BETAS, eps=1e-3), optax.adamax(1e-3, B1, B2, eps=1e-3)),
    # optax adds ε under the root, torch to it.
    "adagrad": (
        Adagrad(1e-2, initial_accumulator_value=0.5, eps=0.0),
        optax.adagrad(1e-2, initial_accumulator_value=0.5, eps=0.0),
    ),
    "adadelta": (
        Adadelta(1.0, rho=0.9, eps=1e-6, weight_decay=0.1),
        optax.adadelta(1.0, rho=0.9, eps=1e-6, weight_decay=0.1),
    ),
    "rmsprop": (
        RMSprop(1e-4, alpha=0.95, eps=1e-3),
        optax.rmsprop(1e-4, decay=0.95, eps=1e-3, eps_in_sqrt=False),
    ),
    "rmsprop centered": (
        RMSprop(1e-4, alpha=0.95, eps=1e-3, momentum=0.5, centered=True),
        optax.rmsprop(1e-4, 0.95, 1e-3, eps_in_sqrt=False, centered=True, momentum=0.5),
    ),
    "lion": (
        Lion(1e-3, BETAS, weight_decay=0.3),
        optax.lion(1e-3, B1, B2, weight_decay=0.3),
    ),
    # optax has no c, and is given 1/c of the loss (least 0). It stands still where ‖g‖² is below
    # the machine's precision; here it is not.
    "polyak": (
        Polyak(lr=1e-4, c=100.0),
        optax.polyak_sgd(max_learning_rate=1e-4, variant="sps+"),
    ),
    "polyak below its largest step": (
        Polyak(lr=1e-3, c=1000.0),
        optax.polyak_sgd(max_learning_rate=1e-3, variant="sps+"),
    ),
}


def optax_way(rule: Optimizer, transform: Any, surface: Surface, start: Tensor) -> Iterator[Tensor]:
    """The points that an optax transformation comes to, with the settings of a rule."""
    transform = optax.with_extra_args_support(transform)
    update = jax.jit(transform.update)
    point = start.numpy()
    state = transform.init(point)
    for _ in range(STEPS):
        yield torch.from_numpy(point)
        value, gradient = value_and_gradient(surface, torch.from_numpy(point))
        value = value / (rule.c if isinstance(rule, Polyak) else 1)
        move, state = update(gradient.numpy(), state, point, value=value.numpy())
        point = point + np.asarray(move)
    yield torch.from_numpy(point)


def our_way(rule: Any, surface: Surface, start: Tensor) -> Iterator[Tensor]:
    """The points that a rule comes to."""
    point, state = start, rule.init(start)
    for step in range(STEPS):
        yield point
        value, gradient = value_and_gradient(surface, point)
        more = {"gap": value} if rule.needs_gap else {}
        point, state = rule.update(point, gradient, state, step, **more)
    yield point


@pytest.mark.parametrize(("rule", "transform"), PAIRS.values(), ids=PAIRS.keys())
@pytest.mark.parametrize(("surface", "start"), PLACES, ids=lambda x: type(x).__name__)
def test_it_is_the_rule_of_optax(
    rule: Optimizer, transform: Any, surface: Surface, start: tuple[float, ...]
) -> None:
    begin = torch.tensor(start, dtype=torch.float64)
    ours = torch.stack([*our_way(rule, surface, begin)])
    theirs = torch.stack([*optax_way(rule, transform, surface, begin)])
    assert error(ours[..., None], theirs[..., None]) <= EXACT


@pytest.mark.parametrize(("surface", "start"), PLACES, ids=lambda x: type(x).__name__)
def test_the_steps_of_rprop_are_those_that_optax_keeps(
    surface: Surface, start: tuple[float, ...]
) -> None:
    # What optax's rprop returns is the update before, so that it goes another way; the update that
    # it has worked out is in its state.
    rule, transform = Rprop(1e-2), optax.rprop(1e-2)
    point: Any = torch.tensor(start, dtype=torch.float64)
    state: Any
    state, (theirs, *rest) = rule.init(point), transform.init(point.numpy())
    update, turns = jax.jit(transform.update), 0
    for step in range(STEPS):
        _, gradient = value_and_gradient(surface, point)
        _, (theirs, *rest) = update(gradient.numpy(), (theirs, *rest), point.numpy())
        moved, state = rule.update(point, gradient, state, step)
        kept = torch.from_numpy(np.array(theirs.prev_updates))
        torch.testing.assert_close(moved, point - kept, rtol=EXACT, atol=0)
        sizes = torch.from_numpy(np.array(theirs.step_sizes))
        torch.testing.assert_close(state.size, sizes, rtol=EXACT, atol=0)
        turns += int((state.gradient == 0).sum())
        point = moved
    assert turns > 10
