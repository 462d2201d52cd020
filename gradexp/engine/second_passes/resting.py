"""Finds runs that stopped too early, because they were about to move on, and runs them again.

A run stops as soon as its gradient and its last move are almost zero. It was not at rest if, in its
remaining steps, it would have moved farther than `AT_REST` times the diameter of the domain. That
happens in three places:

- near a *saddle*: the component of the gradient along directions of negative curvature grows from
  step to step, however small it is. From a distance ε, the run leaves in log(1/ε) / log σ steps,
  where σ is the growth per step.
- at a minimum that *repels*, because the learning rate is too large or is raised later by a
  schedule, or because the steps of Adam and RMSprop grow while their mean of squares decays.
- in an almost flat valley along which the run only *crawls*, far from its end.

A run that stopped in such a place is run again, and may not rest before its gradient norm has
exceeded the limit once more. Such runs are found as follows:

1. Near a saddle, by the Hessian at the point.
2. For a linear update rule with constant numbers, by `PROBES` steps from the point: the gradient
   must shrink, and the distance that remains must be small.
3. For any other rule, by repeating the run with all its steps, without resting.

If the user gave the gradient norm at rest (`Stop.gradient`), runs are meant to stop there, and only
saddles are examined.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor

from gradexp.engine.problem import Problem
from gradexp.engine.trace import End, Trace
from gradexp.noises import Noiseless
from gradexp.numbers import in_lanes, norm, padded, substitute
from gradexp.optimizers import Optimizer
from gradexp.schedules import Constant
from gradexp.surfaces import hessian, value_and_gradient
from gradexp.surfaces.derivatives import CURVED, DEGENERATE, LARGEST
from gradexp.surfaces.scale import diameter

AT_REST = 1e-4
"""How far a run at rest may still be from its limit, as a fraction of the domain's diameter."""

PROBES = (64, 4096)
"""How many steps are made from where runs stopped. The second, longer probe is only for runs that
were not at rest according to the first."""

_JITTER = 8
"""How far a step may move by rounding alone, in units of ε times the diameter of the domain."""

_ROUNDS = 4
"""How often a run may be found not to be at rest. After that, it is run without resting at all."""

_ROOM = 2**22
"""How many elements the Hessians have in total that are computed at a time."""

Run: TypeAlias = Callable[[Problem], Trace]
"""Runs a problem and returns its trace; here, problems made of some of the runs."""


def rest_for_good(problem: Problem, trace: Trace, run: Run) -> Trace:
    """Runs those runs again that stopped without being at rest; returns the trace with the results.

    Args:
        problem: the problem that was run.
        trace: its trace.
        run: runs a problem, here one made of some of the runs.
    """
    stopped = trace.end == End.STATIONARY
    if not bool(stopped.any()):
        return trace
    which = (stopped & (trace.steps < problem.steps)).nonzero()[:, 0]
    stride = problem.record.steps(problem.steps).step
    for round_ in range(_ROUNDS + 1):
        which = which[_moves_on(problem, trace, which, run)]
        if not len(which):
            break
        again = _quietly(problem.of_runs(which))
        after = trace.steps[which].double()
        limits = {"gradient_square": -1.0} if round_ == _ROUNDS else {"released": (after,)}
        found = run(replace(again, limits=substitute(again.limits, **limits)))
        trace = trace.with_runs(which, found, stride)
        which = which[(found.end == End.STATIONARY) & (found.steps < problem.steps)]
    return trace


def _moves_on(problem: Problem, trace: Trace, which: Tensor, run: Run) -> Tensor:
    """Returns which runs would have moved on from where they stopped, ``(n,)``.

    Args:
        problem: the problem that was run.
        trace: its trace.
        which: the indices of the runs to examine, ``(n,)``.
        run: runs a problem, here one made of some of the runs.
    """
    found = torch.zeros(len(which), dtype=torch.bool, device=which.device)
    if not len(which):
        return found
    convex = problem.surface.family == "convex" and not _climbs(problem)
    if not convex and problem.start.shape[0] <= LARGEST:
        found = _leaves_a_saddle(problem, trace, which, run)
    if problem.rest_is_given:
        return found
    rule = problem.optimizer
    steady = isinstance(problem.schedule, Constant) and isinstance(problem.noise, Noiseless)
    linear = isinstance(rule, Optimizer) and rule.linear
    test = _is_away if steady and linear else _goes_away
    rest = (~found).nonzero()[:, 0]
    found[rest] = test(problem, trace, which[rest], run)
    return found


def _is_away(problem: Problem, trace: Trace, which: Tensor, run: Run) -> Tensor:
    """Returns which runs would move away from where they stopped, for a linear rule.

    A run moves away if its gradient does not shrink over a number of steps, or if it shrinks, but
    the run still has far to go. A linear rule shrinks the gradient by the same factor again and
    again, so that the remaining distance is that of a geometric series.
    """
    found = torch.ones(len(which), dtype=torch.bool, device=which.device)
    size, eps = diameter(problem.surface), torch.finfo(problem.start.dtype).eps
    far = AT_REST * size
    for steps in PROBES:
        rest = found.nonzero()[:, 0]
        if not len(rest):
            break
        runs = which[rest]
        start = trace.final_point[:, runs]
        probe = replace(restless(problem.of_runs(runs)), start=start, steps=steps)
        after = run(probe)
        way = after.path_length.double()
        shrunk = after.final_gradient_norm.double() / trace.final_gradient_norm[runs].double()
        shrinks = shrunk < 1
        to_go = way / (1 - shrunk)  # sum of a geometric series
        by_rounding = 0.0 if steps == PROBES[0] else steps * _JITTER * eps * size
        found[rest] = torch.where(shrinks, ~(to_go <= far), ~(way <= by_rounding))
    return found


def _goes_away(problem: Problem, trace: Trace, which: Tensor, run: Run) -> Tensor:
    """Returns which runs would move away from where they stopped, by making all their steps."""
    if not len(which):
        return torch.zeros(0, dtype=torch.bool, device=which.device)
    after = run(restless(problem.of_runs(which)))
    far, left = diameter(problem.surface), problem.steps - trace.steps[which]
    allowed = (AT_REST + _JITTER * torch.finfo(problem.start.dtype).eps * left) * far
    return ~(after.path_length - trace.path_length[which] <= allowed)


def restless(problem: Problem) -> Problem:
    """Returns a copy of a problem whose runs never rest and record only final metrics."""
    limits = substitute(problem.limits, gradient_square=-1.0)
    return _quietly(replace(problem, limits=limits, record=replace(problem.record, what="metrics")))


def _quietly(problem: Problem) -> Problem:
    """Returns a copy of a problem that reports no progress."""
    return replace(problem, progress=lambda step: None)


def _leaves_a_saddle(problem: Problem, trace: Trace, which: Tensor, run: Run) -> Tensor:
    """Returns which runs stopped near a saddle that they were leaving.

    The runs are repeated with all their steps, without resting. A run was leaving a saddle if its
    gradient has a component along directions of negative curvature where it stopped and if, after
    all steps, this component is larger, the run has moved on too far, its gradient norm exceeds the
    limit, or clearly negative curvature is gone. For a rule that maximizes, the signs are reversed.
    """
    found = torch.zeros(len(which), dtype=torch.bool, device=which.device)
    rest = _elsewhere(problem, trace, which)
    downhill, clear = _downhill(problem, trace, which[rest])
    open_ = downhill > 0
    rest, downhill, clear = rest[open_], downhill[open_], clear[open_]
    if not len(rest):
        return found
    runs = which[rest]
    again = problem.of_runs(runs)
    after = run(restless(again))
    limit = problem.limits.gradient_square
    if isinstance(limit, Tensor):
        limit = limit.to(which.device)[runs] if limit.numel() > 1 else limit.to(which.device)
    risen = ~(after.final_gradient_norm.double().square() <= limit)
    everyone = torch.arange(len(runs), device=runs.device)
    moved = ~(after.path_length - trace.path_length[runs] <= AT_REST * diameter(problem.surface))
    downhill_after, clear_after = _downhill(again, after, everyone)
    found[rest] = risen | moved | ~(downhill_after <= downhill) | (clear & ~clear_after)
    return found


def _elsewhere(problem: Problem, trace: Trace, which: Tensor) -> Tensor:
    """Returns the positions in `which` of the runs that are not at a declared minimizer.

    For a rule that maximizes, these are all runs.
    """
    limit = AT_REST * diameter(problem.surface)
    rest = torch.arange(len(which), device=which.device)
    for place in () if _climbs(problem) else problem.surface.minimizers:
        stopped = which[rest]
        if not len(stopped):
            break
        coordinates = [
            torch.as_tensor(x, dtype=torch.float64, device=stopped.device) for x in place
        ]
        square = torch.zeros(len(stopped), dtype=torch.float64, device=stopped.device)
        for row, x in zip(trace.final_point, coordinates, strict=True):
            there = x.reshape(-1)[stopped] if x.numel() > 1 else x
            square += (row[stopped].double() - there).square()
        rest = rest[~(square <= limit**2)]  # NaN: this run lacks the minimizer
    return rest


def _climbs(problem: Problem) -> bool:
    """Returns whether the rule maximizes."""
    return bool(getattr(problem.optimizer, "maximize", False))


def _downhill(problem: Problem, trace: Trace, which: Tensor) -> tuple[Tensor, Tensor]:
    """Measures the negative curvature at the points where runs ended.

    Returns:
        The norm of each gradient's component along directions of negative curvature, and whether
        there is a direction of clearly negative curvature, ``(n,)`` each.
    """
    dim = problem.start.shape[0]
    many = max(1, _ROOM // dim**2)
    parts = [_downhill_of(problem, trace, which[i : i + many]) for i in range(0, len(which), many)]
    if not parts:
        none = torch.zeros(0, dtype=torch.float64, device=which.device)
        return none, none.bool()
    slopes, clear = zip(*parts, strict=True)
    return torch.cat(slopes), torch.cat(clear)


def _downhill_of(problem: Problem, trace: Trace, which: Tensor) -> tuple[Tensor, Tensor]:
    """Does what `_downhill` does, for all runs at once."""
    count = len(which)
    point = padded(trace.final_point[:, which].double())
    some = problem.of_runs(which).surface
    surface = in_lanes(some, count, torch.float64, point.device)
    matrix = hessian(surface, point)[..., :count].movedim(-1, 0)
    _, gradient = value_and_gradient(surface, point)
    gradient = gradient[:, :count]
    if _climbs(problem):
        matrix, gradient = -matrix, -gradient
    clear = torch.zeros(count, dtype=torch.bool, device=point.device)
    found = torch.zeros(count, dtype=torch.float64, device=point.device)
    open_ = (_may_curve_down(matrix) & matrix.isfinite().all(dim=-1).all(dim=-1)).nonzero()[:, 0]
    if len(open_):
        values, vectors = torch.linalg.eigh(matrix[open_])
        largest = values.abs().amax(dim=-1, keepdim=True)
        negative = values < -CURVED * largest
        clear[open_] = (values < -DEGENERATE * largest).any(dim=-1)
        slopes = (vectors * gradient[:, open_].T[:, :, None]).sum(dim=1)
        found[open_] = norm(torch.where(negative, slopes, 0.0).T)
    return found, clear


def _may_curve_down(matrix: Tensor) -> Tensor:
    """Returns which symmetric matrices may have a negative eigenvalue, ``(n,)``.

    Up to 4 dimensions, this is decided by the signs of the pivots of Gaussian elimination, which is
    quick. Larger matrices all may.
    """
    if matrix.shape[1] > 4:
        return torch.ones(len(matrix), dtype=torch.bool, device=matrix.device)
    rest, positive = matrix, torch.ones(len(matrix), dtype=torch.bool, device=matrix.device)
    while rest.shape[1]:
        pivot = rest[:, 0, 0]
        positive &= pivot > 0
        column = rest[:, 1:, :1]
        rest = rest[:, 1:, 1:] - column * rest[:, :1, 1:] / pivot[:, None, None]
    return ~positive
