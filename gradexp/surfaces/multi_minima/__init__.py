"""Nonconvex surfaces with several minima, or with one minimum in a curved valley."""
