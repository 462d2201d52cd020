"""Runs blocks of steps eagerly, one torch operation after the other.

The metrics of all steps of a block are computed together at its end, and a run that ended inside
the block is then reset to where it ended. This halves the time of a step for small batches.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from gradexp.engine.problem import PARTS, Problem
from gradexp.engine.recording import Recorder
from gradexp.engine.runs import (
    Look,
    Notes,
    Runs,
    begin,
    is_at_rest,
    is_within,
    move_from,
    note_leaving,
    note_look,
    note_moves,
    notes,
    scheduled_at,
)
from gradexp.numbers import Component, Number, fold, map_numbers, numbers, padded, total
from gradexp.surfaces import value_and_gradient


class Rows(NamedTuple):
    """The losses, squared gradient norms and points of the R looks of a block."""

    loss: Tensor
    """``(R, B)``"""
    gradient_square: Tensor
    """``(R, B)``"""
    point: Tensor
    """``(dim, R, B)``"""


_STEPS, _COORDINATES = 64, 2**15
"""The number of steps of a block, and the dimension up to which a block has that many."""


def block_length(dim: int) -> int:
    """Returns the number of steps of a block, which is smaller for high dimensions to save memory.

    Path lengths are summed block by block, so that their last bit depends on this number. It
    therefore depends on the surface's dimension alone.
    """
    return max(1, min(_STEPS, _STEPS * _COORDINATES // dim))


class EagerChunk:
    """Runs that are advanced by torch operations."""

    def __init__(self, whole: Problem, columns: slice) -> None:
        self.shortest = self.longest = block_length(whole.start.shape[0])
        self._problem = problem = whole.lanes(columns.start, columns.stop)
        self._runs = begin(problem, problem.start, problem.batched)
        self._before = self._runs.best_loss

    def advance(self, first: int, looks: int, recorder: Recorder | None, columns: slice) -> None:
        moves = min(looks, self._problem.steps - first)
        best = self._runs.best_loss
        self._runs, seen = advance(self._problem, self._runs, first, looks, moves)
        self._take(first, best, seen, recorder, columns)

    def _take(
        self, first: int, best: Tensor, seen: Rows, recorder: Recorder | None, columns: slice
    ) -> None:
        """Records the rows of a block and updates the best loss of the first half of the steps.

        Args:
            first: the step of the block's first look.
            best: the best losses before the block, ``(B,)``.
            seen: the rows of the block.
            recorder: takes the rows; None if no steps are recorded.
            columns: the columns of the recorder that belong to this chunk.
        """
        if recorder:
            recorder.put(columns, first, *seen)
        until = self._problem.steps // 2 - first
        if 0 <= until < len(seen.loss):
            losses = torch.where(seen.loss[:until] < torch.inf, seen.loss[:until], torch.inf)
            self._before = torch.cat([best[None], losses]).amin(dim=0)

    def steps(self) -> Tensor:
        return self._runs.steps

    def notes(self) -> Notes:
        return notes(self._runs, self._before)

    def state(self) -> list[Tensor]:
        fields = [tree_leaves(field) for field in (self._runs.point, *self._runs.memory)]
        return [
            torch.cat([leaf.reshape(-1, leaf.shape[-1]) for leaf in leaves])
            for leaves in fields
            if leaves
        ]

    def gather(self, parts: Sequence[tuple[Self, Tensor]]) -> None:
        def gathered(*leaves: Tensor) -> Tensor:
            kept = (leaf[..., lanes] for leaf, (_, lanes) in zip(leaves, parts, strict=True))
            return padded(torch.cat([*kept], dim=-1))

        def of_all(component: Component, part: str) -> Component:
            others = [iter(numbers(getattr(c._problem, part)).values()) for c, _ in parts]

            def lanes(number: Any, name: str) -> Any:
                values = [next(other) for other in others]
                return gathered(*values) if isinstance(number, Tensor) else number

            return map_numbers(component, lanes)

        lanes: dict[str, Any] = {name: of_all(getattr(self._problem, name), name) for name in PARTS}
        self._runs = tree_map(gathered, *(chunk._runs for chunk, _ in parts))
        self._before = gathered(*(chunk._before for chunk, _ in parts))
        self._problem = dataclasses.replace(self._problem, start=self._runs.point, **lanes)


def advance(
    problem: Problem, runs: Runs, first: int | Tensor, looks: int, moves: int
) -> tuple[Runs, Rows]:
    """Makes one block of steps; returns the runs after it and the rows of its looks.

    Args:
        problem: the problem, as returned by `Problem.lanes`.
        runs: the runs before; their points are a tensor ``(dim, B)``.
        first: the step of the first look; a tensor ``()`` if no value may be read on the host.
        looks: the number of looks.
        moves: the number of moves: one after each look, except at the problem's last step.
    """
    point, memory = runs.point, runs.memory
    points, losses, gradients = [point], [], []
    scheduled = _scheduled(problem, first, moves)
    for number in range(looks):
        loss, gradient = value_and_gradient(problem.surface, point)
        losses.append(loss)
        gradients.append(gradient)
        if number < moves:
            now = {name: rows[number] for name, rows in scheduled.items()}
            look = Look(point, loss, gradient)
            point, memory = move_from(problem, look, memory, first + number, now)
        points.append(point)
    gradient_square = total(torch.stack(gradients, dim=1).square())
    return note_rows(problem, runs._replace(memory=memory), first, losses, gradient_square, points)


def _scheduled(problem: Problem, first: int | Tensor, moves: int) -> dict[str, Tensor]:
    """Returns the scheduled hyperparameters of R moves by name, ``(R, B)`` each."""
    start = problem.start
    steps = torch.arange(moves, device=start.device)[:, None] + first

    def rows(value: Number) -> Tensor:
        value = torch.as_tensor(value, dtype=start.dtype, device=start.device)
        return value.expand(moves, start.shape[1]).contiguous()

    values = scheduled_at(problem, steps.to(start.dtype))
    return {name: rows(value) for name, value in values.items()}


def note_rows(
    problem: Problem,
    runs: Runs,
    first: int | Tensor,
    losses: list[Tensor],
    gradient_square: Tensor,
    points: list[Tensor],
) -> tuple[Runs, Rows]:
    """Adds the metrics of a block, and resets the runs that ended inside it to where they ended.

    Args:
        problem: the problem, as returned by `Problem.lanes`.
        runs: the runs before the block, but with the optimizer's state after it.
        first: the step of the first look.
        losses: the losses at each look, ``(B,)`` each.
        gradient_square: the squared gradient norms at the looks, ``(R, B)``.
        points: the points at each look and after the last move, ``(dim, B)`` each.

    Returns:
        The runs after the block, and the rows of its looks.
    """
    count = len(losses)
    way = torch.stack(points, dim=1)
    point, after, loss = way[:, :-1], way[:, 1:], torch.stack(losses)
    number = torch.arange(count, device=loss.device)[:, None]
    moves = after - point
    squares = torch.cat([runs.move_square[None], total(moves[:, :-1].square())])
    left = note_leaving(problem, runs.left, number + first, gradient_square)
    rests = is_at_rest(problem, gradient_square, squares, left)
    ended = ~is_within(problem, point, loss) | rests
    going = (number + first < problem.steps).expand_as(ended)
    if isinstance(first, Tensor) or bool(ended.any()):
        end = fold(torch.minimum, torch.where(ended, number, count))
        going = going & (number < end)
        at = torch.minimum(number, end)
        loss, gradient_square = loss.gather(0, at), gradient_square.gather(0, at)
        point = point.gather(1, at.expand_as(point))
        after = torch.where(going, after, point)
        moves = after - point
    before = torch.cat([runs.move[:, None], moves[:, :-1]], dim=1)
    runs = note_look(problem, runs, number + first, loss, gradient_square, fold)
    runs = note_moves(runs, moves, before, going, fold)
    runs = runs._replace(
        point=after[:, -1],
        move=moves[:, -1],
        loss=loss[-1],
        gradient_square=gradient_square[-1],
        left=tuple(rows[-1] for rows in left),
    )
    return runs, Rows(loss, gradient_square, point)
