"""Figures of surfaces and runs."""

from gradexp.plots.trajectory import draw_trajectory, png

__all__ = ["draw_trajectory", "png"]
