"""Criteria that rank settings by the hitting times of their runs; less is better."""

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
"""A run that does not arrive counts as one that takes this many times the budget."""

RANKS = {"par10": f"PAR{PENALTY}", "ert": "ERT", "median": "median"}
"""The criteria that settings can be ranked by, and their labels."""

USUAL = "par10"
"""The default criterion."""


@dataclass(frozen=True)
class Rank:
    """A criterion that settings are ranked by.

    Args:
        name: a key of `RANKS`.
        unit: what is counted: ``steps`` or ``evaluations``.
        budget: the largest number of them that any run was given or made.
    """

    name: str
    unit: str
    budget: float

    @property
    def label(self) -> str:
        """The label of the criterion."""
        return RANKS[self.name]

    def par10(self, some: HittingTimes) -> float:
        """Returns the penalized average runtime (PAR10).

        It is the mean hitting time, where a run that did not arrive counts `PENALTY` times the
        budget. The budget is the same for all runs, so that a run gains nothing by having fewer
        steps or by ending early. Source: Hutter et al., "ParamILS: an automatic algorithm
        configuration framework" (2009), where algorithms are configured by it.
        """
        return float(np.where(np.isfinite(some.at), some.at, PENALTY * self.budget).mean())

    def of(self, some: HittingTimes) -> float:
        """Returns the ranking value of a setting with these runs."""
        match self.name:
            case "ert":
                return expected_running_time(some)
            case "median":
                return quantiles(some, (0.5,))[0]
            case _:
                return self.par10(some)

    def key(self, some: HittingTimes) -> tuple[float, ...]:
        """Returns the sort key of a setting with these runs.

        It consists of the ranking value, and to break ties PAR10 and the median hitting time.
        """
        half = quantiles(some, (0.5,))[0]
        return (self.of(some), self.par10(some), half)

    def drawn(self, some: HittingTimes) -> float:
        """Returns the ranking value to plot for these runs, infinite if none arrived."""
        return self.of(some) if some.arrived else math.inf

    def usable(self, some: HittingTimes) -> float:
        """Returns the ranking value, infinite if fewer than half of these runs arrived."""
        return self.of(some) if 2 * some.arrived >= len(some.at) else math.inf

    def explained(self) -> str:
        """Returns a definition of the criterion for footers and captions."""
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
        """Returns definitions of the columns PAR10 and ERT, and of the mark that `arrived` adds."""
        both = (replace(self, name=name).explained() for name in ("par10", "ert"))
        return f"{'; '.join(both)}; †: fewer than half arrive"


def arrived(some: int, count: int) -> str:
    """Returns how many of some runs arrived as a string, marked with † if fewer than half did."""
    return f"{some}/{count}" + ("\N{NO-BREAK SPACE}†" if 2 * some < count else "")


def told_quantile(some: HittingTimes, value: float, share: float) -> str:
    """Returns the steps by which a share of runs has arrived as a string.

    If that number is not known since runs were cut off that may still have arrived, a lower bound
    is given.
    """
    if math.isfinite(value):
        return steps(value)
    least = least_quantile(some, share)
    return f"> {steps(least)}" if math.isfinite(least) else "∞"
