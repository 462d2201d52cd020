"""The reference engine: the plain loop over the real ``torch.optim`` class, run by run.

Obviously right, and slow; every batched rule is checked against it. It also runs what has no
batched rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradexp.engine.problem import Problem
from gradexp.engine.recorder import Recorder
from gradexp.engine.trace import Trace
from gradexp.numbers import Component, norm, select
from gradexp.optimizers import External, Optimizer


@dataclass(frozen=True)
class Reference(Component):
    """Advances each run of a batch by itself, with ``torch.optim`` and autograd."""

    def check(self, optimizer: Optimizer | External) -> None:
        """It can run any optimizer."""

    def run(self, problem: Problem) -> Trace:
        """The trace of the batch, on the CPU."""
        runs = [_Run(problem, index) for index in range(problem.start.shape[1])]
        recorder = Recorder(problem)
        for step in range(problem.steps + 1):
            losses, gradients = zip(*(run.evaluate() for run in runs), strict=True)
            point = torch.stack([run.point.detach().clone() for run in runs], dim=1)
            lengths = norm(torch.stack(gradients, dim=1))
            ended = recorder.observe(step, point, torch.stack(losses), lengths)
            problem.progress(step)
            if step == problem.steps or bool(ended.all()):
                break
            for run, has_ended in zip(runs, ended.tolist(), strict=True):
                if not has_ended:
                    run.advance(step)
        return recorder.trace()


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
