"""The contract of an optimizer: pure functions on points that serve a batch of any size."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from gradexp.numbers import Component, Number, Points, numbers, replaced


class Optimizer(Component):
    """An update rule with its hyperparameters; subclasses are frozen dataclasses.

    `init` and `update` use only pointwise arithmetic, through `gradexp.numbers.each`, so that they
    accept both a tuple of coordinates and a tensor ``(dim, *batch)``.
    """

    lr: Number

    linear: ClassVar[bool] = False
    """whether `update` is linear in the point, the gradient and the state, so that its convergence
    rate on a quadratic is known"""

    used_only_with_step: ClassVar[tuple[str, ...]] = ()
    """fields that `update` combines only with the step number and with each other, such as the
    decay rate β of a bias correction 1 - βᵗ; where such a field is the same for all runs of a
    batch, the combination is computed once per step instead of once per step and run"""

    needs_gap: ClassVar[bool] = False
    """whether `update` takes one more argument, `gap`: the loss at the current point minus the
    surface's minimum"""

    scheduled_names: ClassVar[frozenset[str] | None] = None
    """names of the numbers that a schedule changes; None means that any may change from update to
    update"""

    def may_change(self, name: str) -> bool:
        """Returns whether the number of this name may change from update to update."""
        return self.scheduled_names is None or name in self.scheduled_names

    def hyperparameters(self) -> dict[str, Number]:
        """Returns the optimizer's numbers by name: ``lr``, ``betas[0]``, …"""
        return numbers(self)

    @abstractmethod
    def init(self, point: Points) -> Any:
        """Returns the state before the first step.

        The state is a NamedTuple whose fields are points, or tensors of the points' batch shape.
        """

    @abstractmethod
    def update(
        self, point: Points, gradient: Points, state: Any, step: int | Tensor
    ) -> tuple[Any, Any]:
        """Returns the next point and the next state.

        Args:
            point: the current point.
            gradient: the gradient there, in the same form as the point.
            state: the state that `init` or the previous `update` returned.
            step: the number of updates before this one.

        A rule with `needs_gap` also takes the argument `gap`.
        """

    def reference(self, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
        """Returns a ``torch.optim`` optimizer with the same rule and settings, for one run.

        Where torch has no such rule, it is this one, wrapped as a ``torch.optim`` optimizer.
        """
        return TorchWrapper(parameters, self)


def evaluate_closure(closure: Callable[[], float] | None) -> float | None:
    """Evaluates the closure of a ``torch.optim`` step with gradients enabled.

    Args:
        closure: computes the loss and leaves the gradients in the parameters.

    Returns:
        The loss, or None without a closure.
    """
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


class TorchWrapper(torch.optim.Optimizer):
    """An update rule wrapped as a ``torch.optim`` optimizer, for rules that torch does not have.

    Its parameter group holds the rule's numbers by name; as in torch's own classes, they may be
    changed there between steps. A rule with `needs_gap` reads the gap from the group's ``gap``.
    """

    def __init__(self, parameters: Sequence[Tensor], rule: Optimizer) -> None:
        self._rule = rule
        super().__init__(parameters, dict(numbers(rule)))

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Updates every parameter that has a gradient.

        Args:
            closure: computes the loss and leaves the gradients in the parameters.

        Returns:
            The loss, or None without a closure.
        """
        loss = evaluate_closure(closure)
        for group in self.param_groups:
            rule = replaced(self._rule, {name: group[name] for name in numbers(self._rule)})
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._advance(rule, parameter, group.get("gap"))
        return loss

    def _advance(self, rule: Optimizer, parameter: Tensor, gap: Tensor | None) -> None:
        entry = self.state[parameter]
        step, state = entry.get("step", 0), entry.get("state")
        point = parameter.detach().clone()
        state = rule.init(point) if state is None else state
        options = {"gap": gap} if rule.needs_gap else {}
        new_point, state = rule.update(point, parameter.grad, state, step, **options)  # type: ignore[arg-type]
        parameter.copy_(new_point)
        entry.update(step=step + 1, state=state)
