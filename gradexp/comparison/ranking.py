"""How settings are ranked by when their runs arrived: less is better."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from gradexp.comparison.hitting_times import (
    HittingTimes,
    expected_running_time,
    least_quantile,
    quantiles,
)
from gradexp.comparison.table import steps

PENALTY = 10
"""A run that does not arrive counts as one that takes so many times the budget."""

RANKS = {"par10": f"PAR{PENALTY}", "ert": "ERT", "median": "median"}
"""What settings can be ranked by, and what it is called."""

USUAL = "par10"
"""What they are ranked by where nobody says what."""


@dataclass(frozen=True)
class Rank:
    """What settings are ranked by.

    Args:
        name: of `RANKS`.
        unit: what is counted, steps or evaluations.
        budget: the most of them that any run was given.
    """

    name: str
    unit: str
    budget: float

    @property
    def label(self) -> str:
        """What it is called."""
        return RANKS[self.name]

    def par10(self, some: HittingTimes) -> float:
        """The mean of the steps until runs arrived, `PENALTY` times the budget of those that did
        not: the penalized average runtime, by which algorithms are configured (Hutter et al.,
        "ParamILS: an automatic algorithm configuration framework", 2009). One budget for all: a
        run that was given fewer steps, or ended early, is not better for it."""
        return float(np.where(np.isfinite(some.at), some.at, PENALTY * self.budget).mean())

    def of(self, some: HittingTimes) -> float:
        """What a setting with these runs is ranked by."""
        match self.name:
            case "ert":
                return expected_running_time(some)
            case "median":
                return quantiles(some, (0.5,))[0]
            case _:
                return self.par10(some)

    def key(self, some: HittingTimes) -> tuple[float, ...]:
        """What a setting with these runs is sorted by: `of`, of equal ones PAR10, and then how soon
        half of them arrived."""
        half = quantiles(some, (0.5,))[0]
        return (self.of(some), self.par10(some), half)

    def drawn(self, some: HittingTimes) -> float:
        """What a setting with these runs is drawn at: `of`, infinite where none arrived."""
        return self.of(some) if some.arrived else math.inf

    def usable(self, some: HittingTimes) -> float:
        """The same, infinite where fewer than half arrived."""
        return self.of(some) if 2 * some.arrived >= len(some.at) else math.inf

    def explained(self) -> str:
        """What settings are ranked by, in a sentence."""
        match self.name:
            case "ert":
                return f"ERT: the expected running time, all {self.unit} made ÷ runs that arrived"
            case "median":
                return f"median {self.unit} by Kaplan-Meier"
            case _:
                most = "was given" if self.unit == "steps" else "made"
                return (
                    f"PAR{PENALTY}: mean {self.unit}, a run that does not arrive counting "
                    f"{PENALTY} × {self.budget:,.0f}, the most that any {most}"
                )

    def told(self) -> str:
        """What the columns PAR10 and ERT are, and the mark beside how many arrived."""
        both = (replace(self, name=name).explained() for name in ("par10", "ert"))
        return f"{'; '.join(both)}; †: fewer than half arrive"


def arrived(some: int, count: int) -> str:
    """How many of some runs arrived, with a mark where these are fewer than half."""
    return f"{some}/{count}" + ("\N{NO-BREAK SPACE}†" if 2 * some < count else "")


def told_quantile(some: HittingTimes, value: float, share: float) -> str:
    """The steps by which a share of runs has arrived; or what they are more than, where runs that
    were cut off may still arrive."""
    if math.isfinite(value):
        return steps(value)
    least = least_quantile(some, share)
    return f"> {steps(least)}" if math.isfinite(least) else "∞"
