"""Tables that compare the runs of sweeps."""

from gradexp.comparison.all_tables import make_tables
from gradexp.comparison.gathering import gather
from gradexp.comparison.sample import Sample
from gradexp.comparison.table import Table

__all__ = ["Sample", "Table", "gather", "make_tables"]
