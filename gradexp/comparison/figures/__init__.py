"""The figures of a comparison."""

from gradexp.comparison.figures.all_figures import figures
from gradexp.comparison.figures.run_figures import (
    animate,
    bands_of,
    contact_sheet,
    starts,
    trajectories,
    unrecorded,
)
from gradexp.comparison.figures.selection import contenders, names_of, on_one_surface
from gradexp.comparison.figures.table_figures import heat_map, learning_rates, profile

__all__ = [
    "animate",
    "bands_of",
    "contact_sheet",
    "contenders",
    "figures",
    "heat_map",
    "learning_rates",
    "names_of",
    "on_one_surface",
    "profile",
    "starts",
    "trajectories",
    "unrecorded",
]
