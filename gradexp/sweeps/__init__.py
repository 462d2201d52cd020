"""Sweeps: many jobs composed, computed and written at the price of one."""
