"""The state of a batch of runs, and how each step changes it.

A step consists of a *look*, which evaluates the loss and the gradient at a run's point, and a
*move*, which is the optimizer's update. At the last step there is a look only.

This module is the only definition of a step. The eager engine processes many steps at a time, as
tensors ``(R, B)`` of R rows, because one torch operation costs as much as the arithmetic on a
thousand numbers. The reference engine and a compiled block process each step by itself, as tensors
``(B,)``, which in a compiled block stay in registers.
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
"""The step number of an event that has not happened; no run has as many steps."""


class Runs(NamedTuple):
    """The state of B runs and the metrics collected so far.

    All tensors have shape ``(B,)``, except for the points, the last move and the optimizer's state.
    """

    # metrics, in the order of `Notes`
    point: Any
    path_length: Tensor
    loss: Tensor
    """the loss at the last look, before the last move if there was one"""
    gradient_square: Tensor
    """the squared norm of the gradient at the last look"""
    best_loss: Tensor
    move_square: Tensor
    """the squared length of the last move; infinite before the first move"""
    left: tuple[Tensor, ...]
    """1 for a run whose gradient norm has exceeded its limit after the step `Limits.released`, else
    0; empty if runs may rest at any step"""
    steps: Tensor
    """the number of moves made"""
    reversals: Tensor
    """the number of moves at an angle of more than 90° to the previous move"""
    best_step: Tensor
    gradient_steps: tuple[Tensor, ...]
    """for each tolerance, the first step at which the gradient norm was at most this, or `NEVER`"""
    gap_steps: tuple[Tensor, ...]
    """the same for the loss gap; empty if the surface's minimum is unknown"""

    # what the next step needs in addition
    memory: Any
    """the optimizer's state"""
    move: Any
    """the last move, in the same form as the point"""


class Notes(NamedTuple):
    """The metrics of B runs: the fields of `Runs` as the rows of a few tensors."""

    reals: Tensor
    """``(dim + 5 or 6, B)``: the point, then `path_length` to `left`"""
    counts: Tensor
    """integers ``(n, B)``: `steps` to `gap_steps`"""
    before: Tensor
    """``(B,)``: the best loss in the first half of the problem's steps"""


def notes(runs: Runs, before: Tensor) -> Notes:
    """Returns the metrics of runs.

    Args:
        runs: their state; the points are a tensor ``(dim, B)``.
        before: see `Notes.before`.
    """
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
    """Returns the state of runs at their starts.

    Args:
        problem: the problem to run.
        point: the starts, a tensor ``(dim, B)`` or `dim` tensors ``(B,)``.
        optimizer: the optimizer whose state to initialize; None for the reference engine, where
            ``torch.optim`` keeps the state.
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
    """Returns the integer dtype as wide as a floating-point dtype.

    With equal widths, integers and floating-point numbers fill equally many vector lanes.
    """
    return torch.int64 if dtype == torch.float64 else torch.int32


def is_within(problem: Problem, point: Points, loss: Tensor) -> Tensor:
    """Returns which runs have not diverged: loss and coordinates are finite and within limits."""
    farthest = like(problem.limits.coordinate, point)
    inside = fold(torch.logical_and, each(lambda x: x.abs() <= farthest, point))
    return inside & (loss.abs() <= like(problem.limits.loss, point))


def is_at_rest(
    problem: Problem, gradient_square: Tensor, move_square: Tensor, left: tuple[Tensor, ...]
) -> Tensor:
    """Returns which runs are at rest: their gradient and their last move are almost zero.

    A run at rest stops, so it is at rest at all later looks too.
    """
    limits, form = problem.limits, (gradient_square,)
    small = gradient_square <= like(limits.gradient_square, form)
    rests = small & (move_square <= like(limits.move_square, form))
    for has_left in left:
        rests = rests & (has_left > 0)
    return rests


def note_leaving(
    problem: Problem, left: tuple[Tensor, ...], step: int | Tensor, gradient_square: Tensor
) -> tuple[Tensor, ...]:
    """Returns `Runs.left` after one look, or after each of R successive looks.

    Args:
        problem: the problem, as returned by `Problem.lanes`.
        left: the value before.
        step: the step of the look; for R looks, a tensor ``(R, 1)``.
        gradient_square: the squared gradient norms, ``(B,)`` or ``(R, B)``.
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
    """Returns the runs with the metrics of one look, or of R successive looks, added.

    Args:
        problem: the problem, as returned by `Problem.lanes`.
        runs: the runs before.
        step: the step of the look; for R looks, a tensor ``(R, 1)``.
        loss: the losses, ``(B,)`` or ``(R, B)``.
        gradient_square: the squared gradient norms, ``(B,)`` or ``(R, B)``.
        over_rows: `fold`, to combine the R rows by an operation; None for a single look.
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
        losses = torch.where(better, loss, torch.inf)  # NaN would become the minimum
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
    """Returns the runs with the metrics of one move, or of R successive moves, added.

    Args:
        runs: the runs before.
        move: the moves, ``(dim, B)`` or ``(dim, R, B)``.
        move_before: the previous move for each of them.
        goes_on: which runs make the move, ``(B,)`` or ``(R, B)``.
        over_rows: as in `note_look`.
    """
    square = total(each(torch.square, move))
    back = total(each(torch.mul, move, move_before)) < 0

    def counted(before: Tensor, happened: Tensor) -> Tensor:
        if over_rows:
            return before + over_rows(torch.add, happened.to(before.dtype))
        return torch.where(happened, before + 1, before)

    if over_rows:  # the row of the last move that was made
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
    """Returns the runs after one look and, except at the last step, one move.

    Runs that have ended do not move.

    Args:
        problem: the problem, as returned by `Problem.lanes`.
        runs: the runs before.
        step: the step, an integer tensor ``()`` from 0 to the problem's number of steps.
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
    """The loss and the gradient at the points of runs."""

    point: Any
    loss: Tensor
    gradient: Any
    """in the same form as the point"""


def scheduled_at(problem: Problem, step: Tensor) -> dict[str, Number]:
    """Returns the hyperparameters that the schedule changes, by name.

    Args:
        problem: the problem, as returned by `Problem.lanes`.
        step: the step as a floating-point tensor ``()``, or R steps ``(R, 1)``.
    """
    return problem.schedule.values(numbers(problem.batched), step)


def move_from(
    problem: Problem, look: Look, memory: Any, step: Any, scheduled: Mapping[str, Number]
) -> tuple[Any, Any]:
    """Returns the next point and the optimizer's next state.

    Args:
        problem: the problem, as returned by `Problem.lanes`.
        look: loss and gradient at the current point.
        memory: the optimizer's state.
        step: the number of moves made before.
        scheduled: the scheduled hyperparameters, see `scheduled_at`.
    """
    optimizer = replaced(problem.batched, scheduled)
    optimizer = substitute(optimizer, scheduled_names=frozenset(scheduled))
    gradient = problem.clip.clip(problem.noise.add_to(look.gradient, step))
    more = {}
    if optimizer.needs_gap:
        (least,) = problem.limits.minimum
        more["gap"] = look.loss - like(least, (look.loss,))
    following: tuple[Any, Any] = optimizer.update(look.point, gradient, memory, step, **more)
    return following
