"""Optimizers: rules that lead from a point and its gradient to the next point."""

from gradexp.optimizers.external import External
from gradexp.optimizers.optimizer import Optimizer
from gradexp.optimizers.sgd import SGD

__all__ = ["SGD", "External", "Optimizer"]
