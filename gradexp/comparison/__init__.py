"""Tables that compare the runs of sweeps."""

from gradexp.comparison.gathering import gather
from gradexp.comparison.sample import Sample
from gradexp.comparison.table import Table
from gradexp.comparison.tables import compare

__all__ = ["Sample", "Table", "compare", "gather"]
