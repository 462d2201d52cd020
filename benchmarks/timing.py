"""How the engine's benchmark measures times, and formats them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

REST = {"cpu": 0.7, "cuda": 0.0}
"""seconds between two calls: JAX frees its memory in the background, 0.1 s for a gigabyte, which
must not count for the next side; the first 0.5 s after that are slower by half"""


def measured(
    sides: dict[str, Callable[[], Any]], rounds: int, units: int, rest: float
) -> dict[str, list[float]]:
    """Measures the sides in turn, after two unmeasured calls of each.

    A side whose call takes less than 0.1 s is called several times in each round.

    Args:
        sides: by name, a call each.
        rounds: how often each side is measured.
        units: by what the time of a call is divided.
        rest: seconds between two measurements.

    Returns:
        Nanoseconds per unit of each side, in each round.
    """
    calls = {}
    for name, run in sides.items():
        result = run()
        begun = time.perf_counter()
        result = run()  # while the first result still exists, as in the measured calls
        calls[name] = max(1, int(0.1 / (time.perf_counter() - begun)))
        del result
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            begun = time.perf_counter()
            for _ in range(calls[name]):
                result = run()
            spent[name].append((time.perf_counter() - begun) / units / calls[name] * 1e9)
            del result
            time.sleep(rest)
    return spent


def shown(values: list[float]) -> str:
    middle = statistics.median(values)
    digits = 0 if middle >= 1000 else 1 if middle >= 100 else 2 if middle >= 0.1 else 4
    return f"{middle:,.{digits}f} [{min(values):,.{digits}f}-{max(values):,.{digits}f}]"


def times(values: list[float], plain: list[float]) -> str:
    """Formats the times of one side, with their ratios to those of another in the same rounds."""
    ratios = [value / other for value, other in zip(values, plain, strict=True)]
    return f"{shown(values)}, ×{shown(ratios)}"
