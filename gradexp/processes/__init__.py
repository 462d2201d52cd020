"""This process: the environment it was started with, and the processes that it starts."""
