"""Records the steps and the final metrics of runs, and makes their trace."""

from gradexp.engine.recording.recording import Recording
from gradexp.engine.recording.rows import Recorder

__all__ = ["Recorder", "Recording"]
