"""Makes all second passes over a trace, one after the other."""

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
    """Makes the second passes and returns the trace with their results.

    Args:
        problem: the problem that was run.
        trace: its trace.
        run: runs a problem, here one made of some of the runs.
        make: makes the chunk of a slice of a problem's runs.
        size: the maximum number of runs of a chunk.
    """
    trace = rest_for_good(problem, trace, run)
    trace = without_noise(problem, trace, run)
    return find_recurrence(problem, trace, make, size)
