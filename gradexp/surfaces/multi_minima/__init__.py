"""Surfaces with several minima, or with one at the end of a road that is not convex."""
