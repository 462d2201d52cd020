"""All tables of a comparison."""

from __future__ import annotations

from gradexp.comparison.effects import effects_by_surface_table, effects_table
from gradexp.comparison.lr_sensitivity import lr_bands_table
from gradexp.comparison.optimizers import optimizers_table
from gradexp.comparison.pairs import differences_table
from gradexp.comparison.predictions import edges_table, escapes_table, rates_table
from gradexp.comparison.profiles import by_surface_table, profiles_table, targets_table
from gradexp.comparison.sample import Sample
from gradexp.comparison.setting_tables import outcomes_table, speed_table
from gradexp.comparison.table import Table


def make_tables(sample: Sample) -> list[Table]:
    """Returns the tables that apply to a sample."""
    found = [
        outcomes_table(sample),
        speed_table(sample),
        optimizers_table(sample),
        differences_table(sample),
        effects_table(sample),
        effects_by_surface_table(sample),
        lr_bands_table(sample),
        profiles_table(sample),
        targets_table(sample),
        by_surface_table(sample),
        rates_table(sample),
        edges_table(sample),
        escapes_table(sample),
    ]
    return [table for table in found if table is not None]
