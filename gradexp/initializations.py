"""Initializations: the starts of runs."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from gradexp.errors import UserError
from gradexp.numbers import (
    Component,
    NonNegative,
    Number,
    Positive,
    Seed,
    Whole,
    columns,
    in_lanes,
    norm,
    normals,
    uniforms,
)
from gradexp.numbers.philox import Stream
from gradexp.surfaces import StationaryPoint, Surface, hessian


class Initialization(Component):
    """Chooses the starts of runs on a surface."""

    @abstractmethod
    def points(self, surface: Surface) -> Tensor:
        """Returns the starts.

        They are float64 of shape ``(dim, B)``, or ``(dim,)`` or ``(dim, 1)`` if all are the same.

        Raises:
            UserError: this initialization does not fit the surface.
        """


def starts(initialization: Initialization, surface: Surface, batch: int) -> Tensor:
    """Returns the starts of `batch` runs.

    Each start is the same to the last bit whatever other runs share its batch.

    Args:
        initialization: its numbers are floats, or tensors of shape ``(B,)``.
        surface: its numbers are floats, or tensors of shape ``(B,)``.
        batch: the number of runs, B.

    Returns:
        The starts as float64, of shape ``(dim, B)``.

    Raises:
        UserError: the initialization does not fit the surface.
    """
    lanes = (batch, torch.float64, torch.device("cpu"))
    points = in_lanes(initialization, *lanes).points(in_lanes(surface, *lanes))
    if points.dim() == 1:
        points = points[:, None]
    return points.expand(-1, batch) if points.shape[1] == 1 else points[:, :batch]


def _of_dimension(name: str, coordinates: tuple[Number, ...], surface: Surface) -> Tensor:
    """Returns the coordinates as a tensor ``(dim,)`` or ``(dim, B)``.

    Raises:
        UserError: their number is not the surface's dimension.
    """
    if len(coordinates) != surface.dim:
        reason = f"must have {surface.dim} coordinates, one per dimension of the surface"
        shown = [float(x) if isinstance(x, float) else x.tolist()[0] for x in coordinates]
        raise UserError(name, shown, reason)
    return columns(coordinates)


@dataclass(frozen=True)
class Point(Initialization):
    """A given point.

    Args:
        point: one finite number per dimension.
    """

    point: tuple[Number, ...]

    def points(self, surface: Surface) -> Tensor:
        return _of_dimension("point", self.point, surface)


@dataclass(frozen=True)
class Standard(Initialization):
    """The surface's conventional start."""

    def points(self, surface: Surface) -> Tensor:
        return columns(surface.start)


@dataclass(frozen=True)
class Uniform(Initialization):
    """A point drawn uniformly from the surface's domain.

    Args:
        seed: the run's seed.
    """

    seed: Seed = 0

    def points(self, surface: Surface) -> Tensor:
        draws = uniforms(torch.as_tensor(self.seed), Stream.START, surface.dim)
        low, high = (
            torch.tensor(side, dtype=torch.float64).reshape(-1, *[1] * (draws.dim() - 1))
            for side in zip(*surface.domain, strict=True)
        )
        return low + (high - low) * draws


@dataclass(frozen=True)
class Normal(Initialization):
    """A point drawn from a normal distribution with the same spread along each axis.

    Args:
        center: the mean, one number per dimension; the surface's conventional start if None.
        std: the standard deviation along each axis, at least 0.
        seed: the run's seed.
    """

    center: tuple[Number, ...] | None = None
    std: NonNegative = 1.0
    seed: Seed = 0

    def points(self, surface: Surface) -> Tensor:
        center = surface.start if self.center is None else self.center
        mean = _of_dimension("center", center, surface)
        draws = normals(torch.as_tensor(self.seed), Stream.START, surface.dim)
        if mean.dim() < draws.dim():
            mean = mean[:, None]
        return mean + self.std * draws


def _stationary(surface: Surface, kind: str, index: int) -> StationaryPoint:
    """Returns a stationary point that the surface declares, by its kind and index.

    Indices count the points of that kind from 0, global minimizers first.

    Raises:
        UserError: the surface declares no point of that kind with that index.
    """
    minima = [StationaryPoint(point, "minimum") for point in surface.minimizers]
    found = [s for s in (*minima, *surface.stationary_points) if s.kind == kind]
    if index >= len(found):
        reason = f"{surface.label()} declares {len(found) or 'none'} of kind {kind}"
        raise UserError("index", index, f"{reason}{', counted from 0' if found else ''}")
    return found[index]


@dataclass(frozen=True)
class Ring(Initialization):
    """A point at a given radius and angle around a stationary point that the surface declares.

    Args:
        radius: the distance from it, positive.
        angle: in radians, from the first axis to the second; in one dimension only the sign of its
            cosine matters.
        kind: the kind of stationary point: ``minimum``, ``saddle`` or ``maximum``.
        index: which point of that kind, counted from 0, global minimizers first.
    """

    radius: Positive = 1.0
    angle: Number = 0.0
    kind: Literal["minimum", "saddle", "maximum"] = "minimum"
    index: Annotated[int, Whole(0)] = 0

    def points(self, surface: Surface) -> Tensor:
        center = _stationary(surface, self.kind, self.index).point
        angle = torch.as_tensor(self.angle, dtype=torch.float64)
        turn = [angle.cos(), angle.sin()] if surface.dim > 1 else [angle.cos().sign()]
        offsets = [self.radius * part for part in turn]
        rest = [torch.zeros_like(angle)] * (surface.dim - len(offsets))
        shifted = zip(center, [*offsets, *rest], strict=True)
        return columns([x + offset for x, offset in shifted])


@dataclass(frozen=True)
class NearSaddle(Initialization):
    """A point near a saddle that the surface declares, along its steepest unstable direction.

    The direction is the eigenvector of the Hessian's smallest eigenvalue, with the sign that makes
    its largest coordinate positive, or the descent direction that the surface declares for a saddle
    whose Hessian has no negative eigenvalue. From distance ε, heavy ball needs about
    log(1/ε)/log σ steps to leave, where σ > 1 is its growth factor per step there.

    Args:
        distance: ε; a negative distance starts on the other side.
        index: which saddle, counted from 0.
    """

    distance: Number = 1e-3
    index: Annotated[int, Whole(0)] = 0

    def points(self, surface: Surface) -> Tensor:
        saddle = _stationary(surface, "saddle", self.index)
        center = columns(saddle.point).reshape(surface.dim, -1)
        if saddle.descent is None:
            curvatures = hessian(surface, center).movedim(-1, 0)
            direction = torch.linalg.eigh(curvatures).eigenvectors[..., 0].T
            largest = direction.gather(0, direction.abs().argmax(0, keepdim=True))
            direction = direction * largest.sign()
        else:
            direction = columns(saddle.descent)[:, None]
            direction = direction / norm(direction)
        points: Tensor = center + self.distance * direction
        return points
