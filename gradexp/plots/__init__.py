"""Figures of surfaces and runs."""

from gradexp.plots.style import FORMATS, png, save
from gradexp.plots.trajectory import draw_trajectory

__all__ = ["FORMATS", "draw_trajectory", "png", "save"]
