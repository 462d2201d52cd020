"""The contract of a schedule: hyperparameters as functions of the step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gradexp.errors import UserError, nearest
from gradexp.numbers import Component, Number


class Schedule(Component):
    """The values of some of an optimizer's hyperparameters at each step.

    Subclasses are frozen dataclasses. The step is a tensor of real numbers, counted from 0, of
    shape ``()`` or, for R steps at once, ``(R, 1)``. Subclasses use only pointwise arithmetic on
    torch tensors, so that any number of a schedule may be a tensor ``(B,)`` with one number per
    run.
    """

    @abstractmethod
    def values(self, base: Mapping[str, Number], step: Tensor) -> dict[str, Number]:
        """Returns the scheduled hyperparameters by name, for the update made at `step`.

        Args:
            base: the optimizer's hyperparameters by name: ``lr``, ``betas[0]``, …
            step: the step, of shape ``()`` or ``(R, 1)``.

        Raises:
            UserError: the optimizer does not have a hyperparameter that the schedule sets.
        """


class SingleSchedule(Schedule):
    """A schedule of one hyperparameter, which the field `of` names."""

    of: str

    @abstractmethod
    def value(self, base: Number, step: Tensor) -> Any:
        """Returns the hyperparameter's value at a step.

        Args:
            base: the optimizer's own value of it.
            step: the step, of shape ``()`` or ``(R, 1)``.
        """

    def values(self, base: Mapping[str, Number], step: Tensor) -> dict[str, Number]:
        name = resolve_name(self.of, base)
        return {name: self.value(base[name], step)}


def resolve_name(of: str, base: Mapping[str, Number]) -> str:
    """Returns an optimizer's own name of a hyperparameter.

    Where an optimizer has no ``momentum``, that name stands for ``betas[0]``, as in
    ``torch.optim.lr_scheduler``. ``betas[0]`` may also be written ``betas.0``, which is easier to
    type in a shell.

    Args:
        of: the name that was typed.
        base: the optimizer's hyperparameters by name.

    Raises:
        UserError: the optimizer has no such hyperparameter.
    """
    typed = {name.replace("[", ".").rstrip("]"): name for name in base}
    if "betas[0]" in base:
        typed.setdefault("momentum", "betas[0]")
    if of not in base and of not in typed:
        reason = f"the optimizer has no such hyperparameter; {nearest(of, list(typed))}"
        raise UserError("of", of, reason)
    return of if of in base else typed[of]
