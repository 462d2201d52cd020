"""All second passes over a trace, one after the other."""

from __future__ import annotations

from collections.abc import Callable

from gradexp.engine.chunks import Make
from gradexp.engine.problem import Problem
from gradexp.engine.second_passes.calm import without_noise
from gradexp.engine.second_passes.recurrence import find_recurrence
from gradexp.engine.second_passes.resting import rest_for_good
from gradexp.engine.trace import Trace


def look_again(
    problem: Problem, trace: Trace, run: Callable[[Problem], Trace], make: Make, size: int
) -> Trace:
    """The trace with what only a second pass can tell.

    Args:
        problem: what was run.
        trace: what came of it.
        run: runs a problem of some of the runs again.
        make: makes chunks of a problem.
        size: runs of a chunk, at most.
    """
    trace = rest_for_good(problem, trace, run)
    trace = without_noise(problem, trace, run)
    return find_recurrence(problem, trace, make, size)
