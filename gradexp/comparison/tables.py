"""All tables of a comparison."""

from __future__ import annotations

from gradexp.comparison.effects import explained, explained_by_surface
from gradexp.comparison.lr_sensitivity import bands
from gradexp.comparison.optimizers import optimizers
from gradexp.comparison.pairs import differences
from gradexp.comparison.predictions import edges, escapes, rates
from gradexp.comparison.profiles import by_surface, profiles, targets
from gradexp.comparison.sample import Sample
from gradexp.comparison.settings import outcomes, speed
from gradexp.comparison.table import Table


def compare(sample: Sample) -> list[Table]:
    """Returns the tables that apply to a sample."""
    found = [
        outcomes(sample),
        speed(sample),
        optimizers(sample),
        differences(sample),
        explained(sample),
        explained_by_surface(sample),
        bands(sample),
        profiles(sample),
        targets(sample),
        by_surface(sample),
        rates(sample),
        edges(sample),
        escapes(sample),
    ]
    return [table for table in found if table is not None]
