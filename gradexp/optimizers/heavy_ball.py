"""Heavy ball: gradient descent with a fraction of the previous step added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gradexp.numbers import NonNegative, Points, Positive, UnitInterval, each
from gradexp.optimizers.optimizer import Optimizer
from gradexp.optimizers.terms import descent_gradient


class HeavyBallState(NamedTuple):
    # changes every step
    previous: Points


@dataclass(frozen=True)
class HeavyBall(Optimizer):
    """Polyak's heavy-ball method in its original form.

    With gradient g at x, and the previous point p (initially x itself)::

        g ← -g if maximize, then g ← g + λ x
        x, p ← x - α g + β (x - p), x

    With a constant α it makes the same steps as `SGD` with the same momentum. Where α changes, the
    heavy ball reuses the previous step as it was made, while SGD rescales it by the new α.

    Args:
        lr: learning rate α, positive.
        momentum: β, in [0, 1).
        weight_decay: λ, at least 0.
        maximize: whether to maximize instead of minimizing.

    Source: Polyak, "Some methods of speeding up the convergence of iteration methods" (USSR
    Computational Mathematics and Mathematical Physics 1964).

    >>> rule, point, gradient = HeavyBall(0.5, 0.5), torch.tensor([4.0]), torch.tensor([2.0])
    >>> state = rule.init(point)
    >>> for step in range(3):
    ...     point, state = rule.update(point, gradient, state, step)
    ...     print(point.item(), state.previous.item())
    3.0 4.0
    1.5 3.0
    -0.25 1.5
    """

    linear = True

    lr: Positive
    momentum: UnitInterval = 0.9
    weight_decay: NonNegative = 0.0
    maximize: bool = False

    def init(self, point: Points) -> HeavyBallState:
        return HeavyBallState(previous=each(torch.clone, point))

    def update(
        self, point: Points, gradient: Points, state: HeavyBallState, step: int | Tensor
    ) -> tuple[Points, HeavyBallState]:
        gradient = descent_gradient(point, gradient, self.weight_decay, maximize=self.maximize)

        def step_coordinate(x: Tensor, g: Tensor, p: Tensor) -> Tensor:
            return x - self.lr * g + self.momentum * (x - p)

        return each(step_coordinate, point, gradient, state.previous), HeavyBallState(point)
