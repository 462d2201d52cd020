"""Stochastic gradient descent with classical or Nesterov momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradexp.errors import UserError
from gradexp.numbers import NonNegative, Number, Points, Positive, UnitInterval, each, is_zero, like
from gradexp.optimizers.terms import apply_momentum, descent_gradient, take_step
from gradexp.optimizers.torch_rule import TorchRule


class SGDState(NamedTuple):
    # changes every step
    velocity: Points


@dataclass(frozen=True)
class SGD(TorchRule):
    """Gradient descent with momentum, in the convention of ``torch.optim.SGD``.

    With gradient g at x, velocity v (initially 0), and d = 0 in the first step::

        g ← -g if maximize, then g ← g + λ x
        v ← μ v + (1 - d) g,  x ← x - α (g + μ v) if nesterov, else x - α v
        x ← x - α g, and v is unchanged, where μ = 0

    (Where a schedule starts with μ = 0, torch instead has d = 0 in the first step with μ ≠ 0.)

    Args:
        lr: learning rate α, positive.
        momentum: μ, in [0, 1).
        dampening: d, a finite number.
        nesterov: whether to use Nesterov momentum; needs a positive momentum and no dampening.
        weight_decay: λ, at least 0.
        maximize: whether to maximize instead of minimizing.

    Source: Polyak (1964); Sutskever et al., "On the importance of initialization and momentum in
    deep learning" (2013).

    >>> rule, point, gradient = SGD(lr=0.5, momentum=0.5), torch.tensor([4.0]), torch.tensor([2.0])
    >>> state = rule.init(point)
    >>> for step in range(3):
    ...     point, state = rule.update(point, gradient, state, step)
    ...     print(point.item(), state.velocity.item())
    3.0 2.0
    1.5 3.0
    -0.25 3.5
    """

    linear = True
    torch_class = torch.optim.SGD

    lr: Positive = 1e-3
    momentum: UnitInterval = 0.0
    dampening: Number = 0.0
    nesterov: bool = False
    weight_decay: NonNegative = 0.0
    maximize: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        momentum = torch.as_tensor(self.momentum, dtype=torch.float64)
        dampening = torch.as_tensor(self.dampening, dtype=torch.float64)
        if self.nesterov and bool((momentum == 0).any() | (dampening != 0).any()):
            raise UserError("nesterov", "true", "needs momentum above 0 and dampening 0")

    def init(self, point: Points) -> SGDState:
        return SGDState(velocity=each(torch.zeros_like, point))

    def update(
        self, point: Points, gradient: Points, state: SGDState, step: int | Tensor
    ) -> tuple[Points, SGDState]:
        gradient = descent_gradient(point, gradient, self.weight_decay, maximize=self.maximize)
        velocity, move = apply_momentum(
            state.velocity,
            self._damped(gradient, step),
            self.momentum,
            may_change=self.may_change("momentum"),
        )
        if self.nesterov:
            move = each(lambda g, v: g + self.momentum * v, gradient, move)
        return take_step(point, self.lr, move), SGDState(velocity)

    def _damped(self, gradient: Points, step: int | Tensor) -> Any:
        """Returns (1 - d) g, or g in the first step and where there is no momentum."""
        if is_zero(self.dampening) or is_zero(self.momentum):
            return gradient
        momentum, dampening = like(self.momentum, gradient), like(self.dampening, gradient)
        gain = torch.where((momentum == 0) | (step == 0), 1.0, 1.0 - dampening)
        return each(lambda g: gain * g, gradient)
