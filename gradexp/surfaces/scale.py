"""How large a surface is: the scale of its points, and of its losses.

What is small is small beside these: a surface that is stretched, or multiplied by a number, is
judged as it was.
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
"""Coordinates that these have together, at most, where they are more than the fewest."""


def diameter(surface: Surface) -> float:
    """The length of the diagonal of a surface's domain."""
    return math.hypot(*(top - bottom for bottom, top in surface.domain))


def values_of_runs(surface: Surface, point: Tensor) -> Tensor:
    """The losses of runs at points, a run's the same to the last bit whoever else is there.

    Args:
        surface: its numbers of one run or of B.
        point: ``(dim, B)`` or ``(dim, 1)``.

    Returns:
        float64, ``(B,)``.
    """
    count = max(batch_size(surface), point.shape[1])
    point = padded(point.double().expand(-1, count))
    values = in_lanes(surface, count, torch.float64, point.device).value(point)
    return values.expand(point.shape[1])[:count]


class Losses(NamedTuple):
    """What losses a surface usually has."""

    height: Number
    """how high the median of points all over the domain is above the least value; not negative, 0
    where all those losses are the same, or none is finite"""
    largest: Number
    """of the median and the least value, the one that is larger in size"""


def height(surface: Surface) -> Number:
    """How high the loss of a surface is above its least value: `Losses.height`.

    Args:
        surface: its numbers of one run or of B.

    Returns:
        A number, or float64 ``(B,)``.
    """
    return losses(surface).height


def losses(surface: Surface) -> Losses:
    """What losses a surface usually has.

    The least value is the surface's minimum, where that is known, or the least of those at points
    all over the domain and at the start.

    Args:
        surface: its numbers of one run or of B.
    """
    surface, which = _distinct(surface)
    if which is None:
        try:
            return _of_one(surface)
        except TypeError:  # a person's surface with, say, a list in it
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
    """The losses of a surface whose numbers are of one run."""
    points = _points(surface)
    if points.numel() * LANES > _NUMBERS:
        return Losses(*map(float, _summed(surface, surface.value(points)[:, None])))
    return Losses(*map(float, _of_each(surface, points)))


def _of_each(surface: Surface, points: Tensor) -> tuple[Tensor, Tensor]:
    """The fields of `Losses`, each ``(B,)``, of a surface whose numbers are of B runs; those of one
    are the same to the last bit whoever else is there."""
    count = batch_size(surface)
    lanes = in_lanes(surface, count, torch.float64, torch.device("cpu"))
    width = -(-count // LANES) * LANES
    across = points.shape[1]
    lanes = map_numbers(lanes, lambda number, name: _repeated(number, across))
    values = lanes.value(points.repeat_interleave(width, dim=1))
    return _summed(surface, values.expand(across * width).reshape(across, width)[:, :count])


def _repeated(number: Number, times: int) -> Number:
    """Numbers in lanes, so many times one after the other."""
    return number.repeat(times) if isinstance(number, Tensor) and number.numel() > 1 else number


def _summed(surface: Surface, values: Tensor) -> tuple[Tensor, Tensor]:
    """The fields of `Losses` from losses ``(N, B)`` all over the domain."""
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
    """Points all over the domain, ``(dim, N)``."""
    low, high = columns(low for low, _ in surface.domain), columns(top for _, top in surface.domain)
    count = max(_FEWEST, min(_POINTS, _NUMBERS // surface.dim))
    return low[:, None] + (high - low)[:, None] * _evenly(surface.dim, count)


C = TypeVar("C", bound=Component)


def _distinct(component: C) -> tuple[C, Tensor | None]:
    """Each setting of a component once, and which of them each run has; None where its numbers are
    those of one run."""
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
    """Points ``(dim, count)`` of [0, 1)^dim that fill it evenly, the same each time.

    Source: Roberts, "The unreasonable effectiveness of quasirandom sequences" (2018).
    """
    root = 2.0
    for _ in range(64):  # to the root of x^(dim + 1) = x + 1 that is above 1
        root = (1 + root) ** (1 / (dim + 1))
    steps = root ** -torch.arange(1, dim + 1, dtype=torch.float64)
    return (0.5 + steps[:, None] * torch.arange(1, count + 1, dtype=torch.float64)).remainder(1)
