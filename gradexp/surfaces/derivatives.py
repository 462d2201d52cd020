"""First and second derivatives of a surface, by automatic differentiation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradexp.numbers import Points, each
from gradexp.surfaces.surface import Surface

LARGEST = 256
"""Dimensions up to which Hessians are looked at."""

DEGENERATE = 1e-6
"""An eigenvalue of a Hessian is all but zero that is smaller than this times the largest in
size."""

CURVED = 1e-12
"""Of an eigenvalue the sign is known if it is larger in size than this times the largest."""


def value_and_gradient(surface: Surface, point: Points) -> tuple[Tensor, Any]:
    """f and ∇f.

    Args:
        point: a tensor ``(dim, *batch)``, or `dim` tensors of one batch shape.

    Returns:
        The values, of the batch shape, and the gradients, of the point's form.
    """
    with torch.enable_grad():
        x = each(lambda part: part.detach().requires_grad_(), point)
        value = surface.value(x)
        # Runs do not see each other, so each part of the sum's gradient is one run's own. (Passing
        # ones for the sum would import sympy, which takes 0.3 s.)
        gradient = torch.autograd.grad(value.sum(), x, allow_unused=True)

    def known(part: Tensor, slope: Tensor | None) -> Tensor:
        return torch.zeros_like(part) if slope is None else slope  # where f does not depend on it

    if isinstance(x, Tensor):
        return value.detach(), known(x, gradient[0])
    return value.detach(), tuple(map(known, x, gradient))


def hessian(surface: Surface, point: Tensor) -> Tensor:
    """∇²f.

    Args:
        point: ``(dim, *batch)``.

    Returns:
        The Hessians, ``(dim, dim, *batch)``.
    """
    with torch.enable_grad():
        x = point.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(
            surface.value(x).sum(), x, create_graph=True, materialize_grads=True
        )
        rows = [
            torch.autograd.grad(part.sum(), x, retain_graph=True, materialize_grads=True)[0]
            if part.requires_grad
            else torch.zeros_like(x)
            for part in gradient
        ]
    return torch.stack(rows)
