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
from gradexp.numbers import Number, Points, each, fold, like, numbers, replaced, substitute, total
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
    move_square: Tensor
    """the squared length of the last move that was made; infinite before the first"""
    left: tuple[Tensor, ...]
    """1 where the gradient norm has been above its limit since the step after which it must have
    been, 0 where not yet; empty where a run may rest at any step"""
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
    """``(dim + 5 or 6, B)``: the point, then `path_length` to `left`"""
    counts: Tensor
    """whole numbers ``(n, B)``: `steps` to `gap_steps`"""
    before: Tensor
    """``(B,)``: the best loss of the looks before the middle one of the problem's steps"""


def notes(runs: Runs, before: Tensor) -> Notes:
    """What is noted of runs whose points are ``(dim, B)``; `before` as in `Notes`."""
    noted = (
        runs.path_length,
        runs.loss,
        runs.gradient_square,
        runs.best_loss,
        runs.move_square,
        *runs.left,
    )
    counts = (runs.steps, runs.reversals, runs.best_step, *runs.gradient_steps, *runs.gap_steps)
    return Notes(torch.cat([runs.point, torch.stack(noted)]), torch.stack(counts), before)


def begin(problem: Problem, point: Points, optimizer: Optimizer | None) -> Runs:
    """Runs at their starts.

    Args:
        problem: theirs.
        point: a tensor ``(dim, B)`` or `dim` tensors ``(B,)``.
        optimizer: whose state to prepare; none for the reference engine, whose runs keep theirs.
    """
    real = torch.zeros_like(point[0])
    whole = torch.zeros_like(real, dtype=count_type(real.dtype))
    never = tuple(torch.full_like(whole, NEVER) for _ in problem.record.tolerances)
    return Runs(
        point=point,
        path_length=real,
        loss=real,
        gradient_square=real,
        best_loss=torch.full_like(real, torch.inf),
        move_square=torch.full_like(real, torch.inf),
        left=tuple(real for _ in problem.limits.released),
        steps=whole,
        reversals=whole,
        best_step=whole,
        gradient_steps=never,
        gap_steps=never if problem.limits.minimum else (),
        memory=optimizer.init(point) if optimizer else (),
        move=each(torch.zeros_like, point),
    )


def count_type(dtype: torch.dtype) -> torch.dtype:
    """Whole numbers as wide as these reals, so that both fill the same number of lanes."""
    return torch.int64 if dtype == torch.float64 else torch.int32


def is_within(problem: Problem, point: Points, loss: Tensor) -> Tensor:
    """Whether loss and coordinates are finite and not too large in size: it has not diverged."""
    farthest = like(problem.limits.coordinate, point)
    inside = fold(torch.logical_and, each(lambda x: x.abs() <= farthest, point))
    return inside & (loss.abs() <= like(problem.limits.loss, point))


def is_at_rest(
    problem: Problem, gradient_square: Tensor, move_square: Tensor, left: tuple[Tensor, ...]
) -> Tensor:
    """Whether gradient and last move are all but zero; of a run at rest they stay so."""
    limits, form = problem.limits, (gradient_square,)
    small = gradient_square <= like(limits.gradient_square, form)
    rests = small & (move_square <= like(limits.move_square, form))
    for has_left in left:
        rests = rests & (has_left > 0)
    return rests


def note_leaving(
    problem: Problem, left: tuple[Tensor, ...], step: int | Tensor, gradient_square: Tensor
) -> tuple[Tensor, ...]:
    """`Runs.left` after a look, or at each of R looks one after the other.

    Args:
        problem: its numbers in lanes.
        left: before.
        step: of the look; ``(R, 1)`` for rows.
        gradient_square: ``(B,)``, or ``(R, B)``.
    """
    form = (gradient_square,)
    above = ~(gradient_square <= like(problem.limits.gradient_square, form))
    after = []
    for before, released in zip(left, problem.limits.released, strict=True):
        now = above & (like(step, form) > like(released, form))
        if gradient_square.dim() > 1:
            now = now.to(torch.int32).cumsum(dim=0) > 0
        after.append(torch.where(now, 1.0, before))
    return tuple(after)


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
        (least,) = problem.limits.minimum
        gaps = passages(runs.gap_steps, loss - like(least, (loss,)), tolerances)
    return runs._replace(
        best_loss=torch.where(better, loss_now, runs.best_loss),
        best_step=torch.where(better, when, runs.best_step),
        gradient_steps=passages(runs.gradient_steps, gradient_square, squares),
        gap_steps=gaps,
    )


def note_moves(
    runs: Runs,
    move: Points,
    move_before: Points,
    goes_on: Tensor,
    over_rows: Callable[..., Tensor] | None = None,
) -> Runs:
    """The runs after a move.

    Args:
        runs: before.
        move: ``(dim, B)``, or ``(dim, R, B)`` for R moves one after the other.
        move_before: the move before each.
        goes_on: which runs make it, ``(B,)`` or ``(R, B)``.
        over_rows: as in `note_look`.
    """
    square = total(each(torch.square, move))
    back = total(each(torch.mul, move, move_before)) < 0

    def counted(before: Tensor, happened: Tensor) -> Tensor:
        if over_rows:
            return before + over_rows(torch.add, happened.to(before.dtype))
        return torch.where(happened, before + 1, before)

    if over_rows:  # the last one that was made
        made = over_rows(torch.add, goes_on.to(torch.int64))
        held = torch.cat([runs.move_square[None], square]).gather(0, made[None])[0]
    else:
        held = torch.where(goes_on, square, runs.move_square)
    length = torch.where(goes_on, square.sqrt(), 0.0)
    return runs._replace(
        steps=counted(runs.steps, goes_on),
        path_length=runs.path_length + (over_rows(torch.add, length) if over_rows else length),
        reversals=counted(runs.reversals, goes_on & back),
        move_square=held,
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
    left = note_leaving(problem, runs.left, step, gradient_square)
    rests = is_at_rest(problem, gradient_square, runs.move_square, left)
    goes_on = is_within(problem, runs.point, loss) & ~rests & (step < problem.steps)
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
        left=left,
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
    optimizer = substitute(optimizer, scheduled=frozenset(scheduled))
    gradient = problem.clip.clip(problem.noise.disturb(look.gradient, step))
    more = {}
    if optimizer.needs_gap:
        (least,) = problem.limits.minimum
        more["gap"] = look.loss - like(least, (look.loss,))
    following: tuple[Any, Any] = optimizer.update(look.point, gradient, memory, step, **more)
    return following
