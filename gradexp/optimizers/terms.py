"""Terms that the formulas of several update rules share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradexp.numbers import Number, Points, each, is_zero


def descent_gradient(
    point: Points, gradient: Points, weight_decay: Number, *, maximize: bool
) -> Any:
    """Returns the gradient to descend along: g ← -g if `maximize`, then g ← g + λ x.

    Args:
        point: x.
        gradient: g.
        weight_decay: λ of an L2 penalty ½ λ ‖x‖².
        maximize: whether to maximize instead of minimizing.
    """
    if maximize:
        gradient = each(lambda g: -g, gradient)
    if is_zero(weight_decay):
        return gradient
    return each(lambda g, x: g + weight_decay * x, gradient, point)


def shrink_point(point: Points, lr: Number, weight_decay: Number) -> Any:
    """Returns the point after decoupled weight decay: x ← x - α λ x.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization" (ICLR 2019).
    """
    if is_zero(weight_decay):
        return point
    return each(lambda x: x * (1 - lr * weight_decay), point)


def apply_weight_decay(
    point: Points,
    gradient: Points,
    *,
    lr: Number,
    weight_decay: Number,
    decoupled: bool,
    maximize: bool,
) -> tuple[Points, Points]:
    """Returns the point and the gradient to descend along, after weight decay.

    Decoupled weight decay changes the point (see `shrink_point`), otherwise it is added to the
    gradient (see `descent_gradient`).
    """
    if not decoupled:
        return point, descent_gradient(point, gradient, weight_decay, maximize=maximize)
    point_after_decay = shrink_point(point, lr, weight_decay)
    return point_after_decay, descent_gradient(point, gradient, 0.0, maximize=maximize)


def average(mean: Points, value: Points, decay: Number) -> Any:
    """Returns the exponential moving average m ← β m + (1 - β) v."""
    return each(lambda m, v: decay * m + (1 - decay) * v, mean, value)


def average_square(mean: Points, value: Points, decay: Number) -> Any:
    """Returns the exponential moving average of squares, m ← β m + (1 - β) v²."""
    return each(lambda m, v: decay * m + (1 - decay) * (v * v), mean, value)


def bias_correction(decay: Number, step: int | Tensor) -> Any:
    """Returns 1 - βᵗ, the total weight of the t values in an exponential moving average.

    Dividing an average that started at 0 by it corrects the bias towards 0.

    Args:
        decay: β.
        step: t - 1.
    """
    if is_zero(decay):
        return 1.0
    return 1 - decay ** (step + 1)


def apply_momentum(
    velocity: Points, gradient: Points, momentum: Number, *, may_change: bool
) -> tuple[Any, Any]:
    """Returns the velocity v ← μ v + g and the direction of the step.

    The direction is the new velocity. Where a schedule sets μ to 0 for a while, the direction is g
    and the velocity keeps its value, as in ``torch.optim``.

    Args:
        velocity: v.
        gradient: g.
        momentum: μ.
        may_change: whether μ may change from step to step; if not, the velocity of a run with μ = 0
            is never used and need not be kept.
    """
    if is_zero(momentum):
        return gradient, gradient
    move = each(lambda v, g: momentum * v + g, velocity, gradient)
    if not (may_change and isinstance(momentum, Tensor)):
        return move, move
    return each(lambda v, d: torch.where(momentum == 0, v, d), velocity, move), move


def take_step(point: Points, rate: Any, direction: Points) -> Any:
    """Returns the point after a step: x ← x - α d."""
    return each(lambda x, d: x - rate * d, point, direction)


def sqrt(value: Any) -> Any:
    """Returns √v of a number or a tensor."""
    return value.sqrt() if isinstance(value, Tensor) else value**0.5


def take_scaled_step(point: Points, rate: Any, direction: Points, square: Points, eps: Any) -> Any:
    """Returns the point after a step that is scaled per coordinate: x ← x - α d / (√v + ε).

    Args:
        point: x.
        rate: α.
        direction: d.
        square: v.
        eps: ε.
    """
    return each(lambda x, d, v: x - rate * (d / (v.sqrt() + eps)), point, direction, square)
