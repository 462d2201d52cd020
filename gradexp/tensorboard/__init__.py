"""What TensorBoard shows of a run."""

from gradexp.tensorboard.events import hyperparameters, write_events

__all__ = ["hyperparameters", "write_events"]
