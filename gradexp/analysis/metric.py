"""What runs are compared by, in sweeps, searches and comparisons alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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

_NEITHER = ("displacement", "rate_from", "rate_r2", "best_step")
"""Metrics of which neither more nor less is better."""


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
    def ranks(self) -> bool:
        """Whether less of it is better; of the others neither more nor less is."""
        return self.name not in _NEITHER

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


def usual_metric(reached: Mapping[str, Any], knows_minimum: bool, groups: Any = None) -> Metric:
    """What runs are compared by where nobody says what.

    The steps, or evaluations of the gradient, to a tolerance: of the loss gap where a minimum is
    known, else of the gradient norm. It is the least tolerance that was reached by half of those
    runs that reached the largest one, on each surface where some did: what a few reach by chance
    tells nothing of the others. Where none reached one, the loss gap, or the final loss.

    Args:
        reached: what each run has of each metric, ``(N,)`` by name; NaN or None where it has none.
        knows_minimum: whether the minimum of some run's surface is known.
        groups: ``(N,)``: the surface of each run; all have one if None.
    """
    goal = "gap" if knows_minimum else "gradient"
    for unit in _UNITS:
        start = f"{unit}_to_{goal}."
        names = [name for name in reached if name.startswith(start)]
        names.sort(key=lambda name: float(name.removeprefix(start)))
        there = [np.isfinite(np.asarray(reached[name], float)) for name in names]
        if not there or not there[-1].any():
            continue
        groups = np.zeros(len(there[-1])) if groups is None else groups
        places = [groups == place for place in set(groups[there[-1]].tolist())]
        for name, some in zip(names, there, strict=True):
            if all(2 * some[place].sum() >= there[-1][place].sum() for place in places):
                return Metric(name)
    return Metric("loss_gap" if knows_minimum else "final_loss")


def named(name: str, known: Iterable[str]) -> str | None:
    """The metric that a person calls so, however its tolerance is written; None where there is
    none."""
    name = name.removeprefix(COLUMN)
    return next((one for one in known if name == one or _same_tolerance(name, one)), None)


def _same_tolerance(name: str, other: str) -> bool:
    """Whether two names are the same but for how a tolerance is written."""
    (one, _, tolerance), (two, _, its) = name.partition("."), other.partition(".")
    try:
        return one == two and float(tolerance) == float(its)
    except ValueError:
        return False


def by_name(figures: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, Any]]:
    """Figures of ``run.json`` by name, those by tolerance as ``steps_to_gap.1e-06``."""
    for key, value in figures.items():
        path = f"{name}.{key}" if name else key
        if isinstance(value, Mapping):
            yield from by_name(value, path)
        else:
            yield path, value
