"""The median and the quartiles of a sample, wherever gradexp states them."""

from __future__ import annotations

import math

import numpy as np

SHARES = (0.25, 0.5, 0.75)


def quartiles(values: np.ndarray) -> np.ndarray:
    """The first quartile, the median and the third of samples of numbers.

    A quantile is the least value that a share of the sample does not exceed; where exactly that
    share does not exceed it, the mean of it and the next one, as the usual median of an even number
    is (definition 2 of Hyndman and Fan, "Sample quantiles in statistical packages", 1996).

    Args:
        values: ``(N, ...)``, samples along the first axis, N at least 1; they may be infinite, and
            none is NaN.

    Returns:
        ``(3, ...)``; NaN halfway between two infinite ones of different sign.
    """
    ordered = np.sort(np.asarray(values, float), axis=0)
    count, found = len(ordered), []
    for share in SHARES:
        place = count * share
        low, high = ordered[math.ceil(place) - 1], ordered[min(math.floor(place), count - 1)]
        with np.errstate(invalid="ignore"):
            found.append(np.where(low == high, low, (low + high) / 2))
    return np.stack(found)


def median(values: np.ndarray) -> float:
    """The median of those of some numbers that are known.

    Args:
        values: ``(N,)``; NaN is unknown, and they may be infinite.

    Returns:
        NaN where none is known.
    """
    known = values[~np.isnan(values)]
    return float(quartiles(known)[1]) if len(known) else math.nan
