"""Rprop: steps by the gradient's sign, with a step size that adapts in each coordinate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gradexp.errors import UserError
from gradexp.numbers import Points, Positive, each, like
from gradexp.optimizers.terms import descent_gradient
from gradexp.optimizers.torch_rule import TorchRule


class RpropState(NamedTuple):
    # change every step
    gradient: Points
    """the previous gradient, 0 where its sign had changed"""
    size: Points
    """step size of each coordinate"""


@dataclass(frozen=True)
class Rprop(TorchRule):
    """Steps by the gradient's sign with a step size per coordinate, as ``torch.optim.Rprop`` does.

    The step size grows while the gradient keeps its sign, and shrinks where the sign changes. With
    gradient g at x, previous gradient h (initially 0), and step sizes s (initially α)::

        g ← -g if maximize
        s ← s η₊ where g h > 0, s η₋ where g h < 0, clamped to [s₀, s₁]
        g ← 0 where g h < 0
        x ← x - s sign(g)
        h ← g

    As in torch, a coordinate whose gradient changes sign does not move in that step, and its
    previous step is not undone.

    Args:
        lr: the initial step size α, positive; changing it later by a schedule has no effect.
        etas: η₋, in (0, 1), and η₊, above 1.
        step_sizes: the smallest and the largest step size, s₀ and s₁, positive.
        maximize: whether to maximize instead of minimizing.

    Source: Riedmiller and Braun, "A direct adaptive method for faster backpropagation learning: the
    RPROP algorithm" (ICNN 1993); this variant: Igel and Hüsken, "Improving the Rprop learning
    algorithm" (NC 2000).

    >>> rule, point, state = Rprop(lr=0.5), torch.ones(1), Rprop(lr=0.5).init(torch.ones(1))
    >>> for step in range(4):
    ...     point, state = rule.update(point, point, state, step)
    ...     print(round(point.item(), 4), round(state.size.item(), 4))
    0.5 0.5
    -0.1 0.6
    -0.1 0.3
    0.2 0.3
    """

    lr: Positive = 1e-2
    etas: tuple[Positive, Positive] = (0.5, 1.2)
    step_sizes: tuple[Positive, Positive] = (1e-6, 50.0)
    maximize: bool = False

    torch_class = torch.optim.Rprop

    def __post_init__(self) -> None:
        super().__post_init__()
        shrink, grow = (torch.as_tensor(eta, dtype=torch.float64) for eta in self.etas)
        if bool((shrink >= 1).any() | (grow <= 1).any()):
            reason = "must be two numbers: the first below 1, the second above 1"
            raise UserError("etas", self.etas, reason)
        smallest, largest = (torch.as_tensor(s, dtype=torch.float64) for s in self.step_sizes)
        if bool((smallest > largest).any()):
            reason = "must be [smallest, largest], in this order"
            raise UserError("step_sizes", self.step_sizes, reason)

    def init(self, point: Points) -> RpropState:
        zero = each(torch.zeros_like, point)
        return RpropState(zero, zero)

    def update(
        self, point: Points, gradient: Points, state: RpropState, step: int | Tensor
    ) -> tuple[Points, RpropState]:
        gradient = descent_gradient(point, gradient, 0.0, maximize=self.maximize)
        shrink, grow = (like(eta, gradient) for eta in self.etas)
        smallest, largest = (like(size, gradient) for size in self.step_sizes)
        agreement = each(torch.mul, gradient, state.gradient)

        def adapt(s: Tensor, a: Tensor) -> Tensor:
            factor = torch.where(a > 0, grow, torch.where(a < 0, shrink, 1.0))
            return torch.minimum(torch.maximum(s * factor, smallest), largest)

        first = like(step, gradient) == 0
        size = each(lambda s: torch.where(first, self.lr, s), state.size)
        size = each(adapt, size, agreement)
        gradient = each(lambda g, a: torch.where(a < 0, 0.0, g), gradient, agreement)
        point = each(lambda x, s, g: x - s * g.sign(), point, size, gradient)
        return point, RpropState(gradient, size)
