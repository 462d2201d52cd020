"""Runs some runs a second time to find out how they ended.

The second passes find out whether a run that stopped is at rest for good, around which point noise
moves a run, and whether a run is on a cycle.
"""

from gradexp.engine.second_passes.passes import look_again
from gradexp.engine.second_passes.resting import restless

__all__ = ["look_again", "restless"]
