"""Building blocks of schedules: progress over a number of steps, and interpolation."""

from __future__ import annotations

import math
from typing import Annotated, Any, TypeAlias

import torch
from torch import Tensor

from gradexp.numbers import Interval, Number

Length: TypeAlias = Annotated[Number, Interval(1.0, closed="left")]
"""a number of steps, at least 1; it may be fractional"""


def progress(step: Tensor, length: Number) -> Tensor:
    """Returns step / length, and 1 from step `length` on; `length` may be 0."""
    return torch.where(step < length, step / length, 1.0)


def linear(start: Any, end: Any, share: Tensor) -> Any:
    """Interpolates linearly from `start`, at share 0, to `end`, at share 1."""
    return start + (end - start) * share


def half_wave(share: Tensor) -> Tensor:
    """Returns (1 + cos(π share)) / 2, which falls from 1 at share 0 to 0 at share 1.

    It is computed as cos²(π share / 2): near 0 the sum of two numbers near ±1 would lose digits.
    """
    wave = (math.pi / 2 * share).cos()
    return wave * wave


def cosine(start: Any, end: Any, share: Tensor) -> Any:
    """Interpolates along half a cosine wave from `start`, at share 0, to `end`, at share 1."""
    return linear(end, start, half_wave(share))
