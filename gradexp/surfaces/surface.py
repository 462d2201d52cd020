"""The contract of a surface: a formula, and the facts that are known about it."""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from torch import Tensor

from gradexp.mistakes import Mistake
from gradexp.numbers import Component, Dimension, Number, Point

Family: TypeAlias = Literal["convex", "multi_minima", "saddle", "network"]
Coordinates: TypeAlias = tuple[Number, ...]
Domain: TypeAlias = tuple[tuple[float, float], ...]
Kind: TypeAlias = Literal["minimum", "saddle", "maximum"]


@dataclass(frozen=True)
class StationaryPoint:
    """A point with zero gradient; `kind` ``"minimum"`` is a local one, not the least."""

    point: Coordinates
    kind: Kind
    descent: tuple[float, ...] | None = None
    """A direction downhill, for a saddle whose Hessian shows none."""


class Surface(Component):
    """A function R^dim → R that is minimized, with what is known about it.

    A surface is a frozen dataclass that subclasses this one; its facts are class attributes,
    properties or fields. They are stated for the whole space. Where the function has no least
    value there (it is unbounded below), `minimum` and `minimizers` are those of the domain, or
    None and empty.
    """

    family: ClassVar[Family]

    if TYPE_CHECKING:  # read-only facts; at run time a subclass may state them in any form

        @property
        def dim(self) -> int:
            """The number of coordinates."""

        @property
        def domain(self) -> Domain:
            """A ``(low, high)`` pair per coordinate: what is plotted, where uniform starts are
            drawn. Descent may leave it."""

        @property
        def start(self) -> Coordinates:
            """The conventional starting point."""

        @property
        def minimum(self) -> Number | None:
            """The least value, or None where there is none or it is unknown."""

        @property
        def minimizers(self) -> tuple[Coordinates, ...]:
            """All known points where `minimum` is taken."""

        @property
        def stationary_points(self) -> tuple[StationaryPoint, ...]:
            """Other known stationary points."""

    else:
        minimum = None
        minimizers = ()
        stationary_points = ()

    @abstractmethod
    def value(self, point: Point) -> Tensor:
        """f(point).

        Args:
            point: `dim` coordinates of one batch shape, or a tensor ``(dim, *batch)``.

        Returns:
            The values, of the batch shape.
        """

    @classmethod
    def name(cls) -> str:
        """The name in the config: ``SixHumpCamel`` is ``six_hump_camel``."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    def __post_init__(self) -> None:
        super().__post_init__()
        for fact in ("domain", "start"):
            if len(getattr(self, fact)) != self.dim:
                reason = f"must have an entry for each of the {self.dim} dimensions"
                raise Mistake(fact, getattr(self, fact), reason)


class Convex(Surface):
    """Every midpoint lies on or below its chord; every stationary point is a minimizer."""

    family = "convex"


class MultiMinima(Surface):
    """Several minima, or one at the end of a road that is not convex."""

    family = "multi_minima"


class Saddle(Surface):
    """Descent is slow, or ends, where nothing is a minimum."""

    family = "saddle"


class AnyDimension(Surface):
    """A surface of any dimension whose facts repeat from coordinate to coordinate."""

    side: ClassVar[tuple[float, float]]
    start_cycle: ClassVar[tuple[float, ...]]
    minimizer_each: ClassVar[float | None] = None

    dim: Dimension = 2

    @property
    def domain(self) -> Domain:
        return (self.side,) * self.dim

    @property
    def start(self) -> Coordinates:
        cycle = self.start_cycle
        return tuple(cycle[i % len(cycle)] for i in range(self.dim))

    @property
    def minimizers(self) -> tuple[Coordinates, ...]:
        return () if self.minimizer_each is None else ((self.minimizer_each,) * self.dim,)
