"""Figures of one run."""

from typing import Any

import numpy as np
import pytest
from torch import Tensor

from gradexp.plots import draw_trajectory
from gradexp.surfaces import get
from gradexp.surfaces.convex import Sphere


@pytest.mark.parametrize("dim", [2, 20, 100_000])
def test_a_slice_takes_little_memory_in_any_dimension(
    dim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    value = Sphere.value

    def counted(self: Sphere, point: Any) -> Tensor:
        sizes.append(point.numel())
        return value(self, point)

    monkeypatch.setattr(Sphere, "value", counted)
    ways = np.linspace(3.0, 0.0, 5)
    path = np.repeat(ways[:, None], dim, axis=1)
    trace = {"step": np.arange(5), "loss": ways, "gradient_norm": ways, "point": path}
    figure = draw_trajectory(get("sphere", dim=dim), trace, "a run")
    assert len(figure.axes) == 2
    assert max(sizes) <= 2**23
    assert sum(sizes) >= dim * 16**2
