"""Sweep axes that Hydra lacks: evenly spaced numbers, and axes that vary together.

They are functions in Hydra's override grammar, in addition to its own ``choice``, ``range`` and
``glob``. Hydra checks arguments against the annotations, so these must not be strings: this module
must not import ``annotations`` from ``__future__``.
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
"""The most jobs of a sweep: each has a folder, and takes some milliseconds to compose before the
first one runs."""

Real = Union[int, float]  # noqa: UP007 - Hydra's check supports no other unions
Value = Union[str, int, float, bool, dict[Any, Any], list[Any], ChoiceSweep, RangeSweep]  # noqa: UP007


def linspace(start: Real, stop: Real, num: int = 50) -> ChoiceSweep:
    """Returns an axis of ``num`` evenly spaced numbers from `start` to `stop`, as in NumPy.

    >>> linspace(0, 1, 5).list
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    return _spaced(np.linspace, start, stop, num)


def logspace(start: Real, stop: Real, num: int = 50) -> ChoiceSweep:
    """Returns an axis of ``num`` numbers from 10^start to 10^stop with equal ratios, as in NumPy.

    >>> logspace(-4, 0, 5).list
    [0.0001, 0.001, 0.01, 0.1, 1.0]
    """
    return _spaced(np.logspace, start, stop, num)


def _spaced(space: Any, start: Real, stop: Real, num: int) -> ChoiceSweep:
    if not 1 <= num <= MOST_JOBS:
        raise ValueError(f"there must be at least 1 number and at most {MOST_JOBS:,}, not {num}")
    return ChoiceSweep(list=[float(value) for value in space(start, stop, num)])


def check_axes(overrides: Sequence[Override], crossed: bool) -> None:
    """Checks that axes do not make more jobs than a sweep may have, before they are expanded.

    Args:
        overrides: the parsed overrides.
        crossed: whether every combination of the axes is a job.

    Raises:
        UserError: if an axis has too many values, or all of them together make too many jobs.
    """
    lengths: dict[str, int] = {}
    tags: dict[str, set[str]] = {}
    for override in overrides:
        axis, key = override.value(), override.get_key_element()
        if not isinstance(axis, RangeSweep | ChoiceSweep):
            continue
        lengths[key] = _length(key, override.get_value_string(), axis)
        if lengths[key] > MOST_JOBS:
            reason = f"has {lengths[key]:,} values; a sweep has at most {MOST_JOBS:,} jobs"
            raise UserError(key, override.get_value_string(), reason)
        tags[key] = axis.tags
    leading: list[str] = []  # of axes that vary together, the first one
    for key, own in tags.items():
        if not any(own & tags[other] for other in leading):
            leading.append(key)
    jobs = math.prod(lengths[key] for key in leading)
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
    """Returns an axis that varies together with all other axes written with ``zip``.

    The first values of these axes are combined, then the second values, and so on. ``tag(name,…)``
    does the same for the axes with that name.

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
    """Adds the functions to the grammar of all override parsers that this process makes later."""
    extend_grammar({"linspace": linspace, "logspace": logspace, "zip": paired})
