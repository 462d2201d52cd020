"""Computes the metrics of a run from its trace."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradexp.analysis.theory import escape_radius, saddle_left
from gradexp.engine import End, Trace
from gradexp.numbers import columns, norm
from gradexp.surfaces import Surface

_MIN_POINTS = 8
"""Minimum number of recorded steps that a rate is fitted to."""


def distance_to_minimizer(surface: Surface, points: Tensor) -> Tensor | None:
    """Returns the distance of each point to the nearest declared minimizer.

    Args:
        surface: the surface of the run.
        points: ``(R, dim)``.

    Returns:
        ``(R,)``, or None if the surface declares no minimizer.
    """
    if not surface.minimizers:
        return None
    minimizers = torch.tensor(surface.minimizers, dtype=points.dtype)
    return norm((points[:, None] - minimizers).movedim(-1, 0)).amin(dim=1)


class Fit(NamedTuple):
    """A fitted convergence rate."""

    rate: float
    first_step: int
    """the first step of the fit, which extends to the last step of the run"""
    r2: float
    """the coefficient of determination of the fit to the logarithms"""


def fit_rate(step: np.ndarray, gradient_norm: np.ndarray) -> Fit | None:
    """Fits the factor by which the gradient norm shrinks in a step, in the second half of a run.

    It is exp of the slope of the least-squares line through the logarithms.

    Args:
        step: ``(R,)``, the recorded steps.
        gradient_norm: ``(R,)``.

    Returns:
        The fit, or None if fewer than `_MIN_POINTS` steps of that half have a positive gradient
        norm.
    """
    late = (2 * step >= step[-1]) & (gradient_norm > 0)
    if late.sum() < _MIN_POINTS:
        return None
    x, y = step[late].astype(np.float64), np.log(gradient_norm[late].astype(np.float64))
    x, y = x - x.mean(), y - y.mean()
    slope, total = float(x @ y / (x @ x)), float(y @ y)
    residual = float(((y - slope * x) ** 2).sum())
    r2 = 1.0 if total <= 1e-20 * len(y) else max(0.0, 1 - residual / total)
    return Fit(math.exp(slope), int(step[late][0]), r2)


def _escape_step(surface: Surface, step: Tensor, points: Tensor) -> int | None:
    """Returns the first recorded step outside the neighborhood of the saddle a run started at."""
    saddle = saddle_left(surface, points[0].double())
    if saddle is None:
        return None
    away = norm((points.double() - columns(saddle.point)).T) > escape_radius(surface)
    return int(step[away.nonzero()[0, 0]]) if bool(away.any()) else None


def metrics(
    surface: Surface, trace: Trace, index: int, tolerances: tuple[float, ...]
) -> dict[str, Any]:
    """Returns the metrics of one run; None for a value that is unknown or was never reached.

    Args:
        surface: the surface of the run.
        trace: the trace of the batch that contains the run.
        index: the index of the run in the batch.
        tolerances: the tolerances that the trace was recorded with.

    Returns:
        A dictionary of ``steps``, ``final_loss``, ``best_loss``, ``best_step``, ``loss_gap`` (final
        loss minus the surface's minimum), ``gradient_norm``, ``distance`` (to the nearest declared
        minimizer), ``path_length``, ``displacement`` (from start to end), ``reversals`` (the number
        of moves at more than a right angle to the one before), ``rate`` (`fit_rate`), ``rate_from``
        (the first step of the fit), ``rate_r2`` (its coefficient of determination) and
        ``escape_steps`` (until the run left the saddle that it started at:
        `gradexp.analysis.theory`); and of the dictionaries by tolerance ``steps_to_gap`` and
        ``steps_to_gradient``. For an optimizer that may evaluate more than one gradient per step,
        such as LBFGS, it also has ``evaluations``, the number of gradient evaluations, and by
        tolerance ``evaluations_to_gap`` and ``evaluations_to_gradient``.
    """
    point = trace.final_point[:, index].double()
    distance = distance_to_minimizer(surface, point[None])
    loss = float(trace.final_loss[index])
    minimum = surface.minimum
    fit = escaped = None
    if trace.gradient_norm is not None and End(int(trace.end[index])) is not End.DIVERGED:
        ran = int(trace.steps[index])
        rows = trace.step <= ran
        curve = trace.step[rows].cpu().numpy(), trace.gradient_norm[rows, index].cpu().numpy()
        fit = fit_rate(*curve)
    if trace.point is not None:
        escaped = _escape_step(surface, trace.step, trace.point[..., index].cpu())

    def first_steps(steps: Tensor | None) -> dict[str, int | None]:
        column = [None] * len(tolerances) if steps is None else steps[:, index].tolist()
        return {
            str(tolerance): step if step is not None and step >= 0 else None
            for tolerance, step in zip(tolerances, column, strict=True)
        }

    found: dict[str, Any] = {
        "steps": int(trace.steps[index]),
        "final_loss": loss,
        "best_loss": float(trace.best_loss[index]),
        "best_step": int(trace.best_step[index]),
        "loss_gap": None if minimum is None else loss - float(minimum),
        "gradient_norm": float(trace.final_gradient_norm[index]),
        "distance": None if distance is None else float(distance),
        "path_length": float(trace.path_length[index]),
        "displacement": float(trace.displacement[index]),
        "reversals": int(trace.reversals[index]),
        "rate": fit and fit.rate,
        "rate_from": fit and fit.first_step,
        "rate_r2": fit and fit.r2,
        "escape_steps": escaped,
        "steps_to_gap": first_steps(trace.gap_steps),
        "steps_to_gradient": first_steps(trace.gradient_steps),
    }
    if trace.evaluations is not None:
        evaluations = trace.evaluations[:, index].tolist()
        found["evaluations"] = evaluations[found["steps"]]
        for what in ("gap", "gradient"):
            found[f"evaluations_to_{what}"] = {
                tolerance: None if step is None else evaluations[step]
                for tolerance, step in found[f"steps_to_{what}"].items()
            }
    return found
