"""The reference engine, a plain loop over the real ``torch.optim`` class with autograd.

It is slow but simple, so that the batched update rules are tested against it. It also runs
optimizers that have no batched rule.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from gradexp.engine.chunks import run_chunk
from gradexp.engine.cost import Forecast, predict
from gradexp.engine.problem import Problem
from gradexp.engine.recording import Recorder, Recording
from gradexp.engine.runs import (
    Notes,
    begin,
    is_at_rest,
    is_within,
    note_leaving,
    note_look,
    note_moves,
    notes,
)
from gradexp.engine.second_passes import look_again
from gradexp.engine.trace import Trace
from gradexp.numbers import Component, padded, select, total
from gradexp.optimizers import External, Optimizer
from gradexp.optimizers.external import hyperparameters, make_step
from gradexp.surfaces import value_and_gradient

_UPDATE = 20e-6
"""Seconds that ``torch.optim`` takes for a step of one of many runs (measured)."""


@dataclass(frozen=True)
class Reference(Component):
    """Runs a batch with ``torch.optim``, each run as a parameter of its own."""

    def check(self, optimizer: Optimizer | External) -> None:
        """Does nothing, because this engine can run any optimizer."""

    def forecast(self, problem: Problem) -> Forecast:
        """Predicts how long `run` takes if the optimizer evaluates one gradient per step."""
        updates = _UPDATE * problem.batch * problem.steps
        seconds = predict(problem, problem.batch).eager + updates
        return Forecast("reference", seconds, building=0.0)

    def run(self, problem: Problem) -> Trace:
        """Runs a problem and returns its trace."""

        def run(some: Problem) -> Trace:
            recording, everyone = Recording(some, some.batch), slice(0, some.batch)
            chunk = _Chunk(some, everyone)
            run_chunk(chunk, some.steps, everyone, recording, some.progress)
            return replace(recording.trace("reference"), evaluations=chunk.evaluations())

        return look_again(problem, run(problem), run, _Chunk, problem.batch)


class _Chunk:
    """Runs that are advanced by ``torch.optim``, one step at a time."""

    shortest = longest = 1

    def __init__(self, problem: Problem, columns: slice) -> None:
        which = torch.arange(columns.start, columns.stop)
        self._problem = problem = problem.of_runs(which)
        self._fleet = _Fleet(problem)
        self._runs = begin(problem, problem.start, None)
        self._before = self._runs.best_loss
        self._evaluations = [self._fleet.evaluations.clone()]

    def advance(self, first: int, looks: int, recorder: Recorder | None, columns: slice) -> None:
        for step in range(first, first + looks):
            self._look_and_move(step, recorder, columns)

    def _look_and_move(self, step: int, recorder: Recorder | None, columns: slice) -> None:
        problem, runs = self._problem, self._runs
        if step == problem.steps // 2:
            self._before = runs.best_loss
        loss, gradient = self._fleet.everyone.look(runs.point)
        square = total(gradient.square())
        runs = note_look(problem, runs, step, loss, square)
        left = note_leaving(problem, runs.left, step, square)
        rests = is_at_rest(problem, square, runs.move_square, left)
        going = is_within(problem, runs.point, loss) & ~rests & (step < problem.steps)
        if recorder:
            recorder.put(columns, step, loss[None], square[None], runs.point[:, None])
        point = runs.point
        if bool(going.any()):
            point = self._fleet.advance(step, loss, gradient, going)
            self._evaluations.append(self._fleet.evaluations.clone())
        move = point - runs.point
        runs = note_moves(runs, move, runs.move, going)
        self._runs = runs._replace(
            point=point, move=move, loss=loss, gradient_square=square, left=left
        )

    def steps(self) -> Tensor:
        return self._runs.steps

    def notes(self) -> Notes:
        return notes(self._runs, self._before)

    def state(self) -> list[Tensor]:
        return [self._runs.point, *self._fleet.memory()]

    def gather(self, parts: Sequence[tuple[Self, Tensor]]) -> None:
        raise NotImplementedError  # never called: the whole batch is one chunk

    def evaluations(self) -> Tensor | None:
        """Returns `Trace.evaluations`."""
        return None if self._fleet.takes_one else torch.stack(self._evaluations)


class _Lanes:
    """Some runs of a problem whose losses and gradients are evaluated together."""

    def __init__(self, problem: Problem, first: int, end: int) -> None:
        self._problem, self._count = problem.lanes(first, end), end - first

    def look(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the losses ``(B,)`` and the gradients ``(dim, B)`` at points ``(dim, B)``."""
        loss, gradient = value_and_gradient(self._problem.surface, padded(point))
        return loss[: self._count], gradient[:, : self._count]

    def seen(self, gradient: Tensor, step: int) -> Tensor:
        """Returns the gradients that the optimizers receive: with noise added, and clipped."""
        noisy = self._problem.noise.add_to(padded(gradient), step)
        clipped: Tensor = self._problem.clip.clip(noisy)
        return clipped[:, : self._count]

    def gap(self, loss: Tensor) -> Tensor:
        """Returns the losses minus the surface's minimum."""
        (least,) = self._problem.limits.minimum
        return loss - least[: self._count] if isinstance(least, Tensor) else loss - least

    def scheduled(self, base: Mapping[str, Tensor], step: int) -> dict[str, list[float]]:
        """Returns the scheduled hyperparameters by name, one value per run."""
        start = self._problem.start
        values = self._problem.schedule.values(base, start.new_tensor(step))
        every = start.new_empty(start.shape[1])
        return {
            name: torch.as_tensor(value, dtype=start.dtype).expand_as(every)[: self._count].tolist()
            for name, value in values.items()
        }


class _Fleet:
    """The runs of a problem as parameters of ``torch.optim`` optimizers."""

    def __init__(self, problem: Problem) -> None:
        self.everyone = _Lanes(problem, 0, problem.batch)
        alone = [select(problem.optimizer, index) for index in range(problem.batch)]
        first = alone[0]
        if isinstance(first, External):
            self._parameters = first.parameters(problem.start)
        else:
            self._parameters = [point.clone().requires_grad_() for point in problem.start.unbind(1)]
        every = [
            rule.reference([parameter])
            for rule, parameter in zip(alone, self._parameters, strict=True)
        ]
        self._groups = [one.param_groups[0] for one in every]
        self._base = _columns([hyperparameters(group) for group in self._groups], problem.start)
        self._needs_gap = isinstance(first, Optimizer) and first.needs_gap
        self._shared = _merged(every) if _is_shareable(every[0]) else None
        self._own = every if self._shared is None else []
        self._alone = [_Lanes(problem, index, index + 1) for index in range(len(self._own))]
        self.takes_one = self._shared is not None
        """whether every step evaluates one gradient"""
        self.evaluations = torch.zeros(problem.batch, dtype=torch.int64)
        """``(B,)``: how many gradients the optimizers have evaluated so far"""

    def advance(self, step: int, loss: Tensor, gradient: Tensor, going: Tensor) -> Tensor:
        """Makes one step of the active runs, and returns the points of all runs, ``(dim, B)``.

        Args:
            step: the number of the step.
            loss: the losses at the current points, ``(B,)``.
            gradient: the gradients there, ``(dim, B)``.
            going: which runs are active, ``(B,)``.
        """
        for name, values in self.everyone.scheduled(self._base, step).items():
            for group, value in zip(self._groups, values, strict=True):
                _set(group, name, value)
        if self._needs_gap:
            for group, gap in zip(self._groups, self.everyone.gap(loss), strict=True):
                group["gap"] = gap
        seen = self.everyone.seen(gradient, step)
        for parameter, slope, goes_on in zip(
            self._parameters, seen.unbind(1), going.tolist(), strict=True
        ):
            parameter.grad = slope.clone().reshape(parameter.shape) if goes_on else None
        if self._shared is not None:
            self._shared.step()
        for index, optimizer in enumerate(self._own):
            if bool(going[index]):
                self._step_alone(index, optimizer, step)
        return torch.stack([p.detach().flatten().clone() for p in self._parameters], dim=1)

    def memory(self) -> list[Tensor]:
        """Returns the tensors of the optimizers' states that have a parameter's shape.

        Each is ``(dim, B)``, and zero for a run whose optimizer does not have it, or not yet.
        """
        parameters = self._parameters
        states = [
            (self._shared or self._own[index]).state[parameter]
            for index, parameter in enumerate(parameters)
        ]
        form = parameters[0]
        kept = [
            {
                (name, place): value.flatten()
                for name, field in state.items()
                for place, value in enumerate(tree_leaves(field))
                if isinstance(value, Tensor) and value.shape == form.shape
            }
            for state in states
        ]
        names = sorted({name for state in kept for name in state})
        none = torch.zeros_like(form).flatten()
        return [torch.stack([state.get(name, none) for state in kept], dim=1) for name in names]

    def _step_alone(self, index: int, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Makes a step of a run whose optimizer may evaluate additional points."""
        parameter, run = self._parameters[index], self._alone[index]

        taken = 0

        def closure() -> Any:
            nonlocal taken
            taken += 1
            point = parameter.detach().flatten()[:, None]
            loss, gradient = run.look(point)
            parameter.grad = run.seen(gradient, step)[:, 0].reshape(parameter.shape)
            return loss[0]

        make_step(optimizer, closure)
        self.evaluations[index] += max(taken, 1)  # without the closure, it uses the gradient given


def _is_shareable(optimizer: torch.optim.Optimizer) -> bool:
    """Returns whether one such optimizer can run many runs, each as a parameter group of its own.

    Those of ``torch.optim`` and gradexp can, except for those that require a closure to evaluate
    additional points. Third-party optimizers cannot, because they may combine parameter groups.
    """
    if not f"{type(optimizer).__module__}.".startswith(("torch.optim.", "gradexp.optimizers.")):
        return False
    return inspect.signature(type(optimizer).step).parameters["closure"].default is None


def _merged(optimizers: Sequence[torch.optim.Optimizer]) -> torch.optim.Optimizer:
    """Merges optimizers into the first, which then has the parameter groups and states of all."""
    first, *others = optimizers
    for other in others:
        first.param_groups.extend(other.param_groups)
        first.state.update(other.state)
    return first


def _columns(rows: Sequence[Mapping[str, Any]], point: Tensor) -> dict[str, Tensor]:
    """Returns the numbers of runs as padded tensors, by name."""
    return {name: padded(point.new_tensor([row[name] for row in rows])) for name in rows[0]}


def _set(group: dict[str, Any], name: str, value: float) -> None:
    """Sets a number of a parameter group, by its name or as ``field[index]``."""
    field, _, index = name.rstrip("]").partition("[")
    if name in group:
        group[name] = value
    else:
        parts = list(group[field])
        parts[int(index)] = value
        group[field] = tuple(parts)
