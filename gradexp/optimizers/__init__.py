"""Optimizers: update rules that compute the next point from a point and its gradient."""

from gradexp.optimizers.adadelta import Adadelta
from gradexp.optimizers.adagrad import Adagrad
from gradexp.optimizers.adam import Adam, AdamW
from gradexp.optimizers.adamax import Adamax
from gradexp.optimizers.asgd import ASGD
from gradexp.optimizers.external import External
from gradexp.optimizers.heavy_ball import HeavyBall
from gradexp.optimizers.lion import Lion
from gradexp.optimizers.nadam import NAdam
from gradexp.optimizers.nesterov import Nesterov, NesterovStronglyConvex
from gradexp.optimizers.optimizer import Optimizer
from gradexp.optimizers.polyak import Polyak
from gradexp.optimizers.radam import RAdam
from gradexp.optimizers.rmsprop import RMSprop
from gradexp.optimizers.rprop import Rprop
from gradexp.optimizers.sgd import SGD

__all__ = [
    "ASGD",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "External",
    "HeavyBall",
    "Lion",
    "NAdam",
    "Nesterov",
    "NesterovStronglyConvex",
    "Optimizer",
    "Polyak",
    "RAdam",
    "RMSprop",
    "Rprop",
]
