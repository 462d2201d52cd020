"""Determines how a run ended, with the evidence for it.

The engine reports why a run made no further step (`gradexp.engine.End`) and whether the state of a
run that made all its steps recurs (`engine.second_passes.recurrence`). Neither depends on what was
recorded or on how the run was computed.

A run ends before its last step if it is *at rest* or has *diverged* (`gradexp.engine.limits`). It
is not at rest if it would have moved on (`engine.second_passes.resting`) or if noise keeps moving
it. The outcome of a run at rest is decided by the first of the following rules that applies, where
D is the diameter of the surface's domain and S the height of its loss (`gradexp.surfaces.scale`):

1. A declared stationary point is within `AT_REST` · D, and the losses differ by at most
   `LEVEL` · S. The outcome is ``converged`` if it is a minimum, and ``saddle`` if it is a saddle or
   a maximum, at which a run that goes uphill ends.
2. Newton's method converges to a stationary point (`gradexp.analysis.stationary`) within
   `AT_REST` · D, and the losses differ by at most `LEVEL` · S. The outcome is ``converged`` if it
   is a minimum, which may belong to a valley of minima, and ``saddle`` if it is a saddle.
3. The surface's minimum is known, and gradient and curvature are almost zero: even across the whole
   domain they would change the loss by at most `FLAT` times its height above the minimum. The
   change is estimated as ‖∇f‖ D + ½ |λ| D², where λ is the eigenvalue of the Hessian with the
   largest absolute value; if the run is farther than D from the middle of the domain, that distance
   replaces D. The outcome is ``plateau``.
4. Newton's method converges to a stationary point within `NEAR` · D. The outcome is as in rule 2.
   If the stationary point is farther away, there is none, or the loss does not change around it,
   the gradient is too small to lead anywhere, and the outcome is ``plateau``.

Without a Hessian, rules 2 to 4 are replaced: the outcome is ``converged`` if the loss is within
`AT_MINIMUM` · S of the surface's minimum, and otherwise ``plateau``. There is none above
`gradexp.surfaces.derivatives.LARGEST` dimensions, nor where it is not finite; in the latter case
the outcome is also ``converged`` if the loss rises and nowhere falls around the point.

The outcome of a run that made all its steps is

- ``cycling`` if its whole state, including any velocity, returned after every cycle throughout the
  second half of its steps;
- that of rules 1 and 2 if it stood still throughout that half, to within its precision, no gradient
  is left that could move it on, and the stationary point is within `AT_REST` · D and `LEVEL` · S;
- ``noise_floor`` if noise keeps moving it around a minimizer, without a trend
  (`gradexp.analysis.fluctuation`);
- ``plateau`` by rule 3 if its gradient is above the limit for rest, but too small to lead anywhere;
- otherwise ``budget``: it was still moving, or it stands still at a point that is not stationary,
  for example where weight decay balances the gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from gradexp.analysis.fluctuation import SIGNIFICANCE, Floor, noise_floor
from gradexp.analysis.stationary import Kind, Stationary, rises_around, stationary_near
from gradexp.engine import End, Stop, Trace
from gradexp.engine.limits import FAR, SLOPE
from gradexp.engine.second_passes.recurrence import ROUNDING
from gradexp.engine.second_passes.resting import AT_REST
from gradexp.errors import coordinates
from gradexp.numbers import select
from gradexp.surfaces import StationaryPoint, Surface, hessian, value_and_gradient
from gradexp.surfaces.derivatives import CURVED, DEGENERATE, LARGEST
from gradexp.surfaces.scale import diameter, height

LEVEL = 1e-4
AT_MINIMUM = 1e-9
FLAT = 1e-3
NEAR = 5e-3

Word: TypeAlias = Literal[
    "converged", "noise_floor", "saddle", "plateau", "cycling", "diverged", "budget"
]


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        word: one of the seven outcomes.
        because: the reason, as it is shown to the user.
        evidence: the data behind it: ``gradient_norm``, ``hessian_eigenvalues`` (ascending, or
            None if there is no Hessian), ``nearest`` (the nearest declared stationary point with
            its ``kind`` and ``distance``, or None), ``reached`` (whether the run came to rest
            there), ``cycle`` (its ``period`` and ``points``, or None), and ``noise_floor`` (the
            ``minimizer`` that the run moves around, the ``hessian_eigenvalues`` there, the
            ``median_gap`` of the losses at ``looks`` steps of the second half, the ``spread`` of
            the points, and ``no_trend``, the p-value of the trend test; or None).
    """

    word: Word
    because: str
    evidence: dict[str, Any]


def judge(surface: Surface, stop: Stop, trace: Trace, index: int = 0) -> Outcome:
    """Returns the outcome of one run.

    Args:
        surface: the surface, with the numbers of that run.
        stop: the settings of when runs end early, for that run or for the whole batch.
        trace: the trace of the batch.
        index: the index of the run in the batch.
    """
    end, steps = End(int(trace.end[index])), int(trace.steps[index])
    point = trace.final_point[:, index].double().cpu()
    gradient_norm = _gradient_norm(surface, point, float(trace.final_gradient_norm[index]))
    stop = select(stop, index)
    value = surface.value(point)
    nearest = _nearest(surface, point)
    eigenvalues = None if end is End.DIVERGED else _eigenvalues(surface, point)
    word: Word
    reached = False
    cycle: Tensor | None = None
    floor: Floor | None = None
    if end is End.DIVERGED:
        word = "diverged"
        because = _how_diverged(surface, point, float(value), steps, stop)
    elif end is End.BUDGET:
        word = "budget"
        because = f"the gradient norm is {gradient_norm:.2g} after {steps} steps"
        recurrence = trace.recurrence
        cycle = None if recurrence is None else recurrence.round(index)
        if cycle is not None:
            word, because = "cycling", _how_cycling(cycle, steps)
        elif recurrence is not None and recurrence.stands_still(index):
            least = ROUNDING * torch.finfo(trace.final_point.dtype).eps
            because += f", and it moved by less than {least:.0e} of the domain's diameter in the "
            because += "second half of them"
            if _has_come_down(surface, point, trace.final_point.dtype):
                if nearest is not None and _is_at(surface, float(value), *nearest):
                    reached = True
                    word, because = _at_declared(surface, *nearest)
                elif (near := _near_rest(surface, point, eigenvalues)) is not None:
                    word, because = near
        elif (floor := noise_floor(surface, trace, index)) is not None:
            word, because = "noise_floor", _how_noisy(floor, steps)
        elif _is_flat(surface, point, float(value), gradient_norm, eigenvalues):
            word = "plateau"
            because += ", too small to lead anywhere: gradient and curvature are all but zero"
    elif nearest is not None and _is_at(surface, float(value), *nearest):
        reached = True
        word, because = _at_declared(surface, *nearest)
    else:
        word, because = _at_rest(surface, point, gradient_norm, eigenvalues)
    found = None
    if nearest is not None:
        stationary, distance = nearest
        found = {"point": list(stationary.point), "kind": stationary.kind, "distance": distance}
    evidence = {
        "gradient_norm": gradient_norm,
        "hessian_eigenvalues": eigenvalues,
        "nearest": found,
        "reached": reached,
        "cycle": None if cycle is None else {"period": len(cycle), "points": cycle.tolist()},
        "noise_floor": None if floor is None else _figures(floor),
    }
    return Outcome(word, because, evidence)


def _gradient_norm(surface: Surface, point: Tensor, found: float) -> float:
    """Returns the gradient norm at a point.

    The engine's value is used unless it is 0 or infinite, which may be due to underflow or overflow
    of the squares. It is then computed again.

    Args:
        surface: the surface, with the numbers of one run.
        point: ``(dim,)``, float64.
        found: the engine's value.
    """
    if found != 0 and not math.isinf(found):
        return found
    _, gradient = value_and_gradient(surface, point)
    return math.hypot(*gradient.tolist())


def _has_come_down(surface: Surface, point: Tensor, dtype: torch.dtype) -> bool:
    """Whether a run that stands still could not descend further at its precision.

    That is the case if its gradient is almost zero (see `gradexp.engine.limits`), or no larger than
    rounding of the point would make it, and has no component along directions of negative
    curvature.

    Args:
        surface: the surface, with the numbers of that run.
        point: ``(dim,)``, float64: the last point of the run.
        dtype: the dtype in which the run was computed.
    """
    _, gradient = value_and_gradient(surface, point)
    far = diameter(surface)
    small = SLOPE[dtype] * float(height(surface)) / far
    matrix = hessian(surface, point) if len(point) <= LARGEST else None
    if matrix is None or not bool(matrix.isfinite().all()):
        return float(gradient.norm()) <= small
    values, vectors = torch.linalg.eigh(matrix)
    curvature = float(values.abs().max())
    small = max(small, ROUNDING * torch.finfo(dtype).eps * curvature * far)
    down = (vectors.T @ gradient)[values < -CURVED * curvature]
    return float(gradient.norm()) <= small and not bool(down.any())


def _nearest(surface: Surface, point: Tensor) -> tuple[StationaryPoint, float] | None:
    """Returns the nearest declared stationary point and its distance, or None if there is none."""
    if not bool(point.isfinite().all()):
        return None
    known = [StationaryPoint(place, "minimum") for place in surface.minimizers]
    distances = [
        (stationary, math.dist(map(float, stationary.point), point.tolist()))
        for stationary in (*known, *surface.stationary_points)
    ]
    return min(distances, key=lambda found: found[1], default=None)


def _eigenvalues(surface: Surface, point: Tensor) -> list[float] | None:
    """Returns the ascending eigenvalues of the Hessian; None if it is too large or not finite."""
    if len(point) > LARGEST:
        return None
    matrix = hessian(surface, point)
    if not bool(matrix.isfinite().all()):
        return None
    return [float(value) for value in torch.linalg.eigvalsh(matrix)]


def _how_diverged(surface: Surface, point: Tensor, value: float, steps: int, stop: Stop) -> str:
    if not math.isfinite(value) or not bool(point.isfinite().all()):
        return f"the loss is no longer finite after {steps} steps"
    largest = float(point.abs().max())
    if stop.divergence is not None:
        limit = float(stop.divergence)
        what = "the loss" if abs(value) > limit else "a coordinate"
        return f"{what} is beyond {limit:g} after {steps} steps"
    if largest > FAR * diameter(surface):
        return f"a coordinate is {largest:.2g} in size after {steps} steps"
    return f"the loss is {value:.2g} after {steps} steps"


def _is_at(surface: Surface, value: float, stationary: StationaryPoint, distance: float) -> bool:
    """Whether a run that rests at a distance from a stationary point counts as being there.

    Args:
        surface: the surface, with the numbers of that run.
        value: the loss of the run.
        stationary: the stationary point.
        distance: the distance of the run from it.
    """
    place = torch.tensor(stationary.point, dtype=torch.float64)
    there = float(surface.value(place))
    close = distance <= AT_REST * diameter(surface)
    return close and abs(value - there) <= LEVEL * float(height(surface))


def _at_declared(
    surface: Surface, stationary: StationaryPoint, distance: float
) -> tuple[Word, str]:
    word: Word = "converged" if stationary.kind == "minimum" else "saddle"
    which = "minimizer" if stationary.point in surface.minimizers else stationary.kind
    place = coordinates([float(x) for x in stationary.point])
    return word, f"{distance:.2g} from the declared {which} {place}"


def _how_noisy(floor: Floor, steps: int) -> str:
    place = coordinates(floor.minimizer.tolist())
    return (
        f"noise moves it about {place}, without a trend over the second half of {steps} steps "
        f"(Mann-Kendall: p = {floor.no_trend:.2g}, not below {SIGNIFICANCE:g}); the median loss "
        f"gap of {floor.looks} of them is {floor.median_gap:.2g}"
    )


def _figures(floor: Floor) -> dict[str, Any]:
    """Returns the evidence for a noise floor, as plain values."""
    eigenvalues = None if floor.eigenvalues is None else floor.eigenvalues.tolist()
    return {
        "minimizer": floor.minimizer.tolist(),
        "hessian_eigenvalues": eigenvalues,
        "median_gap": floor.median_gap,
        "looks": floor.looks,
        "spread": floor.spread,
        "no_trend": floor.no_trend,
    }


def _how_cycling(cycle: Tensor, steps: int) -> str:
    points = ", ".join(coordinates(point) for point in cycle[:2].tolist())
    more = ", …" if len(cycle) > 2 else ""
    return f"a cycle of {len(cycle)} points after {steps} steps: {points}{more}"


def _distance_from_middle(surface: Surface, point: Tensor) -> float:
    """Returns the distance of a point from the middle of the domain."""
    middle = [(low + high) / 2 for low, high in surface.domain]
    return math.dist(middle, point.tolist())


def _is_flat(
    surface: Surface,
    point: Tensor,
    value: float,
    gradient_norm: float,
    eigenvalues: list[float] | None,
) -> bool:
    """Whether rule 3 of this module applies: gradient and curvature are almost zero."""
    if surface.minimum is None or eigenvalues is None:
        return False
    far = max(diameter(surface), _distance_from_middle(surface, point))
    change = gradient_norm * far + max(map(abs, eigenvalues)) * far**2 / 2
    return change <= FLAT * (value - float(surface.minimum))


def _at_rest(
    surface: Surface, point: Tensor, gradient_norm: float, eigenvalues: list[float] | None
) -> tuple[Word, str]:
    """Returns the outcome of a run at rest away from declared points: rules 2 to 4."""
    value = float(surface.value(point))
    if eigenvalues is None:
        least = None if surface.minimum is None else float(surface.minimum)
        if least is not None and abs(value - least) <= AT_MINIMUM * float(height(surface)):
            return "converged", "the loss is at its minimum, at a point that is not declared"
        if (near := _near_rest(surface, point, eigenvalues)) is not None:
            return near
        return "plateau", "the gradient is all but zero; the Hessian is not to be had"
    near = _near_rest(surface, point, eigenvalues)
    if near is not None and near[0] != "plateau":
        return near
    if _is_flat(surface, point, value, gradient_norm, eigenvalues):
        largest = max(map(abs, eigenvalues))
        return "plateau", f"gradient and curvature (at most {largest:.2g}) are all but zero"
    found = stationary_near(surface, point)
    distance = float((found.point - point).norm())
    if found.kind in ("minimum", "saddle") and distance > NEAR * diameter(surface):
        where = coordinates(found.point.tolist())
        return (
            "plateau",
            f"the gradient is all but zero, {distance:.2g} from the {found.kind} {where}",
        )
    return _as_found(found)


def _near_rest(
    surface: Surface, point: Tensor, eigenvalues: list[float] | None
) -> tuple[Word, str] | None:
    """Returns the outcome by rule 2 for a run that stands still; None if it does not apply."""
    if eigenvalues is None:
        if len(point) <= LARGEST and rises_around(surface, point):
            return "converged", "around it the loss falls on no side; it has no Hessian there"
        return None
    found = stationary_near(surface, point)
    fall = float(surface.value(point) - surface.value(found.point))
    far = float((found.point - point).norm()) > AT_REST * diameter(surface)
    if found.kind == "none" or far or abs(fall) > LEVEL * float(height(surface)):
        return None
    return _as_found(found)


def _as_found(found: Stationary) -> tuple[Word, str]:
    """Returns the outcome of a run that rests close to a stationary point."""
    where, low = coordinates(found.point.tolist()), float(found.eigenvalues[0])
    clear = abs(low) > DEGENERATE * float(found.eigenvalues.abs().max())
    sentences: dict[Kind, tuple[Word, str]] = {
        "minimum": (
            "converged",
            f"at {where} the Hessian is positive definite (least eigenvalue {low:.2g})"
            if clear
            else f"around {where} the loss falls on no side",
        ),
        "saddle": (
            "saddle",
            f"at {where} the Hessian has a negative eigenvalue, {low:.2g}"
            if clear
            else f"at {where} the Hessian is degenerate, and the loss falls on one side",
        ),
        "flat": ("plateau", f"around {where} the loss changes by no more than its rounding"),
        "none": ("plateau", "the gradient is all but zero, but no stationary point is near"),
    }
    return sentences[found.kind]
