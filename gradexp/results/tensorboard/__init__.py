"""Event files, in which TensorBoard finds runs and sweeps."""

from gradexp.results.tensorboard.events import Curve, hyperparameters, write_events, write_summary

__all__ = ["Curve", "hyperparameters", "write_events", "write_summary"]
