"""Arithmetic over the coordinates of a point, the same for both ways of holding one.

A point is a sequence of `dim` tensors of one batch shape, or one tensor ``(dim, *batch)``. What is
written with these functions serves both, gives the same result to the last bit for both, and uses
pointwise arithmetic only, so that a run's numbers do not depend on who shares its batch.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from gradexp.numbers.fields import Number

Points: TypeAlias = Tensor | Sequence[Tensor]
"""Points of runs, coordinates first: a tensor ``(dim, *batch)``, or `dim` tensors of a batch."""


def like(number: Number, point: Points) -> Tensor:
    """A number as a tensor with the element type and device of the point."""
    dtype, device = point[0].dtype, point[0].device
    if isinstance(number, Tensor):
        return number.to(device, dtype)
    return torch.full((), number, dtype=dtype, device=device)  # made where it is wanted


def columns(point: Iterable[Number]) -> Tensor:
    """Coordinates that are floats or tensors ``(B,)`` as one float64 tensor ``(dim,)`` or
    ``(dim, B)``."""
    point = tuple(point)
    if all(type(x) is float for x in point):
        return torch.tensor(point, dtype=torch.float64)
    tensors = [torch.as_tensor(x, dtype=torch.float64) for x in point]
    return torch.stack(torch.broadcast_tensors(*tensors))  # type: ignore[no-untyped-call]


def each(function: Callable[..., Any], *points: Any) -> Any:
    """`function` of every coordinate: of the whole tensor at once, or of one after the other."""
    if isinstance(points[0], Tensor):
        return function(*points)
    return tuple(function(*coordinates) for coordinates in zip(*points, strict=True))


def indices(point: Points, first: int = 1) -> Any:
    """The number of each coordinate, from `first` on, in the form of the point."""
    end = first + len(point)
    if isinstance(point, Tensor):
        column = torch.arange(first, end, dtype=point.dtype, device=point.device)
        return column.reshape(-1, *[1] * (point.dim() - 1))
    return tuple(torch.full_like(x, i) for i, x in zip(range(first, end), point, strict=True))


_FEW = 4
"""Coordinates that are folded one by one: the gradient of two slices takes seven operations, that
of two parts of all one."""


def reverse(point: Points) -> Any:
    """The coordinates from the last to the first."""
    return point.flip(0) if isinstance(point, Tensor) else tuple(reversed(point))


def fold(operation: Callable[[Tensor, Tensor], Tensor], values: Points) -> Tensor:
    """The coordinates combined to one by an associative operation, halves first.

    ``torch.sum`` would choose its order of summation by the shape of the whole batch; this order
    depends on the number of coordinates only, and its rounding error grows as its logarithm.
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
    """The fold of a tensor's coordinates by addition, whose gradient is known at once."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.count = len(values)
        return fold(operator.add, values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.expand(ctx.count, *gradient.shape)


def total(values: Points) -> Tensor:
    """The sum over the coordinates."""
    if isinstance(values, Tensor) and values.requires_grad and len(values) > _FEW:
        summed: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
        return summed
    return fold(operator.add, values)


def product(values: Points) -> Tensor:
    """The product over the coordinates."""
    return fold(operator.mul, values)


def safe_sqrt(value: Tensor) -> Tensor:
    """√value with derivative 0 at 0, where ``torch.sqrt`` has an infinite one.

    As for ``torch.linalg.vector_norm``: at its tip a cone's gradient is taken to be 0.
    """
    positive = value > 0
    return torch.where(positive, torch.where(positive, value, 1.0).sqrt(), value.detach())


def norm(values: Points) -> Tensor:
    """The Euclidean length."""
    return safe_sqrt(total(each(torch.square, values)))
