"""Checks, before anything runs, that a surface, an optimizer and a schedule fit together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gradexp.errors import UserError
from gradexp.numbers import (
    LANES,
    Component,
    Number,
    batch_size,
    each,
    in_lanes,
    map_numbers,
    numbers,
    replaced,
    select,
    with_parts,
)
from gradexp.optimizers import External, Optimizer
from gradexp.schedules import Constant, Schedule
from gradexp.surfaces import Surface

_LOOKS = 1000
"""The maximum number of steps at which a schedule's values are checked."""
_RUNS = 32
"""The number of evenly spaced runs that are checked besides those with extreme values."""


def check_precision(name: str, part: Component, dtype: torch.dtype) -> None:
    """Checks that numbers stay in their ranges when rounded to the precision of the runs.

    For example, 1e-50 is 0 in float32, which is not positive.

    Args:
        name: the name of the component, for the message.
        part: the component whose numbers are checked.
        dtype: the dtype of the runs.

    Raises:
        UserError: if a rounded number lies outside its range.
    """
    if dtype == torch.float64:
        return

    def rounded(number: Any, _: str) -> Any:
        if isinstance(number, Tensor):
            return number.to(dtype) if number.is_floating_point() else number
        return number if isinstance(number, int) else float(torch.tensor(number, dtype=dtype))

    for path, component in with_parts(map_numbers(part, rounded), name):
        try:
            component.__post_init__()
        except UserError as mistake:
            reason = f"{mistake.reason}, in {str(dtype).removeprefix('torch.')}"
            raise UserError(f"{path}.{mistake.key}", mistake.value, reason) from None


def check_fit(
    surface: Surface, optimizer: Optimizer | External, schedule: Schedule, steps: int
) -> None:
    """Checks that an optimizer fits the surface and the schedule.

    The optimizer's update rule must work if it is defined outside gradexp, the surface's minimum
    must be known if the rule needs it, and the schedule may change only numbers that the optimizer
    has, and only within their ranges. Of a large batch, the runs with the smallest and the largest
    value of each number are checked, and some evenly spaced ones.

    Raises:
        UserError: if one of these does not hold.
    """
    if isinstance(optimizer, Optimizer) and not type(optimizer).__module__.startswith("gradexp."):
        _check_rule(select(optimizer, 0))
    if isinstance(optimizer, Optimizer) and optimizer.needs_gap and not _knows_minimum(surface):
        reason = f"needs a surface whose least value is known, which {surface.label()}'s is not"
        raise UserError("optimizer", optimizer.label(), reason)
    if isinstance(schedule, Constant):
        return
    rule, plan = _told_apart(optimizer, schedule)
    looks = torch.linspace(0, steps - 1, min(steps, _LOOKS), dtype=torch.float64).round()
    try:
        known = _base(rule)
        values = plan.values(known, looks[:, None])
        for name in values:
            if name not in known or "." in name:
                raise UserError("", name, "is not a number of the optimizer that can be scheduled")
        if isinstance(rule, Optimizer):
            _check_ranges(rule, plan, values, looks)
    except UserError as mistake:
        raise mistake.under("schedule") from None


def _knows_minimum(surface: Surface) -> bool:
    """Returns whether the minimum of every run's surface is known."""
    least = surface.minimum
    return least is not None and not bool(torch.as_tensor(least).isnan().any())


def _told_apart(*components: Any) -> list[Any]:
    """Returns the components restricted to the runs of a batch that are to be checked.

    These are the runs with the smallest and the largest value of each number, and `_RUNS` evenly
    spaced ones.
    """
    every = [number for one in components for number in numbers(one).values()]
    columns = [n.reshape(-1) for n in every if isinstance(n, Tensor) and n.numel() > 1]
    ends = [end.item() for column in columns for end in (column.argmin(), column.argmax())]
    between = torch.linspace(0, len(columns[0]) - 1 if columns else 0, _RUNS).round().tolist()
    runs = sorted({int(run) for run in (*ends, *between)})

    def of_runs(number: Any, _: str) -> Any:
        if not isinstance(number, Tensor):
            return number
        column = number.reshape(-1)
        return (column[runs] if len(column) > 1 else column.expand(len(runs))).cpu()

    return [map_numbers(one, of_runs) for one in components]


def _base(optimizer: Optimizer | External) -> Mapping[str, Number]:
    """Returns the hyperparameters of the runs, by name."""
    if isinstance(optimizer, Optimizer):
        return optimizer.hyperparameters()
    runs = [select(optimizer, run).hyperparameters() for run in range(batch_size(optimizer))]
    return {name: torch.tensor([run[name] for run in runs]) for name in runs[0]}


def _check_rule(rule: Optimizer) -> None:
    """Checks a user-defined update rule by making a step with both forms of a point.

    Raises:
        UserError: if the rule has no `lr`, fails, returns something other than a point and a state,
            or returns different points for the two forms.
    """
    name = type(rule).__name__
    if "lr" not in rule.hyperparameters():
        reason = "has no number lr: annotate it as one, such as gradexp.numbers.Positive"
        raise UserError("optimizer", name, reason)
    point = torch.linspace(1.0, 2.0, 2 * LANES, dtype=torch.float64).reshape(2, -1)
    lanes = in_lanes(rule, LANES, point.dtype, point.device)
    more = {"gap": point[0].square()} if rule.needs_gap else {}
    forms: tuple[Any, ...] = (point, tuple(point))
    try:
        moved = [
            lanes.update(form, each(torch.clone, form), lanes.init(form), 0, **more)[0]
            for form in forms
        ]
        alike = all(type(one) is type(form) for one, form in zip(moved, forms, strict=True))
        same = alike and torch.allclose(moved[0], torch.stack(moved[1]), equal_nan=True)
    except Exception as error:
        reason = f"a step of it failed: {error!r}"
        if isinstance(error, TypeError):
            reason += " (a point may be a tuple: see gradexp.numbers.each)"
        raise UserError("optimizer", name, reason) from error
    if not alike:
        reason = "its update must give the next point in the form of the one that it is given, "
        raise UserError("optimizer", name, f"{reason}and a state (see gradexp.numbers.each)")
    if not same:
        reason = "its update must give the same for a tensor as for a tuple of its rows: "
        reason += "by pointwise arithmetic, nothing of it by chance"
        raise UserError("optimizer", name, reason)


def _check_ranges(
    rule: Optimizer, plan: Schedule, values: Mapping[str, Number], looks: Tensor
) -> None:
    """Checks that scheduled hyperparameters stay in their ranges; a learning rate may be 0.

    Args:
        rule: the optimizer of the runs that are checked.
        plan: their schedule.
        values: the scheduled values, by name, each a row per step.
        looks: the steps of these rows, ``(R,)``.

    Raises:
        UserError: if a hyperparameter leaves its range.
    """
    rows = [torch.as_tensor(value).double() for value in values.values()]
    _, *tables = torch.broadcast_tensors(looks[:, None], *rows)  # type: ignore[no-untyped-call]
    ends = [int(end) for table in tables for end in (table.argmin(), table.argmax())]
    for end in dict.fromkeys(ends):
        look, run = divmod(end, tables[0].shape[1])
        now = {n: float(table[look, run]) for n, table in zip(values, tables, strict=True)}
        if now.get("lr") == 0:
            del now["lr"]
        try:
            replaced(select(rule, run), now).__post_init__()
        except UserError as mistake:
            made = f"at step {int(looks[look])} {mistake.key}={mistake.value}"
            raise UserError("", plan.label(), f"{made} {mistake.reason}") from None
