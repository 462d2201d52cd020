"""The figures of a comparison."""

from gradexp.figures.choosing import contenders, names_of, on_one_surface
from gradexp.figures.every import figures
from gradexp.figures.of_runs import (
    animate,
    bands_of,
    contact_sheet,
    starts,
    trajectories,
    unrecorded,
)
from gradexp.figures.of_tables import heat_map, learning_rates, profile

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
