"""The contract of an optimizer: pure functions on points, written once for any batch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from gradexp.numbers import Component, Number, Points, numbers, replaced


class Optimizer(Component):
    """An update rule with its hyperparameters; subclasses are frozen dataclasses.

    `init` and `update` use pointwise arithmetic only, through `gradexp.numbers.each`, so that
    they serve a tuple of coordinates and a tensor ``(dim, *batch)`` alike.
    """

    lr: Number

    linear: ClassVar[bool] = False
    """Whether `update` is linear in point, gradient and state: then its rate on a quadratic is
    known."""

    timed: ClassVar[tuple[str, ...]] = ()
    """Fields that `update` combines with the number of the step and with each other alone, such as
    the decay β of a bias correction 1 - βᵗ. Where one is the same for all runs of a batch, what is
    made of it so is worked out once a step, not once a step and run."""

    needs_gap: ClassVar[bool] = False
    """Whether `update` takes a further argument, `gap`: the loss where the run is, less the
    surface's least value."""

    scheduled: ClassVar[frozenset[str] | None] = None
    """Which of its numbers a schedule changes; None where any may change from update to update."""

    def changes(self, name: str) -> bool:
        """Whether a number may change from update to update."""
        return self.scheduled is None or name in self.scheduled

    def hyperparameters(self) -> dict[str, Number]:
        """Its numbers by name: ``lr``, ``betas[0]``, …"""
        return numbers(self)

    @abstractmethod
    def init(self, point: Points) -> Any:
        """The state before the first step, a NamedTuple of points or tensors of their batch
        shape."""

    @abstractmethod
    def update(
        self, point: Points, gradient: Points, state: Any, step: int | Tensor
    ) -> tuple[Any, Any]:
        """The next point and the next state.

        Args:
            point: where the run is.
            gradient: of the surface there, of the same form.
            state: what `init` or the last `update` gave.
            step: the number of updates before this one.

        A rule with `needs_gap` takes `gap` besides.
        """

    def reference(self, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
        """The same rule with the same settings in ``torch.optim``, for one run; where torch has
        none, this rule in the form of one."""
        return Wrapped(parameters, self)


def looked(closure: Callable[[], float] | None) -> float | None:
    """What the closure of a step of ``torch.optim`` gives, if there is one; it leaves the
    gradients in the parameters."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


class Wrapped(torch.optim.Optimizer):
    """A rule in the form of an optimizer of ``torch.optim``, for what torch has no class of.

    Its one parameter group holds the rule's numbers by name, and takes others as torch's do.
    """

    def __init__(self, parameters: Sequence[Tensor], rule: Optimizer) -> None:
        self._rule = rule
        super().__init__(parameters, dict(numbers(rule)))

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient.

        Args:
            closure: gives the loss, and leaves the gradients in the parameters.
        """
        loss = looked(closure)
        for group in self.param_groups:
            rule = replaced(self._rule, {name: group[name] for name in numbers(self._rule)})
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._advance(rule, parameter, group.get("gap"))
        return loss

    def _advance(self, rule: Optimizer, parameter: Tensor, gap: Tensor | None) -> None:
        known = self.state[parameter]
        step, memory = known.get("step", 0), known.get("memory")
        point = parameter.detach().clone()
        memory = rule.init(point) if memory is None else memory
        more = {"gap": gap} if rule.needs_gap else {}
        moved, memory = rule.update(point, parameter.grad, memory, step, **more)  # type: ignore[arg-type]
        parameter.copy_(moved)
        known.update(step=step + 1, memory=memory)
