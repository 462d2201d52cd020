"""The engine, which runs batches of optimizations and records them."""

from gradexp.engine.batched import Batched
from gradexp.engine.cost import Forecast
from gradexp.engine.fit import check_fit, check_precision
from gradexp.engine.limits import Stop
from gradexp.engine.optimize import DTYPES, optimize, pose
from gradexp.engine.problem import Problem, Record, Steps, choose_device
from gradexp.engine.reference import Reference
from gradexp.engine.trace import End, RunTrace, Trace

__all__ = [
    "DTYPES",
    "Batched",
    "End",
    "Forecast",
    "Problem",
    "Record",
    "Reference",
    "RunTrace",
    "Steps",
    "Stop",
    "Trace",
    "check_fit",
    "check_precision",
    "choose_device",
    "optimize",
    "pose",
]
