"""Whether a surface, an optimizer and a schedule fit together: said before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gradexp.mistakes import Mistake
from gradexp.numbers import LANES, each, in_lanes, replaced, select
from gradexp.optimizers import External, Optimizer
from gradexp.schedules import Constant, Schedule
from gradexp.surfaces import Surface

_LOOKS = 1000
"""Steps, at most, at which it is looked whether a schedule keeps to the ranges."""


def check_fit(
    surface: Surface, optimizer: Optimizer | External, schedule: Schedule, steps: int
) -> None:
    """Checks that an optimizer is told what it needs, has what is scheduled, and may have it; of a
    batch, the first run's.

    Raises:
        Mistake: not so.
    """
    if isinstance(optimizer, Optimizer) and not type(optimizer).__module__.startswith("gradexp."):
        _check_rule(select(optimizer, 0))
    if isinstance(optimizer, Optimizer) and optimizer.needs_gap and surface.minimum is None:
        reason = f"needs a surface whose least value is known, which {surface.label()}'s is not"
        raise Mistake("optimizer", optimizer.label(), reason)
    if isinstance(schedule, Constant):
        return
    rule, plan = select(optimizer, 0), select(schedule, 0)
    some = torch.linspace(0, steps - 1, min(steps, _LOOKS), dtype=torch.float64).round()
    try:
        known = rule.hyperparameters()
        values = plan.values(known, some[:, None])
        for name in values:
            if name not in known or "." in name:
                raise Mistake("", name, "is no number of the optimizer that can be scheduled")
        rows = {
            name: torch.as_tensor(value).double().expand(len(some), 1)[:, 0]
            for name, value in values.items()
        }
        if isinstance(rule, Optimizer):
            _check_ranges(rule, rows, some)
    except Mistake as mistake:
        raise mistake.under("schedule") from None


def _check_rule(rule: Optimizer) -> None:
    """Makes a step of a rule, of one's own it may be, on both forms of a point.

    Raises:
        Mistake: it raised an exception, or gave something else than a point and a state.
    """
    name = type(rule).__name__
    if "lr" not in rule.hyperparameters():
        reason = "has no number lr: annotate it as one, such as gradexp.numbers.Positive"
        raise Mistake("optimizer", name, reason)
    point = torch.linspace(1.0, 2.0, 2 * LANES, dtype=torch.float64).reshape(2, -1)
    lanes = in_lanes(rule, LANES, point.dtype, point.device)
    more = {"gap": point[0].square()} if rule.needs_gap else {}
    forms: tuple[Any, ...] = (point, tuple(point))
    try:
        moved = [
            lanes.update(form, each(torch.clone, form), lanes.init(form), 0, **more)[0]
            for form in forms
        ]
        alike = [type(one) is type(form) for one, form in zip(moved, forms, strict=True)]
        same = all(alike) and torch.allclose(moved[0], torch.stack(moved[1]), equal_nan=True)
    except Exception as error:
        raise Mistake("optimizer", name, f"a step of it failed: {error!r}") from error
    if not same:
        reason = "its update must give the next point in the form of the one that it is given, "
        raise Mistake("optimizer", name, f"{reason}and a state (see gradexp.numbers.each)")


def _check_ranges(rule: Optimizer, values: Mapping[str, Tensor], step: Tensor) -> None:
    """Checks what a schedule makes of an optimizer at some steps. A learning rate may be 0.

    Raises:
        Mistake: one of its numbers leaves its range.
    """
    ends = [int(end) for row in values.values() for end in (row.argmin(), row.argmax())]
    for index in dict.fromkeys(ends):
        now = {name: float(row[index]) for name, row in values.items()}
        if now.get("lr") == 0:
            del now["lr"]
        try:
            replaced(rule, now).__post_init__()
        except Mistake as mistake:
            reason = f"{mistake.reason}, which it is not at step {int(step[index])}"
            raise Mistake(mistake.key, mistake.value, reason) from None
