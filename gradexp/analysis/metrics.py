"""Figures that sum up one run."""

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

_FEWEST = 8
"""Steps that a rate is fitted to."""


def distance_to_minimizer(surface: Surface, points: Tensor) -> Tensor | None:
    """The distance of each point to the nearest declared minimizer.

    Args:
        surface: of one run.
        points: ``(R, dim)``.

    Returns:
        ``(R,)``, or None where the surface declares none.
    """
    if not surface.minimizers:
        return None
    minimizers = torch.tensor(surface.minimizers, dtype=points.dtype)
    return norm((points[:, None] - minimizers).movedim(-1, 0)).amin(dim=1)


class Fit(NamedTuple):
    """A rate that was fitted."""

    rate: float
    first: int
    """the first of the steps that it was fitted to, which go on to the last one of the run"""
    r2: float
    """the share of the variance of the logarithms that the line explains"""


def fit_rate(step: np.ndarray, gradient_norm: np.ndarray) -> Fit | None:
    """The factor that the gradient norm shrinks by in a step, from the second half of a run.

    exp of the slope of the least-squares line through its logarithm.

    Args:
        step: ``(R,)``, the recorded steps.
        gradient_norm: ``(R,)``.

    Returns:
        None where that half has fewer than `_FEWEST` steps with a gradient.
    """
    late = (2 * step >= step[-1]) & (gradient_norm > 0)
    if late.sum() < _FEWEST:
        return None
    x, y = step[late].astype(np.float64), np.log(gradient_norm[late].astype(np.float64))
    x, y = x - x.mean(), y - y.mean()
    slope, whole = float(x @ y / (x @ x)), float(y @ y)
    rest = float(((y - slope * x) ** 2).sum())
    r2 = 1.0 if whole <= 1e-20 * len(y) else max(0.0, 1 - rest / whole)
    return Fit(math.exp(slope), int(step[late][0]), r2)


def _escape_step(surface: Surface, step: Tensor, points: Tensor) -> int | None:
    """The first recorded step away from the saddle that a run started at."""
    saddle = saddle_left(surface, points[0].double())
    if saddle is None:
        return None
    away = norm((points.double() - columns(saddle.point)).T) > escape_radius(surface)
    return int(step[away.nonzero()[0, 0]]) if bool(away.any()) else None


def metrics(
    surface: Surface, trace: Trace, index: int, tolerances: tuple[float, ...]
) -> dict[str, Any]:
    """The figures of one run; what is unknown or was never reached is None.

    Args:
        surface: of that run.
        trace: of its batch.
        index: which run of the batch.
        tolerances: those that the trace was recorded with.

    Returns:
        ``steps``, ``final_loss``, ``best_loss``, ``best_step``, ``loss_gap`` (final loss minus the
        surface's minimum), ``gradient_norm``, ``distance`` (to the nearest declared minimizer),
        ``path_length``, ``displacement`` (from start to end), ``reversals`` (moves at more than a
        right angle to the one before), ``rate`` (`fit_rate`), ``rate_from`` (the first step that it
        was fitted to) and ``rate_r2`` (how well it fits), ``escape_steps`` (to leave the saddle
        that the run started at: `gradexp.analysis.theory`); and, by tolerance,
        ``steps_to_gap`` and ``steps_to_gradient``. Of an optimizer that may take more than one
        gradient a step, such as LBFGS, besides ``evaluations``, the gradients that it took, and by
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
        "rate_from": fit and fit.first,
        "rate_r2": fit and fit.r2,
        "escape_steps": escaped,
        "steps_to_gap": first_steps(trace.gap_steps),
        "steps_to_gradient": first_steps(trace.gradient_steps),
    }
    if trace.evaluations is not None:
        taken = trace.evaluations[:, index].tolist()
        found["evaluations"] = taken[found["steps"]]
        for what in ("gap", "gradient"):
            found[f"evaluations_to_{what}"] = {
                tolerance: None if step is None else taken[step]
                for tolerance, step in found[f"steps_to_{what}"].items()
            }
    return found
