"""Schedules against optax, in float64."""

import jax
import optax
import pytest

from gradexp.schedules import Cosine, Linear, Piecewise, Polynomial, Step, WarmupCosine
from tests.test_schedules import LR, STEPS, at

jax.config.update("jax_enable_x64", True)


def test_schedules_are_those_of_optax() -> None:
    pairs = [
        (Cosine(350.0), optax.cosine_decay_schedule(LR, 350), 351),
        (
            WarmupCosine(300.0, 30.0, 0.1, 1e-3),
            optax.warmup_cosine_decay_schedule(0.1 * LR, LR, 30, 300, 1e-3),
            STEPS,
        ),
        (
            WarmupCosine(300.0, 30.0, 0.0),
            optax.warmup_cosine_decay_schedule(0.0, LR, 30, 300),
            STEPS,
        ),
        (Step(30.0, 0.5), optax.exponential_decay(LR, 30, 0.5, staircase=True), STEPS),
        (Polynomial(300.0, 2.0), optax.polynomial_schedule(LR, 0.0, 2.0, 300), STEPS),
        (Linear(0.0, 1.0, 60.0), optax.linear_schedule(0.0, LR, 60), STEPS),
        (
            Piecewise((50.0, 200.0), (1.0, 0.5, 0.05)),
            optax.piecewise_constant_schedule(LR, {50: 0.5, 200: 0.1}),
            STEPS,
        ),
    ]
    for ours, theirs, steps in pairs:
        expected = [float(theirs(step)) for step in range(steps)]
        values = at(ours, "lr", steps).tolist()
        assert values == pytest.approx(expected, rel=1e-12, abs=1e-14), ours
