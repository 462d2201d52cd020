"""All figures of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from matplotlib.figure import Figure

from gradexp.comparison import Sample
from gradexp.comparison.figures.run_figures import curves, relief, starts, trajectories
from gradexp.comparison.figures.selection import contenders, on_one_surface
from gradexp.comparison.figures.table_figures import heat_map, learning_rates, profile


def figures(sample: Sample) -> Iterator[tuple[str, Figure]]:
    """Yields the figures that apply to a sample, each with its name."""
    one = on_one_surface(sample)
    ordered = contenders(one)
    makers: tuple[tuple[str, Callable[[], Figure | None]], ...] = (
        ("heat_map", lambda: heat_map(one)),
        ("curves", lambda: curves(one, ordered)),
        ("trajectories", lambda: trajectories(one, ordered)),
        ("relief", lambda: relief(one)),
        ("starts", lambda: starts(one)),
        ("profiles", lambda: profile(sample)),
        ("learning_rates", lambda: learning_rates(sample)),
    )
    for name, make in makers:
        figure = make()
        if figure is not None:
            yield name, figure
