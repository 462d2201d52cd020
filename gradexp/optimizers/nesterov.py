"""Nesterov's accelerated gradient methods, for convex and for strongly convex surfaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradexp.errors import UserError
from gradexp.numbers import NonNegative, Points, Positive, each
from gradexp.optimizers.optimizer import Optimizer
from gradexp.optimizers.terms import descent_gradient, sqrt, take_step


def _extrapolated(
    point: Points, gradient: Points, iterate: Points, lr: Any, momentum: Any
) -> tuple[Points, Points]:
    """Returns the next extrapolated point y⁺ = x⁺ + b (x⁺ - x) and the next iterate x⁺ = y - α g.

    Args:
        point: y, the current extrapolated point.
        gradient: g, the gradient there.
        iterate: x, the current iterate.
        lr: α.
        momentum: b.
    """
    new_iterate = take_step(point, lr, gradient)
    extrapolated = each(lambda new, old: new + momentum * (new - old), new_iterate, iterate)
    return extrapolated, new_iterate


class NesterovState(NamedTuple):
    # change every step
    iterate: Points
    t: Tensor


@dataclass(frozen=True)
class Nesterov(Optimizer):
    """Nesterov's accelerated gradient method for convex surfaces.

    The run's point is the extrapolated point y, where the gradient g is evaluated. With the iterate
    x (initially y) and t (initially 1)::

        g ← -g if maximize, then g ← g + λ y
        x⁺ = y - α g,  t⁺ = (1 + √(1 + 4 t²))/2
        y ← x⁺ + (t - 1)/t⁺ (x⁺ - x),  x ← x⁺,  t ← t⁺

    On a convex surface whose gradient has Lipschitz constant L, with α at most 1/L, the loss at x
    after k steps exceeds the minimum by at most 2 ‖x₀ - x*‖²/(α (k + 1)²).

    Args:
        lr: learning rate α, positive.
        weight_decay: λ, at least 0.
        maximize: whether to maximize instead of minimizing.

    Source: Nesterov, "A method for solving the convex programming problem with convergence rate
    O(1/k²)" (Soviet Mathematics Doklady 1983); in this form: Beck and Teboulle, "A fast iterative
    shrinkage-thresholding algorithm for linear inverse problems" (SIAM Journal on Imaging Sciences
    2009).

    >>> rule, point = Nesterov(lr=0.5), torch.ones(1)
    >>> state = rule.init(point)
    >>> for step in range(3):
    ...     point, state = rule.update(point, point, state, step)
    ...     print(round(point.item(), 4), round(state.t.item(), 4))
    0.5 1.618
    0.1796 2.1935
    0.0202 2.7498
    """

    lr: Positive
    weight_decay: NonNegative = 0.0
    maximize: bool = False

    def init(self, point: Points) -> NesterovState:
        return NesterovState(each(torch.clone, point), torch.ones_like(point[0]))

    def update(
        self, point: Points, gradient: Points, state: NesterovState, step: int | Tensor
    ) -> tuple[Points, NesterovState]:
        gradient = descent_gradient(point, gradient, self.weight_decay, maximize=self.maximize)
        t = (1 + (1 + 4 * state.t * state.t).sqrt()) * 0.5
        momentum = (state.t - 1) / t
        point, iterate = _extrapolated(point, gradient, state.iterate, self.lr, momentum)
        return point, NesterovState(iterate, t)


class NesterovStronglyConvexState(NamedTuple):
    # changes every step
    iterate: Points


@dataclass(frozen=True)
class NesterovStronglyConvex(Optimizer):
    """Nesterov's accelerated gradient method with the momentum for strongly convex surfaces.

    The run's point is the extrapolated point y, where the gradient g is evaluated. With the iterate
    x (initially y)::

        g ← -g if maximize, then g ← g + λ y
        x⁺ = y - α g,  b = (1 - √(α m))/(1 + √(α m))
        y ← x⁺ + b (x⁺ - x),  x ← x⁺

    On an m-strongly convex surface whose gradient has Lipschitz constant L, with α = 1/L, the loss
    gap at x after k steps is at most (1 - √(m/L))ᵏ times the sum of the initial loss gap and
    m/2 ‖x₀ - x*‖².

    Args:
        lr: learning rate α, positive.
        strong_convexity: m, positive; α m must be at most 1.
        weight_decay: λ, at least 0.
        maximize: whether to maximize instead of minimizing.

    Source: Nesterov, "Introductory lectures on convex optimization" (2004), constant step scheme.

    >>> rule, point = NesterovStronglyConvex(0.25, strong_convexity=1.0), torch.ones(1)
    >>> state = rule.init(point)
    >>> for step in range(3):
    ...     point, state = rule.update(point, point, state, step)
    ...     print(round(point.item(), 4), round(state.iterate.item(), 4))
    0.6667 0.75
    0.4167 0.5
    0.25 0.3125
    """

    linear = True

    lr: Positive
    strong_convexity: Positive = 1.0
    weight_decay: NonNegative = 0.0
    maximize: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool((torch.as_tensor(self.lr * self.strong_convexity) > 1).any()):
            reason = "must be at most 1 / lr"
            raise UserError("strong_convexity", self.strong_convexity, reason)

    def init(self, point: Points) -> NesterovStronglyConvexState:
        return NesterovStronglyConvexState(each(torch.clone, point))

    def update(
        self,
        point: Points,
        gradient: Points,
        state: NesterovStronglyConvexState,
        step: int | Tensor,
    ) -> tuple[Points, NesterovStronglyConvexState]:
        gradient = descent_gradient(point, gradient, self.weight_decay, maximize=self.maximize)
        rate = sqrt(self.lr * self.strong_convexity)  # √(α m)
        momentum = (1 - rate) / (1 + rate)
        point, iterate = _extrapolated(point, gradient, state.iterate, self.lr, momentum)
        return point, NesterovStronglyConvexState(iterate)
