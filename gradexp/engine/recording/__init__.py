"""Records what runs come to, along the way and at their ends, and makes the trace of it."""

from gradexp.engine.recording.recording import Recording
from gradexp.engine.recording.rows import Recorder

__all__ = ["Recorder", "Recording"]
