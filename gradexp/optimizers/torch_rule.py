"""Update rules that ``torch.optim`` has as well."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from gradexp.optimizers.optimizer import Optimizer, evaluate_closure


class TorchRule(Optimizer):
    """A rule whose fields have the names and the meaning of those of a ``torch.optim`` class."""

    torch_class: ClassVar[Callable[..., torch.optim.Optimizer]]
    """the ``torch.optim`` class"""

    def reference(self, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
        options = {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}
        return type(self).torch_class(parameters, **options)


def _plain(value: Any) -> Any:
    """Converts a field of one run to the type that torch expects."""
    if isinstance(value, tuple):
        return tuple(map(float, value))
    return value if isinstance(value, bool) else float(value)


class _Float64Steps(torch.optim.Optimizer):
    """Makes steps with float64 as torch's default dtype.

    The classes below keep a number that all coordinates share in the default dtype. In float32, the
    usual default, it would be wrong in the eighth digit for a point in float64.
    """

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = evaluate_closure(closure)  # the closure sees the usual default dtype
        default_dtype = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            super().step()
        finally:
            torch.set_default_dtype(default_dtype)
        return loss


class RMSpropWithLateMomentum(torch.optim.RMSprop):
    """``torch.optim.RMSprop`` whose momentum may start at 0.

    The original class creates no velocity in a first step without momentum, and then fails in a
    step with momentum.
    """

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if self.state[parameter]:
                    velocity = torch.zeros_like(parameter)
                    self.state[parameter].setdefault("momentum_buffer", velocity)
        loss: float | None = super().step(closure)
        return loss


class NAdamFloat64(_Float64Steps, torch.optim.NAdam):
    """``torch.optim.NAdam`` that keeps its product of momenta in float64."""


class ASGDFloat64(_Float64Steps, torch.optim.ASGD):
    """``torch.optim.ASGD`` that keeps its step size in float64."""
