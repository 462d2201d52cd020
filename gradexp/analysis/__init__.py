"""Analyzes runs: how they ended, the metrics that summarize them, and what theory predicts."""

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
