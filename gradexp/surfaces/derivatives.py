"""First and second derivatives of a surface, by automatic differentiation."""

from __future__ import annotations

import torch
from torch import Tensor

from gradexp.surfaces.surface import Surface


def value_and_gradient(surface: Surface, point: Tensor) -> tuple[Tensor, Tensor]:
    """f and ∇f.

    Args:
        point: ``(dim, *batch)``.

    Returns:
        The values ``(*batch)`` and the gradients ``(dim, *batch)``.
    """
    with torch.enable_grad():
        x = point.detach().requires_grad_()
        value = surface.value(x)
        # Runs do not see each other, so each part of the sum's gradient is one run's own. (Passing
        # ones for the sum would import sympy, which takes 0.3 s.)
        (gradient,) = torch.autograd.grad(value.sum(), x, materialize_grads=True)
    return value.detach(), gradient


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
