"""The sides of the engine's benchmark without JAX: gradexp, and a loop over ``torch.optim``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from benchmarks.work import Work
from gradexp import optimize
from gradexp.engine import Stop


def compiled(work: Work, compile: str = "always") -> Callable[[], Any]:
    """Returns a call of gradexp, with its stop tests and online metrics."""
    rates, starts = work.rates().to(work.device), work.starts().to(work.device)
    surface = work.torch_surface

    def run() -> Any:
        found = optimize(
            surface,
            starts,
            work.rule(rates),
            steps=work.steps,
            **work.additions(),
            stop=Stop(gradient=1e-300),  # tested at every step, and never met
            record=work.record,  # type: ignore[arg-type]
            dtype=work.dtype,
            device=work.device,
            compile=compile,  # type: ignore[arg-type]
        )
        assert found.engine == ("compiled" if compile == "always" else "eager")
        assert int(found.steps.min()) == work.steps, "a run ended early"
        return found

    return run


def building(work: Work) -> float:
    """Returns by how many seconds the first call of a structure takes longer than the second."""
    run = compiled(replace(work, batch=100, steps=10))
    spent = []
    for _ in range(2):
        begun = time.perf_counter()
        run()
        spent.append(time.perf_counter() - begun)
    return spent[0] - spent[1]


def eager(work: Work) -> Callable[[], Any]:
    return compiled(work, "never")


def torch_loop(work: Work) -> Callable[[], Any]:
    """Returns a loop over one run, as a user of ``torch.optim`` would write it."""
    surface, rate = work.torch_surface, float(work.rates()[0])

    def run() -> Any:
        point = work.starts()[:, 0].clone().requires_grad_()
        optimizer = work.rule(rate).reference([point])
        losses = []
        for _ in range(work.steps):
            optimizer.zero_grad()
            loss = surface.value(point)
            torch.autograd.backward(loss)
            losses.append(loss.item())
            optimizer.step()
        return losses

    return run
