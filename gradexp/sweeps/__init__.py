"""Runs sweeps: composes their jobs, computes them in batches, and writes their results."""
