"""Axes that Hydra's grammar does not have: spaced numbers, and axes that move together.

Functions of Hydra's override grammar, beside its own ``choice``, ``range`` and ``glob``. Hydra
checks arguments against the annotations, so that these must be objects here.
"""

import math
from collections.abc import Sequence
from copy import copy
from typing import Any, Union

import numpy as np
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep

from gradexp.config.internals import extend_grammar
from gradexp.errors import UserError

MOST_JOBS = 100_000
"""Of a sweep: each has a folder, and takes some milliseconds to compose before the first runs."""

Real = Union[int, float]  # noqa: UP007 - Hydra's check knows no other unions
Value = Union[str, int, float, bool, dict[Any, Any], list[Any], ChoiceSweep, RangeSweep]  # noqa: UP007


def linspace(start: Real, stop: Real, num: int = 50) -> ChoiceSweep:
    """``num`` evenly spaced numbers from `start` to `stop`, as NumPy's.

    >>> linspace(0, 1, 5).list
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    return _spaced(np.linspace, start, stop, num)


def logspace(start: Real, stop: Real, num: int = 50) -> ChoiceSweep:
    """``num`` numbers from 10^start to 10^stop, each the same factor from the next, as NumPy's.

    >>> logspace(-4, 0, 5).list
    [0.0001, 0.001, 0.01, 0.1, 1.0]
    """
    return _spaced(np.logspace, start, stop, num)


def _spaced(space: Any, start: Real, stop: Real, num: int) -> ChoiceSweep:
    if not 1 <= num <= MOST_JOBS:
        raise ValueError(f"there must be at least 1 number and at most {MOST_JOBS:,}, not {num}")
    return ChoiceSweep(list=[float(value) for value in space(start, stop, num)])


def check_axes(overrides: Sequence[Override], crossed: bool) -> None:
    """Checks that no axis has more values than a sweep can have jobs, before it is listed.

    Args:
        overrides: parsed.
        crossed: whether every combination of the axes is a job.

    Raises:
        UserError: an axis, or all of them together, are too long.
    """
    lengths: dict[str, int] = {}
    for override in overrides:
        axis, key = override.value(), override.get_key_element()
        if not isinstance(axis, RangeSweep | ChoiceSweep):
            continue
        lengths[key] = _length(key, override.get_value_string(), axis)
        if lengths[key] > MOST_JOBS:
            reason = f"has {lengths[key]:,} values; a sweep has at most {MOST_JOBS:,} jobs"
            raise UserError(key, override.get_value_string(), reason)
        if axis.tags:  # it moves together with others
            lengths[key] = 1
    jobs = math.prod(lengths.values())
    if crossed and jobs > MOST_JOBS:
        reason = (
            f"the axes {', '.join(lengths)} make {jobs:,} jobs; a sweep has at most {MOST_JOBS:,}"
        )
        raise UserError("", "", reason)


def _length(key: str, text: str, axis: RangeSweep | ChoiceSweep) -> int:
    if isinstance(axis, ChoiceSweep):
        return len(axis.list)
    start, stop, step = (float(end or 0) for end in (axis.start, axis.stop, axis.step))
    if step == 0 or not all(map(math.isfinite, (start, stop, step))):
        raise UserError(key, text, "must have finite ends, and a step that is not 0")
    return max(0, math.ceil((stop - start) / step))


def paired(*args: Value) -> ChoiceSweep | RangeSweep:
    """Values that move together with those of every other axis so written: the first with the
    first, the second with the second. ``tag(name,…)`` does so for the axes of that name.

    >>> paired(0.1, 0.2).tags
    {'zip'}
    """
    if len(args) == 1 and isinstance(args[0], ChoiceSweep | RangeSweep):
        axis = copy(args[0])
    else:
        if not args:
            raise ValueError("there must be values")
        axis = ChoiceSweep(list=list(args))  # type: ignore[arg-type]
    axis.tags = {*axis.tags, "zip"}
    return axis


def register() -> None:
    """Adds the functions to the override grammar of every parser that this process makes later."""
    extend_grammar({"linspace": linspace, "logspace": logspace, "zip": paired})
