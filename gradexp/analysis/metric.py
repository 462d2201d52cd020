"""What a metric is: how it is named, which runs it ranks first, and which metric is the default.

Sweeps, searches and comparisons use it; `gradexp.analysis.run_metrics` computes the metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

COLUMN_PREFIX = "metrics."
"""The beginning of the names of the columns of metrics in a table of runs."""

_GOALS = {"gap": "a loss gap", "gradient": "a gradient norm"}
"""The quantities that have a tolerance, with their descriptions."""

_UNITS = ("evaluations", "steps")
"""The units of hitting times. Gradient evaluations, which not all runs count, are preferred."""

HITTING_TIME_PREFIXES = tuple(f"{unit}_to_{goal}." for goal in _GOALS for unit in _UNITS)
"""The beginnings of the names of metrics that are hitting times."""

_UNORDERED = ("displacement", "rate_from", "rate_r2", "best_step")
"""Metrics of which neither smaller nor larger values are better."""


class Metric(NamedTuple):
    """A number that runs are compared by; smaller values are better."""

    name: str
    """as in ``run.json``, such as ``final_loss`` or ``steps_to_gap.1e-06``"""

    @property
    def column(self) -> str:
        """The name of its column in a table of runs."""
        return COLUMN_PREFIX + self.name

    @property
    def is_hitting_time(self) -> bool:
        """Whether it is the time until a run reaches a tolerance, which not every run does."""
        return self.name.startswith(HITTING_TIME_PREFIXES)

    @property
    def unit(self) -> str:
        """The unit of a hitting time: ``steps`` or ``evaluations`` (of the gradient)."""
        return self.name.partition("_to_")[0]

    @property
    def needs_minimum(self) -> bool:
        """Whether it is defined only if the minimum of the surface is known."""
        return "_to_gap." in self.name or self.name == "loss_gap"

    @property
    def smaller_is_better(self) -> bool:
        """Whether smaller values are better; if not, neither smaller nor larger ones are."""
        return self.name not in _UNORDERED

    @property
    def label(self) -> str:
        """The name to show to users."""
        if self.is_hitting_time:
            goal, _, tolerance = self.name.partition("_to_")[2].partition(".")
            return f"{self.unit} to {_GOALS[goal]} of {float(tolerance):g}"
        return self.name.replace("_", " ")

    def comparable_values(self, values: Any, outcomes: Any) -> np.ndarray:
        """Returns values of runs that can be compared: infinity if a run is worse than all others.

        That is the case if it has no value or one that is not finite, or if it diverged; a run that
        diverged keeps its hitting time.

        Args:
            values: ``(N,)``, numbers or None.
            outcomes: ``(N,)``, words.
        """
        numbers = np.asarray(values, float)
        worst = ~np.isfinite(numbers)
        if not self.is_hitting_time:
            worst |= np.asarray(outcomes, str) == "diverged"
        return np.where(worst, np.inf, numbers)


def default_metric(reached: Mapping[str, Any], knows_minimum: bool, groups: Any = None) -> Metric:
    """Returns the metric that runs are compared by unless another one is chosen.

    It is the number of gradient evaluations, or of steps, until a tolerance is reached: of the loss
    gap if a minimum is known, else of the gradient norm. The tolerance is the smallest one that, on
    each surface, was reached by at least half of the runs that reached the largest one: what a few
    runs reach by chance says nothing about the others. If no run reached any, it is the loss gap,
    or the final loss.

    Args:
        reached: the values of the runs, ``(N,)``, by the name of the metric; NaN or None for a run
            that has none.
        knows_minimum: whether the minimum of some run's surface is known.
        groups: ``(N,)``, the surface of each run; if None, all have the same.
    """
    goal = "gap" if knows_minimum else "gradient"
    for unit in _UNITS:
        start = f"{unit}_to_{goal}."
        names = [name for name in reached if name.startswith(start)]
        names.sort(key=lambda name: float(name.removeprefix(start)))
        hits = [np.isfinite(np.asarray(reached[name], float)) for name in names]
        if not hits or not hits[-1].any():
            continue
        groups = np.zeros(len(hits[-1])) if groups is None else groups
        surfaces = [groups == surface for surface in set(groups[hits[-1]].tolist())]
        for name, hit in zip(names, hits, strict=True):
            if all(2 * hit[rows].sum() >= hits[-1][rows].sum() for rows in surfaces):
                return Metric(name)
    return Metric("loss_gap" if knows_minimum else "final_loss")


def find_metric(name: str, known: Iterable[str]) -> str | None:
    """Returns the known name of a metric, or None if there is none.

    A tolerance may be written in another way (``1e-6``), and the prefix ``metrics.`` is optional.
    """
    name = name.removeprefix(COLUMN_PREFIX)
    return next((one for one in known if name == one or _same_tolerance(name, one)), None)


def _same_tolerance(name: str, other: str) -> bool:
    """Returns whether two names differ only in how a tolerance is written."""
    (stem, _, tolerance), (other_stem, _, other_tolerance) = (
        name.partition("."),
        other.partition("."),
    )
    try:
        return stem == other_stem and float(tolerance) == float(other_tolerance)
    except ValueError:
        return False


def flatten(values: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the values of nested mappings with their dotted names.

    For example, ``{"steps_to_gap": {"1e-06": 3}}`` gives ``("steps_to_gap.1e-06", 3)``.
    """
    for key, value in values.items():
        path = f"{name}.{key}" if name else key
        if isinstance(value, Mapping):
            yield from flatten(value, path)
        else:
            yield path, value
