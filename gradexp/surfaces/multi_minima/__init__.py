"""Surfaces with several minima, or with one at the end of a road that is not convex."""

from gradexp.surfaces.multi_minima.planar_waves import (
    Bohachevsky,
    Branin,
    CrossInTray,
    DropWave,
    Eggholder,
    HolderTable,
    Shubert,
)
from gradexp.surfaces.multi_minima.polynomial import (
    Beale,
    FreudensteinRoth,
    GoldsteinPrice,
    Himmelblau,
    Rosenbrock,
    SixHumpCamel,
    StyblinskiTang,
    ThreeHumpCamel,
)
from gradexp.surfaces.multi_minima.waves import (
    Ackley,
    Griewank,
    Levy,
    Michalewicz,
    Rastrigin,
    Schwefel,
)
from gradexp.surfaces.multi_minima.wells import Easom, MullerBrown, TwoBowls

__all__ = [
    "Ackley",
    "Beale",
    "Bohachevsky",
    "Branin",
    "CrossInTray",
    "DropWave",
    "Easom",
    "Eggholder",
    "FreudensteinRoth",
    "GoldsteinPrice",
    "Griewank",
    "Himmelblau",
    "HolderTable",
    "Levy",
    "Michalewicz",
    "MullerBrown",
    "Rastrigin",
    "Rosenbrock",
    "Schwefel",
    "Shubert",
    "SixHumpCamel",
    "StyblinskiTang",
    "ThreeHumpCamel",
    "TwoBowls",
]
