"""What runs are compared by, in sweeps, searches and comparisons alike."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

COLUMN = "metrics."
"""What the columns of metrics begin with, in a table of runs."""

_GOALS = {"gap": "a loss gap", "gradient": "a gradient norm"}
"""What is reached."""

_UNITS = ("evaluations", "steps")
"""What is counted until then: the gradients that were evaluated, where runs know that, comes
first."""

HITTING_TIMES = tuple(f"{unit}_to_{goal}." for goal in _GOALS for unit in _UNITS)
"""How the names begin of metrics that say when something was reached."""


class Metric(NamedTuple):
    """A figure of a run by which it is compared with others; less is better."""

    name: str
    """as in ``run.json``, such as ``final_loss`` or ``steps_to_gap.1e-06``"""

    @property
    def column(self) -> str:
        """The column that has it, in a table of runs."""
        return COLUMN + self.name

    @property
    def is_arrival(self) -> bool:
        """Whether it is when something was reached, which not every run does."""
        return self.name.startswith(HITTING_TIMES)

    @property
    def unit(self) -> str:
        """What is counted until something is reached: steps, or evaluations of the gradient."""
        return self.name.partition("_to_")[0]

    @property
    def needs_minimum(self) -> bool:
        """Whether it is measured from the surface's minimum."""
        return "_to_gap." in self.name or self.name == "loss_gap"

    @property
    def label(self) -> str:
        """Its name for a person."""
        if self.is_arrival:
            goal, _, tolerance = self.name.partition("_to_")[2].partition(".")
            return f"{self.unit} to {_GOALS[goal]} of {float(tolerance):g}"
        return self.name.replace("_", " ")

    def comparable(self, values: Any, outcomes: Any) -> np.ndarray:
        """The figures of runs, infinite where a run is worse than all others: one that has no such
        figure, or none that is finite; and one that diverged, unless it is asked when something
        was reached.

        Args:
            values: ``(N,)``, numbers or None.
            outcomes: ``(N,)``, words.
        """
        figures = np.asarray(values, float)
        lost = ~np.isfinite(figures)
        if not self.is_arrival:
            lost |= np.asarray(outcomes, str) == "diverged"
        return np.where(lost, np.inf, figures)


def usual_metric(names: Collection[str], knows_minimum: bool) -> Metric:
    """What runs are compared by where nobody says what.

    The steps, or evaluations of the gradient, to the least tolerance that any of them reached: of
    the loss gap where a minimum is known, else of the gradient norm. Where none reached one, the
    loss gap, or the final loss.

    Args:
        names: the metrics that some run has.
        knows_minimum: whether the minimum of some run's surface is known.
    """
    goal = "gap" if knows_minimum else "gradient"
    for unit in _UNITS:
        start = f"{unit}_to_{goal}."
        reached = [name for name in names if name.startswith(start)]
        if reached:
            return Metric(min(reached, key=lambda name: float(name.removeprefix(start))))
    return Metric("loss_gap" if knows_minimum else "final_loss")


def by_name(figures: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, Any]]:
    """Figures of ``run.json`` by name, those by tolerance as ``steps_to_gap.1e-06``."""
    for key, value in figures.items():
        path = f"{name}.{key}" if name else key
        if isinstance(value, Mapping):
            yield from by_name(value, path)
        else:
            yield path, value
