"""How large a surface is: the scale of its points, and of its losses.

What is small is small beside these: a surface that is stretched, or multiplied by a number, is
judged as it was.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradexp.numbers import columns
from gradexp.surfaces import Surface

_POINTS, _FEWEST = 64, 4
_NUMBERS = 2**22
"""Coordinates that these have together, at most, where they are more than the fewest."""


def diameter(surface: Surface) -> float:
    """The length of the diagonal of a surface's domain."""
    return math.hypot(*(top - bottom for bottom, top in surface.domain))


def height(surface: Surface) -> float:
    """How high the loss of a surface is above its least value, at the median of points all over
    its domain.

    The least value is the surface's minimum, where that is known, or the least of those at the
    points and at the start.

    Args:
        surface: its numbers of one run.

    Returns:
        A positive number, unless all those losses are the same.
    """
    low, high = columns(low for low, _ in surface.domain), columns(top for _, top in surface.domain)
    count = max(_FEWEST, min(_POINTS, _NUMBERS // surface.dim))
    points = low[:, None] + (high - low)[:, None] * _evenly(surface.dim, count)
    losses = surface.value(points)
    losses = losses[losses.isfinite()]
    start = surface.value(columns(surface.start))
    least = float(torch.cat([losses, start[None]]).min())
    if surface.minimum is not None:
        least = float(surface.minimum)
    return float(losses.median()) - least


def _evenly(dim: int, count: int) -> Tensor:
    """Points ``(dim, count)`` of [0, 1)^dim that fill it evenly, the same each time.

    Source: Roberts, "The unreasonable effectiveness of quasirandom sequences" (2018).
    """
    root = 2.0
    for _ in range(64):  # to the root of x^(dim + 1) = x + 1 that is above 1
        root = (1 + root) ** (1 / (dim + 1))
    steps = root ** -torch.arange(1, dim + 1, dtype=torch.float64)
    return (0.5 + steps[:, None] * torch.arange(1, count + 1, dtype=torch.float64)).remainder(1)
