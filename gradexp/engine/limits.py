"""What every step is compared with: when a run is at rest, and when it has diverged.

A run is *at rest* where its gradient is all but zero and its last move, too: one with momentum may
pass a point without a gradient. It has *diverged* where a coordinate or the loss is too large, or
not finite. Where `Stop` says nothing, all four are measured by the surface: by the diameter D of
its domain, the height S of its loss (`gradexp.surfaces.scale`), where the run starts, and by the
precision of the numbers, ε. So a surface that is stretched, or multiplied by a number, ends its
runs at the same step.
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
"""A gradient is all but zero that is smaller than this times S / D."""

UNITS = 4
"""A move is all but zero that is shorter than so many ε · D."""

FAR = 1e12
"""A run has diverged whose coordinates or loss are larger in size than this times what they usually
are."""


@dataclass(frozen=True)
class Stop(Component):
    """When a run ends before its last step.

    Args:
        gradient: it is at rest where the gradient norm is no more than this, and it moves no more;
            0 for never, None for `SLOPE` · S / D.
        divergence: it has diverged where the loss or a coordinate is larger in size than this, or
            not finite; None for `FAR` times what they usually are: in size, the domain, and the
            losses all over it; or the start, and the loss there, where it lies outside.
    """

    gradient: NonNegative | None = None
    divergence: Positive | None = None


@dataclass(frozen=True)
class Limits(Component):
    """What the numbers of every step are compared with.

    Args:
        minimum: the surface's least value, from which the loss gap is measured: one number, or
            none where it is unknown.
        gradient_square: of the largest gradient norm at rest; negative where no run ever rests.
        move_square: of the longest move at rest.
        coordinate: the largest size of one of a run that has not diverged.
        loss: likewise.
        released: the step after which the gradient must have been above its limit before a run
            may rest: one number, or none where it may rest at any step.
    """

    minimum: tuple[Number, ...] = ()
    gradient_square: Number = -1.0
    move_square: Number = 0.0
    coordinate: Number = FAR
    loss: Number = FAR
    released: tuple[Number, ...] = ()

    @classmethod
    def of(cls, surface: Surface, start: Tensor, noise: Noise, stop: Stop) -> Limits:
        """Those of a problem.

        A run does not rest while noise goes on moving it, however small its gradient is. The
        longest move at rest is D times the largest of the gradient norm at rest over S / D, and of
        `UNITS` · ε.

        Args:
            surface: its numbers of one run or of B.
            start: ``(dim, B)`` or ``(dim, 1)``, of the precision of the runs.
            noise: likewise.
            stop: likewise.
        """
        far, (high, largest) = diameter(surface), losses(surface)
        slope = _where(high > 0, high, 1.0) / far
        least = SLOPE[start.dtype] * slope if stop.gradient is None else _host(stop.gradient)
        longest = _larger(least / slope, UNITS * torch.finfo(start.dtype).eps) * far
        rests = (_host(noise.constant_part()) == 0) & (least > 0)
        if stop.divergence is None:
            coordinate, loss = _usual(surface, start, largest)
            coordinate, loss = FAR * coordinate, FAR * loss
        else:
            coordinate = loss = _host(stop.divergence)
        most = torch.finfo(start.dtype).max
        return substitute(  # all checked before
            _NONE,
            minimum=() if surface.minimum is None else (surface.minimum,),
            gradient_square=_where(rests, _larger(least * least, math.ulp(0.0)), -1.0),
            move_square=longest * longest,
            coordinate=-_larger(-coordinate, -most),
            loss=-_larger(-loss, -most),
        )


_NONE = Limits()

_FEW = 16
"""Coordinates."""


def _usual(surface: Surface, start: Tensor, largest: Number) -> tuple[Number, Number]:
    """How large in size coordinates and losses of runs usually are: of one that starts in the
    domain as there, whoever else is in its batch.

    Args:
        surface: its numbers of one run or of B.
        start: ``(dim, B)`` or ``(dim, 1)``.
        largest: the loss of the surface that is usually the largest in size.
    """
    low, high, coordinate = _bounds(surface.domain)
    if start.numel() <= _FEW and start.shape[1] == 1:  # of one run a tensor takes longer
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
    """The ends of a domain, each ``(dim,)``; and what is largest in size, one of them or its
    diameter."""
    low, high = columns(low for low, _ in domain), columns(top for _, top in domain)
    sizes = (low.abs().max(), high.abs().max(), (high - low).norm())
    return low, high, float(max(sizes))


def _where(condition: bool | Tensor, number: Number, other: Number) -> Number:
    """One number or another, for one run or for each."""
    if isinstance(condition, Tensor):
        return torch.where(condition.cpu(), _real(number), _real(other))
    return number if condition else other


def _larger(number: Number, other: Number) -> Number:
    """The larger of two numbers, for one run or for each."""
    if isinstance(number, Tensor) or isinstance(other, Tensor):
        return torch.maximum(_real(number), _real(other))
    return max(number, other)


def _host(number: Number) -> Number:
    """A number on the CPU, where limits are worked out."""
    return _real(number) if isinstance(number, Tensor) else number


def _real(number: Number) -> Tensor:
    """A number as a tensor on the CPU, to its last bit."""
    return torch.as_tensor(number, dtype=torch.float64, device="cpu")
