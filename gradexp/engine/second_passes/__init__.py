"""Some runs are made again, in part, to know how they ended: whether they rest for good, what noise
moves them around, whether they go round a cycle."""

from gradexp.engine.second_passes.passes import look_again
from gradexp.engine.second_passes.resting import restless

__all__ = ["look_again", "restless"]
