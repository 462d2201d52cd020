"""The cases of the engine's benchmark: what every side computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from gradexp import surfaces
from gradexp.noises import Gaussian
from gradexp.numbers import Number
from gradexp.optimizers import SGD, Adam, Optimizer, RMSprop
from gradexp.schedules import Cosine, WarmupCosine
from gradexp.surfaces import Surface

LEARNING_RATES = {
    "sgd": {"rosenbrock": 1e-4, "rastrigin": 1e-4, "quadratic": 1e-5},
    "adam": {"rosenbrock": 1e-3, "rastrigin": 1e-3, "quadratic": 1e-3},
    "rmsprop": {"rosenbrock": 1e-3, "rastrigin": 1e-3, "quadratic": 1e-3},
}
"""the upper end of a decade in which no run diverges or comes to rest"""

ADDED = ("cosine", "warmup_cosine", "gaussian", "gaussian_common")
"""what may be added to a step: schedules over all steps, noise with a seed for each run, and noise
with one seed"""


@dataclass(frozen=True)
class Work:
    """One case: the problem, the rule and the size of the batch."""

    surface: str
    dim: int
    momentum: float
    dtype: str
    record: str
    batch: int
    steps: int
    device: str = "cpu"
    optimizer: str = "sgd"
    added: str = "none"

    @property
    def torch_surface(self) -> Surface:
        sized = self.surface == "quadratic"
        return surfaces.get(self.surface, **({"dim": self.dim} if sized else {}))

    @property
    def size(self) -> int:
        """bytes per number"""
        return 4 if self.dtype == "float32" else 8

    def rule(self, lr: Number) -> Optimizer:
        match self.optimizer:
            case "sgd":
                return SGD(lr=lr, momentum=self.momentum)
            case "adam":
                return Adam(lr=lr)
            case "rmsprop":
                return RMSprop(lr=lr)
        raise ValueError(f"no rule is known as {self.optimizer}")

    def additions(self) -> dict[str, Any]:
        """Returns what is added to a step, as keyword arguments of `optimize`."""
        match self.added:
            case "none":
                return {}
            case "cosine":
                return {"schedule": Cosine(T_max=self.steps)}
            case "warmup_cosine":
                return {"schedule": WarmupCosine(self.steps, warmup_steps=self.steps // 10)}
            case "gaussian":
                seeds = torch.arange(self.batch, device=self.device)
                return {"noise": Gaussian(std=1e-3, seed=seeds)}
            case "gaussian_common":
                return {"noise": Gaussian(std=1e-3, seed=0)}
        raise ValueError(f"nothing is known as {self.added}")

    def rates(self) -> torch.Tensor:
        """Returns a learning rate for each run ``(B,)``, from a decade in which all are stable."""
        top = LEARNING_RATES[self.optimizer][self.surface]
        spread = torch.logspace(-1, 0, self.batch, dtype=torch.float64) * top
        return spread.to(getattr(torch, self.dtype))

    def starts(self) -> torch.Tensor:
        start = torch.tensor(self.torch_surface.start, dtype=getattr(torch, self.dtype))
        return start[:, None].expand(-1, self.batch).contiguous()
