"""First and second derivatives of a surface, by automatic differentiation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradexp.numbers import Points, each
from gradexp.surfaces.surface import Surface

LARGEST = 256
"""largest dimension for which Hessians are computed"""

DEGENERATE = 1e-6
"""a Hessian's eigenvalue counts as zero if its size is below this times the largest size"""

CURVED = 1e-12
"""an eigenvalue's sign is reliable if its size is above this times the largest size"""


def value_and_gradient(surface: Surface, point: Points) -> tuple[Tensor, Any]:
    """Returns f and ∇f.

    Args:
        surface: the surface f.
        point: a tensor ``(dim, *batch)``, or `dim` tensors of one batch shape.

    Returns:
        The values, of the batch shape, and the gradients, in the same form as the point.
    """
    with torch.enable_grad():
        x = each(lambda part: part.detach().requires_grad_(), point)
        value = surface.value(x)
        # Runs are independent, so the gradient of the sum holds the gradient of each run. (Passing
        # a tensor of ones instead of the sum would import sympy, which takes 0.3 s.)
        gradient = torch.autograd.grad(value.sum(), x, allow_unused=True)

    def known(part: Tensor, slope: Tensor | None) -> Tensor:
        return torch.zeros_like(part) if slope is None else slope  # where f does not depend on it

    if isinstance(x, Tensor):
        return value.detach(), known(x, gradient[0])
    return value.detach(), tuple(map(known, x, gradient))


def hessian(surface: Surface, point: Tensor) -> Tensor:
    """Returns ∇²f.

    Args:
        surface: the surface f.
        point: a tensor ``(dim, *batch)``.

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
