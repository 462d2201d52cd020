"""Finds the point around which a noisy run moves, by running it on without the noise."""

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
"""If noise alone moves a run, then without noise it comes to within this fraction of `Late.spread`
of its minimizer."""

WIDEST = 0.1
"""A run moves around a point if `Late.spread` is at most this fraction of the domain's diameter."""


def without_noise(problem: Problem, trace: Trace, run: Callable[[Problem], Trace]) -> Trace:
    """Returns the trace with `Late.calm`, for runs that stay in a part of the domain.

    The trace is returned unchanged if there is a schedule or if the noise cannot be silenced.

    Args:
        problem: the problem that was run.
        trace: its trace.
        run: runs a problem, here one made of some of the runs.
    """
    silent = problem.noise.negligible_copy()
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
    if bool(stays.any()):  # one step more rules out a cycle that happened to close
        third = run(replace(again, start=first, steps=steps + 1)).final_point
        stays &= norm(third - second) <= CALM * spread[which]
    calm = trace.late.calm.clone()
    calm[:, which] = torch.where(stays, first, torch.nan)
    return replace(trace, late=trace.late._replace(calm=calm))
