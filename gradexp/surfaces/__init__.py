"""Surfaces: the functions that are minimized."""

from gradexp.surfaces.catalogue import get, names
from gradexp.surfaces.derivatives import hessian, value_and_gradient
from gradexp.surfaces.own import from_function
from gradexp.surfaces.surface import AnyDimension, StationaryPoint, Surface

__all__ = [
    "AnyDimension",
    "StationaryPoint",
    "Surface",
    "from_function",
    "get",
    "hessian",
    "names",
    "value_and_gradient",
]
