"""Runs that stopped too early: they were not at rest, but about to move on.

A step stops a run whose gradient and last move are all but zero. That is no rest where, in the
steps that were left to it, the run would have gone farther than `AT_REST` times the diameter of the
domain:

- beside a *saddle*: the part of the gradient along which the loss curves down grows from step to
  step, however small it is. From a distance ε the run leaves in log(1/ε) / log σ steps;
- at a minimum that *repels*: of too large a learning rate, or of one that a schedule raises later,
  or of Adam's and RMSprop's steps, which grow as their mean of squares fades;
- where it only *crawls*, along a valley that is all but flat, far from its end.

A run that stopped in such a place is run again and may not rest before its gradient has been above
the limit once more. Whether it is in one is found out

1. at a saddle from the Hessian there;
2. of a linear rule with constant numbers by steps from where it stopped, `PROBES` of them: they
   must shrink, to no farther away than that;
3. of any other by making all the steps that were given, without a rest.

Where `Stop` gives the gradient at rest, a run is to stop there: only saddles are looked at.
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
"""How far a run at rest may still be from where it would come to, as a part of the diameter of the
domain."""

PROBES = (64, 4096)
"""Steps that are made from where runs stopped: the second time by those that then still grew."""

_JITTER = 8
"""Units in the last place of the diameter that a step may go by rounding."""

_ROUNDS = 4
"""How often a run may be found not to be at rest; then it does not rest at all."""

_ROOM = 2**22
"""Numbers of the Hessians that are made at a time."""

Run: TypeAlias = Callable[[Problem], Trace]
"""Runs a problem of some of the runs again."""


def rest_for_good(problem: Problem, trace: Trace, run: Run) -> Trace:
    """The trace of a problem in which every run that stopped had come to rest.

    Args:
        problem: what was run.
        trace: what came of it.
        run: runs a problem of some of the runs again.
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
    """Whether runs would have moved on from where they stopped, ``(n,)``.

    Args:
        problem: what was run.
        trace: what came of it.
        which: the indices of the runs, ``(n,)``.
        run: runs a problem of some of the runs again.
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
    """Whether steps from where runs stopped grow, or shrink to a place that is away from there: of
    a rule that is linear, which shrinks the gradient by the same factor again and again."""
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
        to_go = way / (1 - shrunk)  # of a geometric series
        by_rounding = 0.0 if steps == PROBES[0] else steps * _JITTER * eps * size
        found[rest] = torch.where(shrinks, ~(to_go <= far), ~(way <= by_rounding))
    return found


def _goes_away(problem: Problem, trace: Trace, which: Tensor, run: Run) -> Tensor:
    """Whether runs go away from where they stopped, if they make all steps."""
    if not len(which):
        return torch.zeros(0, dtype=torch.bool, device=which.device)
    after = run(restless(problem.of_runs(which)))
    far, left = diameter(problem.surface), problem.steps - trace.steps[which]
    allowed = (AT_REST + _JITTER * torch.finfo(problem.start.dtype).eps * left) * far
    return ~(after.path_length - trace.path_length[which] <= allowed)


def restless(problem: Problem) -> Problem:
    """A problem whose runs never rest, and of which nothing is recorded on the way."""
    limits = substitute(problem.limits, gradient_square=-1.0)
    return _quietly(replace(problem, limits=limits, record=replace(problem.record, what="metrics")))


def _quietly(problem: Problem) -> Problem:
    """A problem that tells nobody how many steps are behind it."""
    return replace(problem, progress=lambda step: None)


def _leaves_a_saddle(problem: Problem, trace: Trace, which: Tensor, run: Run) -> Tensor:
    """Whether runs stopped beside a saddle, and were leaving it: if they go on, the part of the
    gradient along which the loss curves down grows, or they come to where it curves down nowhere.
    For those that go uphill it is the other way round."""
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
    """Which of some runs are not at a declared minimizer, by their place among them; all, of a rule
    that goes uphill."""
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
        rest = rest[~(square <= limit**2)]  # nor at one that this run does not have
    return rest


def _climbs(problem: Problem) -> bool:
    """Whether the rule goes uphill."""
    return bool(getattr(problem.optimizer, "maximize", False))


def _downhill(problem: Problem, trace: Trace, which: Tensor) -> tuple[Tensor, Tensor]:
    """How large the part of each run's gradient is along which the loss curves down, and whether it
    clearly curves down somewhere: ``(n,)`` each."""
    dim = problem.start.shape[0]
    many = max(1, _ROOM // dim**2)
    parts = [_downhill_of(problem, trace, which[i : i + many]) for i in range(0, len(which), many)]
    if not parts:
        none = torch.zeros(0, dtype=torch.float64, device=which.device)
        return none, none.bool()
    slopes, clear = zip(*parts, strict=True)
    return torch.cat(slopes), torch.cat(clear)


def _downhill_of(problem: Problem, trace: Trace, which: Tensor) -> tuple[Tensor, Tensor]:
    """The same, all at once."""
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
