"""What schedules are made of: how far a stretch of steps has come, and what lies between two
values."""

from __future__ import annotations

import math
from typing import Annotated, Any, TypeAlias

import torch
from torch import Tensor

from gradexp.numbers import Interval, Number

Length: TypeAlias = Annotated[Number, Interval(1.0, closed="left")]
"""A number of steps, at least one; it need not be whole."""


def progress(step: Tensor, length: Number) -> Tensor:
    """step / length, and 1 from `length` on, which may be 0."""
    return torch.where(step < length, step / length, 1.0)


def linear(start: Any, end: Any, share: Tensor) -> Any:
    """From `start`, at share 0, on a straight line to `end`, at share 1."""
    return start + (end - start) * share


def half_wave(share: Tensor) -> Tensor:
    """(1 + cos(π share)) / 2, from 1 at share 0 to 0 at share 1, as cos²(π share / 2): what is
    small keeps its digits, which it does not as a difference of two numbers near 1."""
    wave = (math.pi / 2 * share).cos()
    return wave * wave


def cosine(start: Any, end: Any, share: Tensor) -> Any:
    """From `start`, at share 0, on half a cosine wave to `end`, at share 1."""
    return linear(end, start, half_wave(share))
