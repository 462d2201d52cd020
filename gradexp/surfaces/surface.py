"""The contract of a surface: a formula and the known facts about it."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from torch import Tensor

from gradexp.errors import UserError
from gradexp.numbers import Component, Dimension, Number, Points

Family: TypeAlias = Literal["convex", "multi_minima", "saddle", "network"]
Coordinates: TypeAlias = tuple[Number, ...]
Domain: TypeAlias = tuple[tuple[float, float], ...]
Kind: TypeAlias = Literal["minimum", "saddle", "maximum"]


@dataclass(frozen=True)
class StationaryPoint:
    """A point with zero gradient.

    A surface lists its global minimizers apart, so ``"minimum"`` here means a local one.
    """

    point: Coordinates
    kind: Kind
    descent: tuple[float, ...] | None = None
    """a descent direction, for a saddle whose Hessian has no negative eigenvalue"""


class Surface(Component):
    """A function R^dim → R that is minimized, and the known facts about it.

    A surface is a frozen dataclass that subclasses this one and defines `value`. Its numbers are
    fields annotated `gradexp.numbers.Number`; its facts are class attributes, properties or fields:

    - `family`: ``"convex"``, ``"multi_minima"``, ``"saddle"`` or ``"network"``.
    - `dim`: the number of coordinates.
    - `domain`: a ``(low, high)`` pair per coordinate: the region that is plotted and from which
      uniform starts are drawn. Runs may leave it.
    - `start`: the conventional starting point.
    - `minimum`: the global minimum; None, the default, if there is none or it is unknown.
    - `minimizers`: all known points where the minimum is attained; none by default.
    - `stationary_points`: other known stationary points, each a `StationaryPoint`; none by default.
    - `complete`: whether these and the minimizers are all of the stationary points in the domain;
      False by default.

    These facts hold for the whole space. Where the function is unbounded below, or attains its
    minimum at infinitely many points, `minimum` and `minimizers` are those of the domain.
    """

    family: ClassVar[Family]

    if TYPE_CHECKING:  # read-only facts; at run time a subclass may state them in any form

        @property
        def dim(self) -> int: ...

        @property
        def domain(self) -> Domain: ...

        @property
        def start(self) -> Coordinates: ...

        @property
        def minimum(self) -> Number | None: ...

        @property
        def minimizers(self) -> tuple[Coordinates, ...]: ...

        @property
        def stationary_points(self) -> tuple[StationaryPoint, ...]: ...

        @property
        def complete(self) -> bool: ...

    else:
        minimum = None
        minimizers = ()
        stationary_points = ()
        complete = False

    @abstractmethod
    def value(self, point: Points) -> Tensor:
        """Returns f(point).

        Args:
            point: `dim` coordinates of one batch shape, or a tensor ``(dim, *batch)``.

        Returns:
            The values, of the batch shape.
        """

    def __post_init__(self) -> None:
        super().__post_init__()
        for fact in ("family", "dim", "domain", "start"):
            if not hasattr(self, fact):
                raise UserError(fact, "", f"{type(self).__name__} must state its {fact}")
        check_domain(self.domain)
        for fact in ("domain", "start"):
            if len(getattr(self, fact)) != self.dim:
                reason = f"must have an entry for each of the {self.dim} dimensions"
                raise UserError(fact, getattr(self, fact), reason)


def check_domain(domain: Any) -> None:
    """Checks that a domain is a list of pairs ``(low, high)`` of finite numbers with low < high.

    Raises:
        UserError: it is not, or the diameter of the domain is not finite.
    """
    pairs = domain if isinstance(domain, list | tuple) else [domain]
    for pair in {id(pair): pair for pair in pairs}.values():  # a repeated pair is checked once
        fits = isinstance(pair, list | tuple) and len(pair) == 2
        if not fits or not all(isinstance(end, int | float) for end in pair):
            raise UserError(
                "domain", domain, "must be a list of pairs [low, high], one a dimension"
            )
        if not -math.inf < pair[0] < pair[1] < math.inf:
            raise UserError("domain", domain, "each low must be below its high, both finite")
    if not math.isfinite(math.hypot(*(high - low for low, high in pairs))):
        raise UserError("domain", domain, "must be of a finite diameter")


class Convex(Surface):
    """Base of convex surfaces, whose stationary points are all minimizers."""

    family = "convex"
    complete = True


class MultiMinima(Surface):
    """Base of nonconvex surfaces with several minima, or with one minimum in a curved valley."""

    family = "multi_minima"


class Saddle(Surface):
    """Base of surfaces on which descent slows down or stops at points that are not minima."""

    family = "saddle"


class AnyDimension(Surface):
    """Base of surfaces of any dimension whose facts repeat from coordinate to coordinate."""

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
