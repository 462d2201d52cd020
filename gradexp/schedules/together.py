"""A schedule that combines two schedules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gradexp.errors import UserError
from gradexp.numbers import Number
from gradexp.schedules.schedule import Schedule


@dataclass(frozen=True)
class Together(Schedule):
    """Two schedules of different hyperparameters; each may itself combine two.

    Args:
        first: a schedule.
        second: another schedule.
    """

    first: Schedule
    second: Schedule

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, schedule in self._parts():
            if not isinstance(schedule, Schedule):
                reason = "must be a schedule"
                if isinstance(schedule, str):
                    reason += f"; choose one with schedule@schedule.{name}={schedule}"
                raise UserError(name, schedule, reason)

    def values(self, base: Mapping[str, Number], step: Tensor) -> dict[str, Number]:
        changed: dict[str, Number] = {}
        for name, schedule in self._parts():
            try:
                more = schedule.values(base, step)
            except UserError as mistake:
                raise mistake.under(name) from None
            both = [hyperparameter for hyperparameter in more if hyperparameter in changed]
            if both:
                reason = (
                    f"both schedules set {', '.join(both)}; choose another 'of' for one of them"
                )
                raise UserError(name, schedule.label(), reason)
            changed |= more
        return changed

    def _parts(self) -> list[tuple[str, Any]]:
        return [("first", self.first), ("second", self.second)]
