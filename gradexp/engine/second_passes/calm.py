"""Where runs with noise come to without it: what they move around."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from gradexp.engine.problem import Problem
from gradexp.engine.second_passes.resting import restless
from gradexp.engine.trace import Trace
from gradexp.numbers import norm
from gradexp.schedules import Constant
from gradexp.surfaces.scale import diameter

CALM = 0.02
"""How near a run that noise alone moves comes to its minimizer without it, as a part of how far
noise moves it."""

WIDEST = 0.1
"""A run moves about a place that is no farther from there, in the mean, than this times the
diameter of the domain."""


def without_noise(problem: Problem, trace: Trace, run: Callable[[Problem], Trace]) -> Trace:
    """The trace with its `Late.calm`, of runs that keep to a part of the domain, with constant
    numbers.

    Args:
        problem: what was run.
        trace: what came of it.
        run: runs a problem of some of the runs again.
    """
    silent = problem.noise.silenced()
    if trace.late is None or silent is None or not isinstance(problem.schedule, Constant):
        return trace
    spread = trace.late.spread
    near = (spread > 0) & (spread <= WIDEST * diameter(problem.surface))
    which = near.nonzero()[:, 0]
    if not len(which):
        return trace
    again = restless(replace(problem, noise=silent).of_runs(which))
    steps = max(1, problem.steps // 2)
    first = run(replace(again, start=trace.final_point[:, which], steps=steps)).final_point
    steps = -(-steps // 2)
    second = run(replace(again, start=first, steps=steps)).final_point
    stays = norm(second - first) <= CALM * spread[which]
    if bool(stays.any()):  # nor does it go round, and happens to be there again
        third = run(replace(again, start=first, steps=steps + 1)).final_point
        stays &= norm(third - second) <= CALM * spread[which]
    calm = trace.late.calm.clone()
    calm[:, which] = torch.where(stays, first, torch.nan)
    return replace(trace, late=trace.late._replace(calm=calm))
