"""Figures of surfaces and runs."""

from gradexp.plots.style import png, save
from gradexp.plots.trajectory import draw_trajectory

__all__ = ["draw_trajectory", "png", "save"]
