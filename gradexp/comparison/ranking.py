"""Criteria that rank settings by the hitting times of their runs; less is better."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from gradexp.comparison.hitting_times import (
    HittingTimes,
    expected_running_time,
    quantile_lower_bound,
    quantiles,
)
from gradexp.comparison.table import format_steps

PENALTY = 10
"""A run that does not arrive counts as one that takes this many times the budget."""

CRITERIA = {"par10": f"PAR{PENALTY}", "ert": "ERT", "median": "median"}
"""The criteria that settings can be ranked by, and their labels."""

DEFAULT_CRITERION = "par10"


@dataclass(frozen=True)
class Criterion:
    """A criterion that settings are ranked by.

    Args:
        name: a key of `CRITERIA`.
        unit: what is counted: ``steps`` or ``evaluations``.
        budget: the largest number of them that any run was given or made.
    """

    name: str
    unit: str
    budget: float

    @property
    def label(self) -> str:
        """The label of the criterion."""
        return CRITERIA[self.name]

    def par10(self, hits: HittingTimes) -> float:
        """Returns the penalized average runtime (PAR10).

        It is the mean hitting time, where a run that did not arrive counts `PENALTY` times the
        budget. The budget is the same for all runs, so that a run gains nothing by having fewer
        steps or by ending early. Source: Hutter et al., "ParamILS: an automatic algorithm
        configuration framework" (2009), where algorithms are configured by it.
        """
        return float(np.where(np.isfinite(hits.times), hits.times, PENALTY * self.budget).mean())

    def value(self, hits: HittingTimes) -> float:
        """Returns the ranking value of a setting with these runs."""
        match self.name:
            case "ert":
                return expected_running_time(hits)
            case "median":
                return quantiles(hits, (0.5,))[0]
            case _:
                return self.par10(hits)

    def sort_key(self, hits: HittingTimes) -> tuple[float, ...]:
        """Returns the sort key of a setting with these runs.

        It consists of the ranking value, and to break ties PAR10 and the median hitting time.
        """
        half = quantiles(hits, (0.5,))[0]
        return (self.value(hits), self.par10(hits), half)

    def plot_value(self, hits: HittingTimes) -> float:
        """Returns the ranking value to plot for these runs, infinite if none arrived."""
        return self.value(hits) if hits.arrived else math.inf

    def value_if_half_arrived(self, hits: HittingTimes) -> float:
        """Returns the ranking value, infinite if fewer than half of these runs arrived."""
        return self.value(hits) if 2 * hits.arrived >= len(hits.times) else math.inf

    def definition(self) -> str:
        """Returns a definition of the criterion for footers and captions."""
        match self.name:
            case "ert":
                return f"ERT: expected running time, all {self.unit} made ÷ runs that arrived"
            case "median":
                return f"median {self.unit} by Kaplan-Meier"
            case _:
                most = "was given" if self.unit == "steps" else "made"
                return (
                    f"PAR{PENALTY}: mean {self.unit}, where a run that does not arrive counts "
                    f"{PENALTY} × {self.budget:,.0f} ({self.budget:,.0f}: the most any run {most})"
                )

    def table_legend(self) -> str:
        """Returns definitions of the columns PAR10 and ERT, and of the † of `format_arrived`."""
        definitions = (replace(self, name=name).definition() for name in ("par10", "ert"))
        return f"{'; '.join(definitions)}; †: fewer than half arrive"


def format_arrived(arrived: int, count: int) -> str:
    """Returns how many of some runs arrived as a string, marked with † if fewer than half did."""
    return f"{arrived}/{count}" + ("\N{NO-BREAK SPACE}†" if 2 * arrived < count else "")


def format_quantile(hits: HittingTimes, value: float, share: float) -> str:
    """Returns the steps by which a share of runs has arrived as a string.

    If that number is not known since runs were cut off that may still have arrived, a lower bound
    is given.
    """
    if math.isfinite(value):
        return format_steps(value)
    bound = quantile_lower_bound(hits, share)
    return f"> {format_steps(bound)}" if math.isfinite(bound) else "∞"
