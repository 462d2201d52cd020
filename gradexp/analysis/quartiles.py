"""The median and the quartiles of a sample, as used throughout gradexp."""

from __future__ import annotations

import math

import numpy as np

SHARES = (0.25, 0.5, 0.75)


def quartiles(values: np.ndarray) -> np.ndarray:
    """Returns the first quartile, the median and the third quartile of samples.

    The p-quantile is the smallest value such that at least a fraction p of the sample does not
    exceed it. If that fraction is exactly p, it is the mean of this value and the next larger one,
    like the usual median of an even number of values (definition 2 of Hyndman and Fan, "Sample
    quantiles in statistical packages", 1996).

    Args:
        values: ``(N, ...)``, samples along the first axis, with N at least 1. Values may be
            infinite but not NaN.

    Returns:
        ``(3, ...)``. The mean of two infinite values of different sign is NaN.
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
    """Returns the median of the values that are not NaN; NaN if there are none.

    Args:
        values: ``(N,)``. Values may be infinite.
    """
    known = values[~np.isnan(values)]
    return float(quartiles(known)[1]) if len(known) else math.nan
