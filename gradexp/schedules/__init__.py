"""Schedules: hyperparameters that change from step to step."""

from gradexp.schedules.cycles import Cyclic, OneCycle, WarmRestarts
from gradexp.schedules.decay import Constant, Cosine, Exponential, Polynomial
from gradexp.schedules.piecewise import MultiStep, Piecewise, Step
from gradexp.schedules.schedule import Schedule, SingleSchedule
from gradexp.schedules.together import Together
from gradexp.schedules.warmup import InverseSquareRoot, Linear, WarmupCosine

__all__ = [
    "Constant",
    "Cosine",
    "Cyclic",
    "Exponential",
    "InverseSquareRoot",
    "Linear",
    "MultiStep",
    "OneCycle",
    "Piecewise",
    "Polynomial",
    "Schedule",
    "SingleSchedule",
    "Step",
    "Together",
    "WarmRestarts",
    "WarmupCosine",
]
