"""Arithmetic over the coordinates of a point, in either of its two forms.

A point is a sequence of `dim` tensors of equal shape, or one tensor ``(dim, *batch)``. Code written
with these functions works for both forms, with results that are equal to the last bit. The
functions use pointwise arithmetic only, so that the result of a run does not depend on the other
runs in its batch.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from gradexp.numbers.fields import Number

Points: TypeAlias = Tensor | Sequence[Tensor]
"""Points of runs, coordinates first: a tensor ``(dim, *batch)``, or `dim` tensors ``(*batch)``."""


def like(number: Number, point: Points) -> Tensor:
    """Returns a number as a tensor with the dtype and on the device of a point."""
    dtype, device = point[0].dtype, point[0].device
    if isinstance(number, Tensor):
        return number.to(device, dtype)
    return torch.full((), number, dtype=dtype, device=device)  # saves a copy to the device


def columns(point: Iterable[Number]) -> Tensor:
    """Stacks coordinates into one float64 tensor.

    Args:
        point: the coordinates, each a float or a tensor ``(B,)``.

    Returns:
        A tensor ``(dim,)`` if all coordinates are floats, else ``(dim, B)``.
    """
    point = tuple(point)
    if all(type(x) is float for x in point):
        return torch.tensor(point, dtype=torch.float64)
    tensors = [torch.as_tensor(x, dtype=torch.float64) for x in point]
    return torch.stack(torch.broadcast_tensors(*tensors))  # type: ignore[no-untyped-call]


def each(function: Callable[..., Any], *points: Any) -> Any:
    """Applies a function to every coordinate of one or more points.

    The points must have the same form, which is also that of the result. For tensors, the function
    is called once with all coordinates.
    """
    if isinstance(points[0], Tensor):
        return function(*points)
    return tuple(function(*coordinates) for coordinates in zip(*points, strict=True))


def indices(point: Points, first: int = 1) -> Any:
    """Returns the index of each coordinate, counted from `first`, in the form of the point."""
    end = first + len(point)
    if isinstance(point, Tensor):
        column = torch.arange(first, end, dtype=point.dtype, device=point.device)
        return column.reshape(-1, *[1] * (point.dim() - 1))
    return tuple(torch.full_like(x, i) for i, x in zip(range(first, end), point, strict=True))


_FEW = 4
"""Up to this many coordinates, `fold` unbinds a tensor instead of slicing it in half: the gradient
of two slices takes seven operations, that of unbinding one."""


def reverse(point: Points) -> Any:
    """Returns the point with its coordinates in reverse order."""
    return point.flip(0) if isinstance(point, Tensor) else tuple(reversed(point))


def fold(operation: Callable[[Tensor, Tensor], Tensor], values: Points) -> Tensor:
    """Reduces the coordinates to one by an associative operation, combining halves recursively.

    ``torch.sum`` chooses its order of summation by the shape of the whole batch. The order used
    here depends only on the number of coordinates, and the rounding error of a sum grows as the
    logarithm of that number.
    """
    count = len(values)
    if isinstance(values, Tensor) and count <= _FEW:
        values = values.unbind(0)
    left = []
    while count > 1:
        half, odd = divmod(count, 2)
        if odd:
            left.append(values[count - 1])
        values = each(operation, values[:half], values[half : 2 * half])
        count = half
    result = values[0]
    for value in left:
        result = operation(result, value)
    return result


class _Sum(torch.autograd.Function):
    """The sum of a tensor's coordinates by `fold`, with a gradient that takes one operation."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.count = len(values)
        return fold(operator.add, values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.expand(ctx.count, *gradient.shape)


def total(values: Points) -> Tensor:
    """Returns the sum of the coordinates."""
    if isinstance(values, Tensor) and values.requires_grad and len(values) > _FEW:
        summed: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
        return summed
    return fold(operator.add, values)


def product(values: Points) -> Tensor:
    """Returns the product of the coordinates."""
    return fold(operator.mul, values)


def safe_sqrt(value: Tensor) -> Tensor:
    """Returns √value, with derivative 0 at 0, where that of ``torch.sqrt`` is infinite.

    This makes the gradient of a norm at the origin 0, as in ``torch.linalg.vector_norm``.
    """
    positive = value > 0
    return torch.where(positive, torch.where(positive, value, 1.0).sqrt(), value.detach())


def norm(values: Points) -> Tensor:
    """Returns the Euclidean norm of each point."""
    return safe_sqrt(total(each(torch.square, values)))
