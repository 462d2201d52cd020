"""The sides of the engine's benchmark that use JAX: optax, and SGD written by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.work import Work
from gradexp.optimizers import Adam, RMSprop


def jax_value(work: Work, coordinates: list[Any]) -> Any:
    """Returns the surface's value over separate coordinates, as gradexp's class computes it."""
    if work.surface == "rosenbrock":
        x, y = coordinates
        return 100 * (y - x**2) ** 2 + (1 - x) ** 2
    if work.surface == "rastrigin":
        terms = [x**2 - 10 * jnp.cos(2 * jnp.pi * x) for x in coordinates]
        return 10 * len(terms) + sum(terms[1:], terms[0])
    powers = [10 ** (i / (work.dim - 1)) for i in range(work.dim)]
    terms = [k * x**2 for k, x in zip(powers, coordinates, strict=True)]
    return 0.5 * sum(terms[1:], terms[0])


def jax_value_of_array(work: Work, point: Any) -> Any:
    """Returns the surface's value over one array per run, as a user of optax would write it."""
    if work.surface == "rosenbrock":
        return 100 * (point[1] - point[0] ** 2) ** 2 + (1 - point[0]) ** 2
    if work.surface == "rastrigin":
        return 10 * work.dim + (point**2 - 10 * jnp.cos(2 * jnp.pi * point)).sum()
    powers = 10 ** (jnp.arange(work.dim, dtype=point.dtype) / (work.dim - 1))
    return 0.5 * (powers * point**2).sum()


def jitted(function: Any, arguments: tuple[Any, ...]) -> tuple[Callable[[], Any], float]:
    """Returns a call of the compiled function, and the seconds that compiling took."""
    begun = time.perf_counter()
    ready = jax.jit(function).lower(*arguments).compile()
    spent = time.perf_counter() - begun
    return lambda: jax.block_until_ready(ready(*arguments)), spent


def optax_rule(work: Work, rate: Any) -> Any:
    """Returns optax's rule with gradexp's settings: optax has other defaults for RMSprop."""
    ours = work.rule(1.0)
    if isinstance(ours, Adam):
        return optax.adam(rate, *ours.betas, ours.eps)
    if isinstance(ours, RMSprop):
        return optax.rmsprop(rate, ours.alpha, ours.eps, eps_in_sqrt=False)
    return optax.sgd(rate, momentum=work.momentum or None)


def with_optax(work: Work) -> tuple[Callable[[], Any], float]:
    """Returns a call of all runs in ``jit(vmap(scan))``, and the seconds to compile it."""

    def one(rate: Any, start: Any) -> Any:
        rule = optax_rule(work, rate)

        def step(carried: Any, _: Any) -> Any:
            point, state, best = carried
            loss, gradient = jax.value_and_grad(lambda p: jax_value_of_array(work, p))(point)
            updates, state = rule.update(gradient, state)
            point = optax.apply_updates(point, updates)
            kept = loss if work.record == "loss" else None
            return (point, state, jnp.minimum(best, loss)), kept

        begin = (start, rule.init(start), jnp.asarray(jnp.inf, start.dtype))
        (point, _, best), losses = jax.lax.scan(step, begin, None, length=work.steps)
        return point, best, losses

    starts = jnp.asarray(work.starts().T.contiguous().numpy())
    return jitted(jax.vmap(one), (jnp.asarray(work.rates().numpy()), starts))


def by_hand_in_one(work: Work) -> tuple[Callable[[], Any], float]:
    """Does what `by_hand` does, for a quadratic over one array ``(dim, B)``."""
    powers = 10 ** (np.arange(work.dim) / (work.dim - 1))

    def all_at_once(rates: Any, start: Any) -> Any:
        scale = jnp.asarray(powers, start.dtype)[:, None]

        def value(x: Any) -> Any:
            return 0.5 * (scale * x**2).sum(axis=0)

        def step(carried: Any, _: Any) -> Any:
            point, velocity, best = carried
            loss, pull = jax.vjp(value, point)
            (gradient,) = pull(jnp.ones_like(loss))
            if work.momentum:
                velocity = gradient = work.momentum * velocity + gradient
            kept = loss if work.record == "loss" else None
            return (point - rates * gradient, velocity, jnp.minimum(best, loss)), kept

        begin = (start, jnp.zeros_like(start), jnp.full_like(rates, jnp.inf))
        (point, _, best), losses = jax.lax.scan(step, begin, None, length=work.steps)
        return point, best, losses

    start = jnp.asarray(work.starts().numpy())
    return jitted(all_at_once, (jnp.asarray(work.rates().numpy()), start))


def by_hand(work: Work) -> tuple[Callable[[], Any], float]:
    """Returns a call of SGD for all runs at once in one scan, and the seconds to compile it."""
    if work.dim >= 100:
        return by_hand_in_one(work)

    def all_at_once(rates: Any, *start: Any) -> Any:
        def step(carried: Any, _: Any) -> Any:
            points, velocities, best = carried
            loss, pull = jax.vjp(lambda *x: jax_value(work, list(x)), *points)
            gradient = pull(jnp.ones_like(loss))
            if work.momentum:
                both = zip(velocities, gradient, strict=True)
                velocities = gradient = tuple(work.momentum * v + g for v, g in both)
            points = tuple(x - rates * g for x, g in zip(points, gradient, strict=True))
            kept = loss if work.record == "loss" else None
            return (points, velocities, jnp.minimum(best, loss)), kept

        still = tuple(jnp.zeros_like(x) for x in start) if work.momentum else ()
        begin = (start, still, jnp.full_like(rates, jnp.inf))
        (points, _, best), losses = jax.lax.scan(step, begin, None, length=work.steps)
        return points, best, losses

    starts = [jnp.asarray(row.numpy()) for row in work.starts()]
    return jitted(all_at_once, (jnp.asarray(work.rates().numpy()), *starts))
