"""The contract of a schedule: how a hyperparameter changes from step to step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gradexp.errors import UserError, nearest
from gradexp.numbers import Component, Number


class Schedule(Component):
    """What some of an optimizer's hyperparameters are at each step; subclasses are frozen
    dataclasses.

    Steps come as a tensor of real numbers, counted from 0: of shape ``()`` or, for R steps at once,
    ``(R, 1)``. Only pointwise arithmetic on torch tensors is used, so that any number of a schedule
    may be a tensor ``(B,)`` with one number a run.
    """

    @abstractmethod
    def values(self, base: Mapping[str, Number], step: Tensor) -> dict[str, Number]:
        """The hyperparameters that change, by their name, in the update that leads from `step` on.

        Args:
            base: the optimizer's hyperparameters, by name: ``lr``, ``betas[0]``, …
            step: see above.

        Raises:
            UserError: the optimizer has no hyperparameter of that name.
        """


class Single(Schedule):
    """A schedule of one hyperparameter, its field `of`."""

    of: str

    @abstractmethod
    def value(self, base: Number, step: Tensor) -> Any:
        """The hyperparameter.

        Args:
            base: what the optimizer has been given for it.
            step: see `Schedule`.
        """

    def values(self, base: Mapping[str, Number], step: Tensor) -> dict[str, Number]:
        name = named(self.of, base)
        return {name: self.value(base[name], step)}


def named(of: str, base: Mapping[str, Number]) -> str:
    """The name of a hyperparameter among an optimizer's: ``momentum`` is ``betas[0]`` where there
    is none of that name, as in ``torch.optim.lr_scheduler``; and so is ``betas.0``, which is easier
    to type.

    Raises:
        UserError: there is no such hyperparameter.
    """
    typed = {name.replace("[", ".").rstrip("]"): name for name in base}
    if "betas[0]" in base:
        typed.setdefault("momentum", "betas[0]")
    if of not in base and of not in typed:
        raise UserError("of", of, f"the optimizer has no such number; {nearest(of, list(typed))}")
    return of if of in base else typed[of]
