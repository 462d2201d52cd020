"""Runs that stopped beside a saddle, too early: they were about to leave it.

Where a Hessian has a negative eigenvalue, the part of a gradient along its eigenvector grows from
step to step, however small it is. A run that stopped in such a place is run again and may not rest
before its gradient has been above the limit once more: from a distance ε it then leaves in
log(1/ε) / log σ steps. One of which that part is 0, or that does not grow, ended there rightly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from gradexp.engine.problem import Problem
from gradexp.engine.trace import End, Trace
from gradexp.numbers import in_lanes, padded, substitute
from gradexp.surfaces import hessian, value_and_gradient
from gradexp.surfaces.derivatives import LARGEST
from gradexp.surfaces.scale import diameter

NEGATIVE = 1e-6
"""An eigenvalue is negative that is below minus this times the largest in size."""

NEAR = 1e-4
"""A run is at a declared minimizer within this times the diameter of the domain: it need not be
looked at."""

_ROOM = 2**22
"""Numbers of the Hessians that are made at a time."""


def let_leave(problem: Problem, trace: Trace, run: Callable[[Problem], Trace]) -> Trace:
    """The trace of a problem in which no run stopped beside a saddle that it was leaving.

    Args:
        problem: what was run.
        trace: what came of it.
        run: runs a problem of some of the runs again.
    """
    if problem.surface.family == "convex" or problem.start.shape[0] > LARGEST:
        return trace
    stopped = (trace.end == End.STATIONARY).nonzero()[:, 0]
    if not len(stopped):
        return trace
    stride = problem.record.steps(problem.steps).step
    stopped = _elsewhere(problem, trace, stopped)
    while len(stopped):
        downhill = _downhill(problem, trace, stopped)
        stopped, downhill = stopped[downhill > 0], downhill[downhill > 0]
        if not len(stopped):
            break
        again = problem.of_runs(stopped)
        limits = substitute(again.limits, released=(trace.steps[stopped].double(),))
        found = run(replace(again, limits=limits, progress=lambda step: None))
        everyone = torch.arange(len(stopped), device=stopped.device)
        assert found.left is not None
        stays = (found.left == 0) & (_downhill(again, found, everyone) <= downhill)
        went = (~stays).nonzero()[:, 0]
        if not len(went):
            break
        trace = trace.with_runs(stopped[went], found.of_runs(went), stride)
        ended = found.end[went] == End.STATIONARY
        stopped = stopped[went[ended]]
    return trace


def _elsewhere(problem: Problem, trace: Trace, stopped: Tensor) -> Tensor:
    """The indices of those runs that are not at a declared minimizer."""
    limit = NEAR * diameter(problem.surface)
    for place in problem.surface.minimizers:
        if not len(stopped):
            break
        coordinates = [
            torch.as_tensor(x, dtype=torch.float64, device=stopped.device) for x in place
        ]
        square = torch.zeros(len(stopped), dtype=torch.float64, device=stopped.device)
        for row, x in zip(trace.final_point, coordinates, strict=True):
            there = x.reshape(-1)[stopped] if x.numel() > 1 else x
            square += (row[stopped].double() - there).square()
        stopped = stopped[square > limit**2]
    return stopped


def _downhill(problem: Problem, trace: Trace, which: Tensor) -> Tensor:
    """How large the part of each run's gradient is along which the loss curves down, ``(n,)``."""
    dim = problem.start.shape[0]
    many = max(1, _ROOM // dim**2)
    parts = [_downhill_of(problem, trace, which[i : i + many]) for i in range(0, len(which), many)]
    return torch.cat(parts)


def _downhill_of(problem: Problem, trace: Trace, which: Tensor) -> Tensor:
    """The same, all at once."""
    count = len(which)
    point = padded(trace.final_point[:, which].double())
    some = problem.of_runs(which).surface
    surface = in_lanes(some, count, torch.float64, point.device)
    matrix = hessian(surface, point)[..., :count].movedim(-1, 0)
    _, gradient = value_and_gradient(surface, point)
    gradient = gradient[:, :count]
    found = torch.zeros(count, dtype=torch.float64, device=point.device)
    open_ = (_may_curve_down(matrix) & matrix.isfinite().all(dim=-1).all(dim=-1)).nonzero()[:, 0]
    if len(open_):
        values, vectors = torch.linalg.eigh(matrix[open_])
        negative = values < -NEGATIVE * values.abs().amax(dim=-1, keepdim=True)
        slopes = (vectors * gradient[:, open_].T[:, :, None]).sum(dim=1)
        found[open_] = torch.where(negative, slopes, 0.0).norm(dim=1)
    return found


def _may_curve_down(matrix: Tensor) -> Tensor:
    """Which matrices may have a negative eigenvalue, ``(n,)``: of few dimensions those of which
    elimination leaves a pivot that is not positive, which is quick."""
    if matrix.shape[1] > 4:
        return torch.ones(len(matrix), dtype=torch.bool, device=matrix.device)
    rest, positive = matrix, torch.ones(len(matrix), dtype=torch.bool, device=matrix.device)
    while rest.shape[1]:
        pivot = rest[:, 0, 0]
        positive &= pivot > 0
        column = rest[:, 1:, :1]
        rest = rest[:, 1:, 1:] - column * rest[:, :1, 1:] / pivot[:, None, None]
    return ~positive
