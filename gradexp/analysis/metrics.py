"""Figures that sum up one run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradexp.engine import Trace
from gradexp.numbers import norm
from gradexp.surfaces import Surface


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
        ``path_length``, ``reversals`` (moves at more than a right angle to the one before); and,
        by tolerance, ``steps_to_gap`` and ``steps_to_gradient``.
    """
    point = trace.final_point[:, index].double()
    distance = distance_to_minimizer(surface, point[None])
    loss = float(trace.final_loss[index])
    minimum = surface.minimum

    def first_steps(steps: Tensor | None) -> dict[str, int | None]:
        column = [None] * len(tolerances) if steps is None else steps[:, index].tolist()
        return {
            str(tolerance): step if step is not None and step >= 0 else None
            for tolerance, step in zip(tolerances, column, strict=True)
        }

    return {
        "steps": int(trace.steps[index]),
        "final_loss": loss,
        "best_loss": float(trace.best_loss[index]),
        "best_step": int(trace.best_step[index]),
        "loss_gap": None if minimum is None else loss - float(minimum),
        "gradient_norm": float(trace.final_gradient_norm[index]),
        "distance": None if distance is None else float(distance),
        "path_length": float(trace.path_length[index]),
        "reversals": int(trace.reversals[index]),
        "steps_to_gap": first_steps(trace.gap_steps),
        "steps_to_gradient": first_steps(trace.gradient_steps),
    }
