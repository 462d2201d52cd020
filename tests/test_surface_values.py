"""Surfaces' values against code that others wrote, and against the literature."""

import math
import warnings
from typing import Any

import pytest
import torch

from gradexp.surfaces import get
from gradexp.surfaces.catalogue import SURFACES
from tests.test_surfaces import at, in_domain

# BoTorch's synthetic functions, written by others from the same sources.
BOTORCH: dict[str, str] = {
    "ackley": "Ackley",
    "beale": "Beale",
    "branin": "Branin",
    "drop_wave": "DropWave",
    "eggholder": "EggHolder",
    "griewank": "Griewank",
    "holder_table": "HolderTable",
    "levy": "Levy",
    "michalewicz": "Michalewicz",
    "rastrigin": "Rastrigin",
    "rosenbrock": "Rosenbrock",
    "six_hump_camel": "SixHumpCamel",
    "styblinski_tang": "StyblinskiTang",
    "three_hump_camel": "ThreeHumpCamel",
}


def fields_of(name: str) -> list[dict[str, int]]:
    """The settings of a surface that are compared."""
    return [{"dim": 2}, {"dim": 5}] if "dim" in SURFACES[name].__dataclass_fields__ else [{}]


@pytest.mark.parametrize(
    ("name", "fields"), [(name, fields) for name in BOTORCH for fields in fields_of(name)]
)
def test_values_are_those_of_botorch(name: str, fields: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of at import is not ours
        from botorch.test_functions import synthetic
    surface = get(name, **fields)
    oracle = getattr(synthetic, BOTORCH[name])(**fields, dtype=torch.float64)
    points = in_domain(surface, 500)
    low, high = oracle.bounds.double()
    points = points.clamp(low[:, None], high[:, None])
    theirs = oracle.evaluate_true(points.T.contiguous())
    # BoTorch keeps some constants, such as π, in single precision
    torch.testing.assert_close(surface.value(points), theirs, rtol=1e-6, atol=1e-6)
    assert surface.minimum is None or float(surface.minimum) == pytest.approx(
        oracle.optimal_value, rel=1e-4, abs=1e-6
    )


# Values from the literature for what BoTorch lacks: name, point, value.
PUBLISHED = [
    ("sphere", (1.0, 2.0), 5.0),
    ("booth", (0.0, 0.0), 74.0),
    ("matyas", (1.0, 1.0), 0.04),
    ("zakharov", (1.0, 1.0), 2 + 1.5**2 + 1.5**4),
    ("sum_of_powers", (0.5, -0.5), 0.375),
    ("goldstein_price", (-0.6, -0.4), 30.0),
    ("goldstein_price", (1.8, 0.2), 84.0),
    ("goldstein_price", (1.2, 0.8), 840.0),
    ("freudenstein_roth", (0.5, -2.0), 400.5),
    ("freudenstein_roth", (11.412779, -0.896805), 48.98425),
    ("muller_brown", (0.623, 0.028), -108.167),
    ("muller_brown", (-0.050, 0.467), -80.768),
    ("muller_brown", (-0.822, 0.624), -40.665),
    ("himmelblau", (-0.270845, -0.923039), 181.617),
    ("schwefel", (0.0, 0.0), 2 * 418.9829),
    ("bohachevsky", (1.0, 0.0), 1 + 0.3 + 0.7 - 0.4),
    ("shubert", (-7.0835, 4.8580), -186.7309),
    ("cross_in_tray", (1.34941, -1.34941), -2.06261),
    ("easom", (math.pi, math.pi), -1.0),
    ("michalewicz", (2.2029, 1.5708), -1.8013),
    ("strict", (0.0, 1.0), -0.25),
    ("monkey", (1.0, 1.0), -2.0),
]


@pytest.mark.parametrize(("name", "point", "value"), PUBLISHED)
def test_values_are_those_published(name: str, point: tuple[float, ...], value: float) -> None:
    assert float(get(name).value(at(point))) == pytest.approx(value, rel=2e-5, abs=2e-5)
