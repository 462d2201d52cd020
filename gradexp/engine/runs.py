"""A batch of runs on its way, and what is noted of each run at every step.

What a step means is said here once. The eager and the reference engine note many steps at a time,
as rows of tensors ``(R, B)``, for one torch operation costs as much as a thousand numbers; a
compiled block notes each step as it makes it, in registers, as tensors ``(B,)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradexp.engine.problem import Problem
from gradexp.numbers import Number, Point, each, fold, like, numbers, replaced, total
from gradexp.optimizers import Optimizer
from gradexp.surfaces import value_and_gradient

NEVER = 2**31 - 1
"""The step of what has not happened; no run is longer."""


class Runs(NamedTuple):
    """Where B runs are, and what was noted of them; each tensor ``(B,)`` but for the points."""

    # what is noted, in the order of `Notes`
    point: Any
    path_length: Tensor
    loss: Tensor
    """at the last look, before the last move if there was one"""
    gradient_square: Tensor
    """the squared norm of the gradient there"""
    best_loss: Tensor
    steps: Tensor
    """moves made"""
    reversals: Tensor
    """moves at more than a right angle to the move before"""
    best_step: Tensor
    gradient_steps: tuple[Tensor, ...]
    """for each tolerance, the first step at which the gradient norm was within it"""
    gap_steps: tuple[Tensor, ...]
    """the same of the loss gap; empty where the minimum is unknown"""

    # what the next move needs besides
    memory: Any
    """the optimizer's state"""
    move: Any
    """the last move, of the point's form"""


class Notes(NamedTuple):
    """What is noted of B runs, the fields of `Runs` as rows."""

    reals: Tensor
    """``(dim + 4, B)``: the point, then `path_length` to `best_loss`"""
    counts: Tensor
    """whole numbers ``(n, B)``: `steps` to `gap_steps`"""


def notes(runs: Runs) -> Notes:
    """What is noted of runs whose points are ``(dim, B)``."""
    noted = (runs.path_length, runs.loss, runs.gradient_square, runs.best_loss)
    counts = (runs.steps, runs.reversals, runs.best_step, *runs.gradient_steps, *runs.gap_steps)
    return Notes(torch.cat([runs.point, torch.stack(noted)]), torch.stack(counts))


def begin(point: Point, optimizer: Optimizer | None, tolerances: int, gaps: bool) -> Runs:
    """Runs at their starts.

    Args:
        point: a tensor ``(dim, B)`` or `dim` tensors ``(B,)``.
        optimizer: whose state to prepare; none for the reference engine, whose runs keep theirs.
        tolerances: how many.
        gaps: whether the loss gap is known.
    """
    real = torch.zeros_like(point[0])
    whole = torch.zeros_like(real, dtype=count_type(real.dtype))
    never = tuple(torch.full_like(whole, NEVER) for _ in range(tolerances))
    return Runs(
        point=point,
        path_length=real,
        loss=real,
        gradient_square=real,
        best_loss=torch.full_like(real, torch.inf),
        steps=whole,
        reversals=whole,
        best_step=whole,
        gradient_steps=never,
        gap_steps=never if gaps else (),
        memory=optimizer.init(point) if optimizer else (),
        move=each(torch.zeros_like, point),
    )


def count_type(dtype: torch.dtype) -> torch.dtype:
    """Whole numbers as wide as these reals, so that both fill the same number of lanes."""
    return torch.int64 if dtype == torch.float64 else torch.int32


def has_diverged(problem: Problem, point: Point, loss: Tensor) -> Tensor:
    """Whether the loss or a coordinate is too large in size, or not finite."""
    farthest = like(problem.stop.divergence, point).clamp(max=torch.finfo(loss.dtype).max)
    inside = fold(torch.logical_and, each(lambda x: x.abs() <= farthest, point))
    return ~(inside & (loss.abs() <= farthest))


def is_stationary(problem: Problem, gradient_square: Tensor) -> Tensor:
    """Whether the gradient norm is within the stop's."""
    return gradient_square <= like(problem.stop.gradient, (gradient_square,)).square()


def note_look(
    problem: Problem,
    runs: Runs,
    step: int | Tensor,
    loss: Tensor,
    gradient_square: Tensor,
    over_rows: Callable[..., Tensor] | None = None,
) -> Runs:
    """The runs after a look at their losses and gradients.

    Args:
        problem: its numbers in lanes.
        runs: before.
        step: of the look; ``(R, 1)`` for rows.
        loss: ``(B,)``, or ``(R, B)`` for R looks one after the other.
        gradient_square: likewise.
        over_rows: combines rows by an operation: `fold`; None where there are none.
    """
    now = like(step, (runs.best_step,))
    never = torch.full_like(now, NEVER)

    def first(happened: Tensor) -> Tensor:
        when = torch.where(happened, now, never)
        return over_rows(torch.minimum, when) if over_rows else when

    def passages(before: tuple[Tensor, ...], size: Tensor, limits: list[Tensor]) -> Any:
        met = (first(size <= limit) for limit in limits)
        return tuple(torch.minimum(b, m) for b, m in zip(before, met, strict=True))

    better, when = loss < runs.best_loss, now
    if over_rows:
        losses = torch.where(better, loss, torch.inf)  # without NaN, which is no minimum
        loss_now = over_rows(torch.minimum, losses)
        when = first(losses <= loss_now)
        better = loss_now < runs.best_loss
    else:
        loss_now = loss
    tolerances = [like(float(t), (loss,)) for t in problem.record.tolerances]
    squares = [tolerance.square() for tolerance in tolerances]
    gaps = ()
    if runs.gap_steps:
        (least,) = problem.least.value
        gaps = passages(runs.gap_steps, loss - like(least, (loss,)), tolerances)
    return runs._replace(
        best_loss=torch.where(better, loss_now, runs.best_loss),
        best_step=torch.where(better, when, runs.best_step),
        gradient_steps=passages(runs.gradient_steps, gradient_square, squares),
        gap_steps=gaps,
    )


def note_moves(
    runs: Runs,
    move: Point,
    move_before: Point,
    goes_on: Tensor,
    over_rows: Callable[..., Tensor] | None = None,
) -> Runs:
    """The runs after a move.

    Args:
        runs: before.
        move: ``(dim, B)``, or ``(dim, R, B)`` for R moves one after the other.
        move_before: the move before each.
        goes_on: which runs make it, ``(B,)`` or ``(R, B)``; the others stay where they are.
        over_rows: as in `note_look`.
    """
    length = total(each(torch.square, move)).sqrt()
    back = total(each(torch.mul, move, move_before)) < 0

    def summed(values: Tensor) -> Tensor:
        return over_rows(torch.add, values) if over_rows else values

    whole = runs.steps.dtype
    return runs._replace(
        steps=runs.steps + summed(goes_on.to(whole)),
        path_length=runs.path_length + summed(torch.where(goes_on, length, 0.0)),
        reversals=runs.reversals + summed((goes_on & back).to(whole)),
    )


def step_once(problem: Problem, runs: Runs, step: Tensor) -> Runs:
    """The runs after one look and, but at the last step, one move; runs that ended stay.

    Args:
        problem: its numbers in lanes.
        runs: before.
        step: a whole number ``()``, from 0 to the problem's steps.
    """
    loss, gradient = value_and_gradient(problem.surface, runs.point)
    gradient_square = total(each(torch.square, gradient))
    runs = note_look(problem, runs, step, loss, gradient_square)
    ended = has_diverged(problem, runs.point, loss) | is_stationary(problem, gradient_square)
    goes_on = ~ended & (step < problem.steps)
    scheduled = scheduled_at(problem, step.to(loss.dtype))
    look = Look(runs.point, loss, gradient)
    moved, memory = move_from(problem, look, runs.memory, step, scheduled)
    move = each(torch.sub, moved, runs.point)
    runs = note_moves(runs, move, runs.move, goes_on)
    return runs._replace(
        point=each(lambda new, old: torch.where(goes_on, new, old), moved, runs.point),
        memory=memory,
        move=move,
        loss=loss,
        gradient_square=gradient_square,
    )


class Look(NamedTuple):
    """What is seen where runs are."""

    point: Any
    loss: Tensor
    gradient: Any
    """of the point's form"""


def scheduled_at(problem: Problem, step: Tensor) -> dict[str, Number]:
    """The hyperparameters that the schedule changes, by name.

    Args:
        problem: its numbers in lanes.
        step: real numbers, ``()`` or ``(R, 1)``.
    """
    return problem.schedule.values(numbers(problem.batched), step)


def move_from(
    problem: Problem, look: Look, memory: Any, step: Any, scheduled: Mapping[str, Number]
) -> tuple[Any, Any]:
    """The next point and the optimizer's next state.

    Args:
        problem: its numbers in lanes.
        look: what is seen where the runs are.
        memory: the optimizer's state.
        step: the moves made before.
        scheduled: see `scheduled_at`.
    """
    optimizer = replaced(problem.batched, scheduled)
    gradient = problem.clip.clip(problem.noise.disturb(look.gradient, step))
    more = {}
    if optimizer.needs_gap:
        (least,) = problem.least.value
        more["gap"] = look.loss - like(least, (look.loss,))
    following: tuple[Any, Any] = optimizer.update(look.point, gradient, memory, step, **more)
    return following
