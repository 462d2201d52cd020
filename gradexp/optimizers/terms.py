"""What update rules have in common: the terms that their formulas are made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradexp.numbers import Number, Points, each, is_zero


def descent(point: Points, gradient: Points, weight_decay: Number, *, maximize: bool) -> Any:
    """What is descended: g ← -g if `maximize`, then g ← g + λ x.

    Args:
        point: x.
        gradient: g.
        weight_decay: λ, of an L2 penalty ½ λ ‖x‖².
        maximize: whether to go uphill.
    """
    if maximize:
        gradient = each(lambda g: -g, gradient)
    if is_zero(weight_decay):
        return gradient
    return each(lambda g, x: g + weight_decay * x, gradient, point)


def shrunk(point: Points, lr: Number, weight_decay: Number) -> Any:
    """The point after weight decay that is no part of the gradient: x ← x - α λ x (Loshchilov and
    Hutter, "Decoupled weight decay regularization", ICLR 2019)."""
    if is_zero(weight_decay):
        return point
    return each(lambda x: x * (1 - lr * weight_decay), point)


def decayed(
    point: Points,
    gradient: Points,
    *,
    lr: Number,
    weight_decay: Number,
    decoupled: bool,
    maximize: bool,
) -> tuple[Points, Points]:
    """The point and what is descended, after weight decay in one of its forms: see `shrunk` where
    it is decoupled, `descent` where not."""
    if not decoupled:
        return point, descent(point, gradient, weight_decay, maximize=maximize)
    return shrunk(point, lr, weight_decay), descent(point, gradient, 0.0, maximize=maximize)


def average(mean: Points, value: Points, decay: Number) -> Any:
    """The exponential moving average m ← β m + (1 - β) v."""
    return each(lambda m, v: decay * m + (1 - decay) * v, mean, value)


def average_square(mean: Points, value: Points, decay: Number) -> Any:
    """The exponential moving average of squares, m ← β m + (1 - β) v²."""
    return each(lambda m, v: decay * m + (1 - decay) * (v * v), mean, value)


def weight(decay: Number, step: int | Tensor) -> Any:
    """1 - βᵗ: the weights of an exponential moving average that began at 0 and has taken in t
    values, together.

    Args:
        decay: β.
        step: t - 1.
    """
    if is_zero(decay):
        return 1.0
    return 1 - decay ** (step + 1)


def carried(
    velocity: Points, gradient: Points, momentum: Number, *, changes: bool
) -> tuple[Any, Any]:
    """The velocity v ← μ v + g, and the move along it; where a schedule makes μ 0 for a while, the
    move is g and the velocity stays as it was, as in ``torch.optim``.

    Args:
        velocity: v.
        gradient: g.
        momentum: μ.
        changes: whether μ changes from step to step: otherwise no one asks for the velocity of a
            run whose μ is 0, and it need not be kept.
    """
    if is_zero(momentum):
        return gradient, gradient
    move = each(lambda v, g: momentum * v + g, velocity, gradient)
    if not (changes and isinstance(momentum, Tensor)):
        return move, move
    return each(lambda v, d: torch.where(momentum == 0, v, d), velocity, move), move


def moved(point: Points, rate: Any, move: Points) -> Any:
    """The point after a move: x ← x - α d."""
    return each(lambda x, d: x - rate * d, point, move)


def root(value: Any) -> Any:
    """√v, of a number of a rule."""
    return value.sqrt() if isinstance(value, Tensor) else value**0.5


def scaled(point: Points, rate: Any, direction: Points, square: Points, eps: Any) -> Any:
    """The point after a step whose every coordinate has a scale of its own:
    x ← x - α d / (√v + ε).

    Args:
        point: x.
        rate: α.
        direction: d.
        square: v.
        eps: ε.
    """
    return each(lambda x, d, v: x - rate * (d / (v.sqrt() + eps)), point, direction, square)
