"""Rules that ``torch.optim`` has, too."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from gradexp.optimizers.optimizer import Optimizer, looked


class TorchRule(Optimizer):
    """A rule whose fields have the names and the meaning of a class of ``torch.optim``."""

    twin: ClassVar[Callable[..., torch.optim.Optimizer]]
    """That class."""

    def reference(self, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
        options = {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}
        return type(self).twin(parameters, **options)


def _plain(value: Any) -> Any:
    """A field of one run as torch takes it."""
    if isinstance(value, tuple):
        return tuple(map(float, value))
    return value if isinstance(value, bool) else float(value)


class _InDouble(torch.optim.Optimizer):
    """Makes steps with float64 as torch's default.

    These classes keep a number that is the same for all coordinates in the default type. In
    float32, its usual one, that would be wrong in the eighth digit for a point in float64.
    """

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = looked(closure)  # as usual: what it computes is none of ours
        usual = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            super().step()
        finally:
            torch.set_default_dtype(usual)
        return loss


class RMSpropFromRest(torch.optim.RMSprop):
    """``torch.optim.RMSprop`` whose momentum may be 0 at first: that has no velocity then."""

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if self.state[parameter]:
                    velocity = torch.zeros_like(parameter)
                    self.state[parameter].setdefault("momentum_buffer", velocity)
        loss: float | None = super().step(closure)
        return loss


class NAdamInDouble(_InDouble, torch.optim.NAdam):
    """``torch.optim.NAdam`` with its product of momenta in float64."""


class ASGDInDouble(_InDouble, torch.optim.ASGD):
    """``torch.optim.ASGD`` with its step size in float64."""
