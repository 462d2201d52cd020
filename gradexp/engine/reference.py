"""The reference engine: the plain loop over the real ``torch.optim`` class, run by run.

Obviously right, and slow; every batched rule is checked against it. It also runs what has no
batched rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradexp.engine.cost import Forecast, predict
from gradexp.engine.problem import Problem
from gradexp.engine.results import Results
from gradexp.engine.rows import Recording
from gradexp.engine.runs import begin, has_diverged, is_stationary, note_look, note_moves, notes
from gradexp.engine.trace import Trace
from gradexp.numbers import Component, select, total
from gradexp.optimizers import External, Optimizer


@dataclass(frozen=True)
class Reference(Component):
    """Advances each run of a batch by itself, with ``torch.optim`` and autograd."""

    def check(self, optimizer: Optimizer | External) -> None:
        """It can run any optimizer."""

    def forecast(self, problem: Problem) -> Forecast:
        """What `run` is likely to take: a step of one run takes what a batch's eager step takes."""
        seconds = problem.batch * predict(problem, runs=1).eager
        return Forecast("reference", seconds, building=0.0)

    def run(self, problem: Problem) -> Trace:
        """The trace of the batch."""
        every = [_Run(problem, index) for index in range(problem.batch)]
        recording = None if problem.record.what == "metrics" else Recording(problem, problem.batch)
        results = Results(problem, recording)
        known = bool(problem.least.value)
        runs = begin(problem.start, None, len(problem.record.tolerances), known)
        everyone = slice(0, problem.batch)
        for step in range(problem.steps + 1):
            losses, gradients = zip(*(run.evaluate() for run in every), strict=True)
            loss, square = torch.stack(losses), total(torch.stack(gradients, dim=1).square())
            runs = note_look(problem, runs, step, loss, square)
            runs = runs._replace(loss=loss, gradient_square=square)
            ended = has_diverged(problem, runs.point, loss) | is_stationary(problem, square)
            if recording:
                recording.put(everyone, step, loss[None], square[None], runs.point[:, None])
            problem.progress(step)
            if step == problem.steps or bool(ended.all()):
                break
            for run, has_ended in zip(every, ended.tolist(), strict=True):
                if not has_ended:
                    run.advance(step)
            point = torch.stack([run.point.detach().clone() for run in every], dim=1)
            move = point - runs.point
            runs = note_moves(runs, move, runs.move, ~ended)._replace(point=point, move=move)
        results.put(everyone, notes(runs), everyone)
        results.note_end(everyone, step)
        return results.trace("reference")


class _Run:
    """One run: its point is a parameter of a ``torch.optim`` optimizer."""

    def __init__(self, problem: Problem, index: int) -> None:
        self.point = problem.start[:, index].clone().requires_grad_()
        self.surface = select(problem.surface, index)
        self.schedule = select(problem.schedule, index)
        self.noise = select(problem.noise, index)
        optimizer = select(problem.optimizer, index)
        self.lr = optimizer.lr
        self.optimizer = optimizer.reference([self.point])

    def evaluate(self) -> tuple[Tensor, Tensor]:
        """The loss and the gradient where the run is; leaves the gradient in the parameter."""
        self.optimizer.zero_grad()
        loss = self.surface.value(self.point)
        torch.autograd.backward(loss)
        assert self.point.grad is not None
        return loss.detach(), self.point.grad.clone()

    def advance(self, step: int) -> None:
        """Makes one step."""

        def closure() -> float:
            loss, gradient = self.evaluate()
            self.point.grad = self.noise.disturb(gradient, step)
            return float(loss)

        for group in self.optimizer.param_groups:
            if "lr" in group:
                group["lr"] = self.schedule.learning_rate(self.lr, step)
        self.optimizer.step(closure)
