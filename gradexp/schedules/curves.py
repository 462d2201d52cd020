"""Building blocks of schedules: progress over a number of steps, and interpolation."""

from __future__ import annotations

import math
from typing import Annotated, Any, TypeAlias

import torch
from torch import Tensor

from gradexp.numbers import Interval, Number

Length: TypeAlias = Annotated[Number, Interval(1.0, closed="left")]
"""a number of steps, at least 1; it may be fractional"""


def fraction_done(step: Tensor, length: Number) -> Tensor:
    """Returns step / length, and 1 from step `length` on; `length` may be 0."""
    return torch.where(step < length, step / length, 1.0)


def interpolate_linear(start: Any, end: Any, fraction: Tensor) -> Any:
    """Interpolates linearly from `start`, at fraction 0, to `end`, at 1."""
    return start + (end - start) * fraction


def half_wave(fraction: Tensor) -> Tensor:
    """Returns (1 + cos(π fraction)) / 2, which falls from 1 at fraction 0 to 0 at 1.

    It is computed as cos²(π fraction / 2): near 0 the sum of two numbers near ±1 would lose digits.
    """
    wave = (math.pi / 2 * fraction).cos()
    return wave * wave


def interpolate_cosine(start: Any, end: Any, fraction: Tensor) -> Any:
    """Interpolates along half a cosine wave from `start`, at fraction 0, to `end`, at 1."""
    return interpolate_linear(end, start, half_wave(fraction))
