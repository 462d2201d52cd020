"""The limits that decide at every step whether a run is at rest and whether it has diverged.

A run is *at rest* if both its gradient and its last move are almost zero. The gradient alone does
not suffice, because a run with momentum may pass through a point where the gradient is zero. A run
has *diverged* if a coordinate or the loss is too large or not finite.

By default, the limits are relative to the surface: to the diameter D of its domain, to the height S
of its loss (see `gradexp.surfaces.scale`), to the start of the run, and to the machine precision ε.
The limits therefore scale with a surface that is stretched or multiplied by a number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from gradexp.noises import Noise
from gradexp.numbers import Component, NonNegative, Number, Positive, columns, norm, substitute
from gradexp.surfaces import Surface
from gradexp.surfaces.scale import diameter, losses, values_of_runs
from gradexp.surfaces.surface import Domain

SLOPE = {torch.float64: 1e-8, torch.float32: 1e-6}
"""A gradient is almost zero if its norm is at most this times S / D."""

UNITS = 4
"""A move is almost zero if its length is at most this times ε · D."""

FAR = 1e12
"""A run has diverged if a coordinate or the loss exceeds its usual size by this factor."""


@dataclass(frozen=True)
class Stop(Component):
    """When a run ends before its last step.

    Args:
        gradient: the run is at rest if the gradient norm is at most this and the run has stopped
            moving. 0 means never, None means `SLOPE` · S / D.
        divergence: the run has diverged if the absolute value of the loss or of a coordinate
            exceeds this or is not finite. None means `FAR` times the usual size of each: of the
            coordinates and losses in the domain, and, if the start lies outside the domain, of the
            start and its loss.
    """

    gradient: NonNegative | None = None
    divergence: Positive | None = None


@dataclass(frozen=True)
class Limits(Component):
    """The limits of a problem, with which each step is compared.

    Args:
        minimum: the surface's minimum, from which the loss gap is measured: one number, or none if
            it is unknown.
        gradient_square: the square of the largest gradient norm at rest; negative if runs never
            rest.
        move_square: the square of the longest move at rest.
        coordinate: the largest absolute value that a coordinate may have without the run having
            diverged.
        loss: the same for the loss.
        released: the run may rest only once its gradient norm has exceeded its limit after this
            step: one number, or none if it may rest at any step.
    """

    minimum: tuple[Number, ...] = ()
    gradient_square: Number = -1.0
    move_square: Number = 0.0
    coordinate: Number = FAR
    loss: Number = FAR
    released: tuple[Number, ...] = ()

    @classmethod
    def of(cls, surface: Surface, start: Tensor, noise: Noise, stop: Stop) -> Limits:
        """Returns the limits of a problem.

        A run never rests while noise keeps moving it, however small its gradient is. The longest
        move at rest is D · max(g / (S / D), `UNITS` · ε), where g is the gradient norm at rest.

        Args:
            surface: the surface, for one run or for B runs.
            start: the starts, ``(dim, B)`` or ``(dim, 1)``, with the dtype of the runs.
            noise: the noise, for one run or for B runs.
            stop: the user's settings, for one run or for B runs.
        """
        far, (high, largest) = diameter(surface), losses(surface)
        slope = _where(high > 0, high, 1.0) / far
        least = SLOPE[start.dtype] * slope if stop.gradient is None else _host(stop.gradient)
        longest = _larger(least / slope, UNITS * torch.finfo(start.dtype).eps) * far
        rests = (_host(noise.size_at_zero_gradient()) == 0) & (least > 0)
        if stop.divergence is None:
            coordinate, loss = _usual(surface, start, largest)
            coordinate, loss = FAR * coordinate, FAR * loss
        else:
            coordinate = loss = _host(stop.divergence)
        most = torch.finfo(start.dtype).max
        return substitute(  # unchecked, for all of these have been checked before
            _NONE,
            minimum=() if surface.minimum is None else (surface.minimum,),
            gradient_square=_where(rests, _larger(least * least, math.ulp(0.0)), -1.0),
            move_square=longest * longest,
            coordinate=-_larger(-coordinate, -most),
            loss=-_larger(-loss, -most),
        )


_NONE = Limits()

_FEW = 16
"""Up to this many coordinates are compared as plain numbers."""


def _usual(surface: Surface, start: Tensor, largest: Number) -> tuple[Number, Number]:
    """Returns the usual absolute values of coordinates and losses.

    For a run that starts in the domain they depend on the surface alone, and so not on the other
    runs of its batch.

    Args:
        surface: the surface, for one run or for B runs.
        start: the starts, ``(dim, B)`` or ``(dim, 1)``.
        largest: the usual absolute value of the surface's losses, `Losses.largest`.
    """
    low, high, coordinate = _bounds(surface.domain)
    if start.numel() <= _FEW and start.shape[1] == 1:  # plain numbers are faster
        places = zip(start[:, 0].tolist(), surface.domain, strict=True)
        if all(low <= x <= high for x, (low, high) in places):
            return coordinate, largest
    lowest, highest = start.amin(dim=1), start.amax(dim=1)  # aminmax takes ten times as long
    if bool(((lowest.cpu() >= low) & (highest.cpu() <= high)).all()):
        return coordinate, largest
    place = start.double().cpu()
    outside = ((place < low[:, None]) | (place > high[:, None])).any(dim=0)
    begun = values_of_runs(surface, start).abs().cpu()
    begun = torch.where(begun.isfinite() & outside, begun, 0.0)
    away = torch.where(outside, norm(place), 0.0)
    return _larger(away, coordinate), _larger(begun, largest)


@lru_cache(maxsize=16)
def _bounds(domain: Domain) -> tuple[Tensor, Tensor, float]:
    """Returns the lower and upper ends of a domain, ``(dim,)`` each, and its usual coordinate.

    The usual coordinate is the largest absolute value among the ends and the domain's diameter.
    """
    low, high = columns(low for low, _ in domain), columns(top for _, top in domain)
    sizes = (low.abs().max(), high.abs().max(), (high - low).norm())
    return low, high, float(max(sizes))


def _where(condition: bool | Tensor, number: Number, other: Number) -> Number:
    """Returns `number` where the condition holds, else `other`, for one run or elementwise."""
    if isinstance(condition, Tensor):
        return torch.where(condition.cpu(), _real(number), _real(other))
    return number if condition else other


def _larger(number: Number, other: Number) -> Number:
    """Returns the larger of two numbers, for one run or elementwise."""
    if isinstance(number, Tensor) or isinstance(other, Tensor):
        return torch.maximum(_real(number), _real(other))
    return max(number, other)


def _host(number: Number) -> Number:
    """Returns a number on the CPU, where limits are computed."""
    return _real(number) if isinstance(number, Tensor) else number


def _real(number: Number) -> Tensor:
    """Returns a number as a float64 tensor on the CPU."""
    return torch.as_tensor(number, dtype=torch.float64, device="cpu")
