"""The figures of a comparison."""

from gradexp.comparison.figures.choosing import contenders, names_of, on_one_surface
from gradexp.comparison.figures.every import figures
from gradexp.comparison.figures.of_runs import (
    animate,
    bands_of,
    contact_sheet,
    starts,
    trajectories,
    unrecorded,
)
from gradexp.comparison.figures.of_tables import heat_map, learning_rates, profile

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
