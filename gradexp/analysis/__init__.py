"""What runs mean: how they ended, and the figures that sum them up."""

from gradexp.analysis.outcome import Outcome, judge
from gradexp.analysis.run_metrics import distance_to_minimizer, metrics
from gradexp.analysis.theory import PREDICTIONS, predictions

__all__ = [
    "PREDICTIONS",
    "Outcome",
    "distance_to_minimizer",
    "judge",
    "metrics",
    "predictions",
]
