"""Imports what the program's commands import when they are used: for a process to be forked from.

A process that imports it itself spends most of its life at that, where a kill does no harm.
"""

from hydra.core.plugins import Plugins

Plugins.instance()  # before gradexp imports its plugins: Hydra imports them by their files

# ruff: noqa: E402, F401
import pandas
import pyarrow.parquet
from tensorboard.compat.proto import event_pb2

from gradexp import plots
from gradexp.cli import compare, program, run, show, terminal
from gradexp.comparison import tensorboard_summary
from gradexp.results import tensorboard
from gradexp.sweeps import running
