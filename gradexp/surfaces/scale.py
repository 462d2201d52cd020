"""The scale of a surface: the size of its domain and of its losses.

Thresholds are relative to these scales, so that stretching a surface, or multiplying it by a
number, does not change how its runs are judged.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from gradexp.numbers import (
    LANES,
    Component,
    Number,
    batch_size,
    columns,
    in_lanes,
    map_numbers,
    numbers,
    of_runs,
    padded,
    select,
)
from gradexp.surfaces.surface import Surface

_POINTS, _FEWEST = 64, 4
_NUMBERS = 2**22
"""limit on the number of coordinates in one evaluation, which only `_FEWEST` points may exceed"""


def diameter(surface: Surface) -> float:
    """Returns the length of the diagonal of a surface's domain."""
    return math.hypot(*(top - bottom for bottom, top in surface.domain))


def values_of_runs(surface: Surface, point: Tensor) -> Tensor:
    """Returns the losses of runs at points.

    A run's loss is the same to the last bit whatever other runs share its batch.

    Args:
        surface: with the numbers of one run or of B runs.
        point: the points, ``(dim, B)`` or ``(dim, 1)``.

    Returns:
        The losses as float64, ``(B,)``.
    """
    count = max(batch_size(surface), point.shape[1])
    point = padded(point.double().expand(-1, count))
    values = in_lanes(surface, count, torch.float64, point.device).value(point)
    return values.expand(point.shape[1])[:count]


class Losses(NamedTuple):
    """The scale of a surface's losses."""

    height: Number
    """median loss at points all over the domain minus the minimum; at least 0, and 0 if all those
    losses are equal or none is finite"""
    largest: Number
    """the larger of the absolute values of the median and the minimum; 0 if it is not finite"""


def height(surface: Surface) -> Number:
    """Returns the typical height of a surface's loss above its minimum: `Losses.height`.

    Args:
        surface: with the numbers of one run or of B runs.

    Returns:
        A float, or a float64 tensor ``(B,)``.
    """
    return losses(surface).height


def losses(surface: Surface) -> Losses:
    """Returns the scale of a surface's losses.

    The minimum is the surface's own where that is known, and otherwise the smallest loss at points
    all over the domain and at the start.

    Args:
        surface: with the numbers of one run or of B runs.
    """
    surface, which = _distinct(surface)
    if which is None:
        try:
            return _of_one(surface)
        except TypeError:  # a user-defined surface that cannot be hashed
            return _of_one.__wrapped__(surface)
    count, points = batch_size(surface), _points(surface)
    if points.numel() * LANES > _NUMBERS:
        alone = [_of_one(select(surface, index)) for index in range(count)]
        rows = [torch.tensor(row, dtype=torch.float64) for row in zip(*alone, strict=True)]
        return Losses(*(row[which] for row in rows))
    many = _NUMBERS // points.numel()
    parts = [_of_each(of_runs(surface, slice(i, i + many)), points) for i in range(0, count, many)]
    return Losses(*(torch.cat(rows)[which] for rows in zip(*parts, strict=True)))


@lru_cache(maxsize=256)
def _of_one(surface: Surface) -> Losses:
    """Returns the scale of the losses of a surface with the numbers of one run."""
    points = _points(surface)
    if points.numel() * LANES > _NUMBERS:
        return Losses(*map(float, _summed(surface, surface.value(points)[:, None])))
    return Losses(*map(float, _of_each(surface, points)))


def _of_each(surface: Surface, points: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the fields of `Losses`, each ``(B,)``, of a surface with the numbers of B runs.

    A run's values are the same to the last bit whatever other runs share its batch.
    """
    count = batch_size(surface)
    lanes = in_lanes(surface, count, torch.float64, torch.device("cpu"))
    width = -(-count // LANES) * LANES
    across = points.shape[1]
    lanes = map_numbers(lanes, lambda number, name: _repeated(number, across))
    values = lanes.value(points.repeat_interleave(width, dim=1))
    return _summed(surface, values.expand(across * width).reshape(across, width)[:, :count])


def _repeated(number: Number, times: int) -> Number:
    """Returns a number of a batch repeated `times` times; a shared number is unchanged."""
    return number.repeat(times) if isinstance(number, Tensor) and number.numel() > 1 else number


def _summed(surface: Surface, values: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the fields of `Losses` from losses ``(N, B)`` at points all over the domain."""
    values = torch.where(values.isfinite(), values, math.inf).sort(dim=0).values
    middle = (values.isfinite().sum(dim=0) - 1).clamp(min=0) // 2
    median = values.gather(0, middle[None])[0]
    minimum = math.nan if surface.minimum is None else surface.minimum
    least = torch.as_tensor(minimum, dtype=torch.float64).expand(values.shape[1])
    if bool(least.isnan().any()):
        start = values_of_runs(surface, columns(surface.start).reshape(surface.dim, -1))
        least = torch.where(least.isnan(), torch.fmin(values[0], start), least)
    high = (median - least).nan_to_num(nan=0.0, posinf=0.0).clamp(min=0.0)
    largest = torch.maximum(median.abs(), least.abs())
    return high, torch.where(largest.isfinite(), largest, 0.0)


def _points(surface: Surface) -> Tensor:
    """Returns points that fill the domain evenly, ``(dim, N)``."""
    low, high = columns(low for low, _ in surface.domain), columns(top for _, top in surface.domain)
    count = max(_FEWEST, min(_POINTS, _NUMBERS // surface.dim))
    return low[:, None] + (high - low)[:, None] * _evenly(surface.dim, count)


C = TypeVar("C", bound=Component)


def _distinct(component: C) -> tuple[C, Tensor | None]:
    """Returns a component with each distinct setting once, and the index of each run's setting.

    The indices are None if the component has the numbers of one run.
    """
    rows = [number for number in numbers(component).values() if isinstance(number, Tensor)]
    if not rows:
        return component, None
    wide = [row.cpu().double().reshape(-1) for row in rows]
    settings = columns(wide)
    if bool((settings == settings[:, :1]).all()):
        settings, which = settings[:, :1], torch.zeros(settings.shape[1], dtype=torch.int64)
    else:
        settings, which = torch.unique(settings, dim=1, return_inverse=True)
    first = torch.full((settings.shape[1],), len(which), dtype=torch.int64)
    first.scatter_reduce_(0, which, torch.arange(len(which)), "amin")

    def of_kinds(number: Any, name: str) -> Any:
        if not isinstance(number, Tensor):
            return number
        number = number.cpu().reshape(-1)
        return number[first] if len(number) > 1 else number

    return map_numbers(component, of_kinds), which


def _evenly(dim: int, count: int) -> Tensor:
    """Returns points ``(dim, count)`` of a fixed sequence that fills [0, 1)^dim evenly.

    Source: Roberts, "The unreasonable effectiveness of quasirandom sequences" (2018).
    """
    root = 2.0
    for _ in range(64):  # converges to the root above 1 of x^(dim + 1) = x + 1
        root = (1 + root) ** (1 / (dim + 1))
    steps = root ** -torch.arange(1, dim + 1, dtype=torch.float64)
    return (0.5 + steps[:, None] * torch.arange(1, count + 1, dtype=torch.float64)).remainder(1)
