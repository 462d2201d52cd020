"""The floors of the engine's benchmark, against a count by hand."""

import pytest

from benchmarks.floors import arithmetic
from benchmarks.work import Work


@pytest.mark.parametrize(
    ("momentum", "count"),
    [
        # x², their sum, 2x, and x - lr g, which is one multiply-add, of two coordinates
        (0.0, 2 + 1 + 2 + 2),
        # besides β m + 2x, of whose products one goes into the sum
        (0.9, 2 + 1 + 2 + 2 + 2),
    ],
)
def test_multiply_adds_of_a_step_on_the_sphere(momentum: float, count: float) -> None:
    assert arithmetic(Work("sphere", 2, momentum, "float64", "loss", 100, 0)) == count
