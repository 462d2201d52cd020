"""The environment in which this process was started, and the processes that it starts."""
