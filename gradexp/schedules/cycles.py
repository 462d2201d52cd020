"""Schedules that rise and fall, once or periodically."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from gradexp.errors import UserError
from gradexp.numbers import Interval, NonNegative, Number, Positive, UnitInterval, like
from gradexp.schedules.curves import Length, half_wave, interpolate_cosine, interpolate_linear
from gradexp.schedules.schedule import Schedule, SingleSchedule, resolve_name


@dataclass(frozen=True)
class WarmRestarts(SingleSchedule):
    """Cosine decay with restarts: h_k = η + (h - η) (1 + cos(π t / T_i)) / 2.

    t is the number of steps since the last restart, and T_i = T₀ mⁱ the length of cycle i = 0, 1,
    …, as in ``torch.optim.lr_scheduler.CosineAnnealingWarmRestarts``.

    Args:
        T_0: T₀, at least 1.
        T_mult: m, at least 1.
        eta_min: η, at least 0.
        of: the hyperparameter h.

    Source: Loshchilov & Hutter, SGDR: stochastic gradient descent with warm restarts, ICLR 2017.
    """

    T_0: Length = 100.0
    T_mult: Annotated[Number, Interval(1.0, closed="left")] = 1.0
    eta_min: NonNegative = 0.0
    of: str = "lr"

    def value(self, base: Number, step: Tensor) -> Any:
        equal_cycles = step / self.T_0
        # Cycle i begins at step T₀ (mⁱ - 1) / (m - 1), where `grown` is mⁱ, and ends where it is
        # mⁱ⁺¹. Rounding of the logarithms does not affect the nearest i. Whether that cycle has
        # begun may depend on the last few bits, so `slack` keeps them from delaying a restart.
        ratio = like(self.T_mult, (step,))
        growth = ratio - 1
        grown = 1 + equal_cycles * growth
        power = ratio ** (grown.log() / ratio.log() + 0.5).floor()
        slack = 1 + 8 * torch.finfo(step.dtype).eps
        power = torch.where(power <= grown * slack, power, power / ratio)
        growing_fraction = ((grown / power - 1) / growth).clamp(min=0.0)
        fraction = torch.where(ratio > 1, growing_fraction, equal_cycles - equal_cycles.floor())
        return interpolate_cosine(base, self.eta_min, fraction)


@dataclass(frozen=True)
class OneCycle(Schedule):
    """One cycle of the learning rate, with the momentum changing in the opposite direction.

    The learning rate rises to the optimizer's own, α, and falls to almost 0, as in
    ``torch.optim.lr_scheduler.OneCycleLR``:

    ============ ==================== ================ ================ =============
    step         0                    p T - 1          2 (p T - 1)      T - 1
    ============ ==================== ================ ================ =============
    lr           α / d                α                                 α / (d f)
    momentum     max                  base                              max
    three_phase:
    lr           α / d                α                α / d            α / (d f)
    momentum     max                  base             max              max
    ============ ==================== ================ ================ =============

    Values in between follow half a cosine wave or a straight line; after step T - 1 they stay
    constant.

    Args:
        total_steps: T, at least 1.
        pct_start: p, the fraction of the steps in which the learning rate rises, in [0, 1]; at
            most 0.5 with three_phase.
        anneal_strategy: ``cos`` or ``linear``.
        cycle_momentum: whether the momentum changes too: the optimizer's ``momentum``, or its
            ``betas[0]`` if it has none.
        base_momentum: the momentum at the highest learning rate, in [0, 1).
        max_momentum: the momentum at both ends, in [0, 1).
        div_factor: d, positive.
        final_div_factor: f, positive.
        three_phase: whether the learning rate first falls back to α / d, as fast as it rose, and
            only then to its final value.

    Source: Smith & Topin, Super-convergence: very fast training of neural networks using large
    learning rates, 2018, arXiv:1708.07120.
    """

    total_steps: Length
    pct_start: Annotated[Number, Interval(0.0, 1.0, closed="both")] = 0.3
    anneal_strategy: Literal["cos", "linear"] = "cos"
    cycle_momentum: bool = True
    base_momentum: UnitInterval = 0.85
    max_momentum: UnitInterval = 0.95
    div_factor: Positive = 25.0
    final_div_factor: Positive = 1e4
    three_phase: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.three_phase and bool(torch.as_tensor(self.pct_start > 0.5).any()):
            raise UserError("pct_start", self.pct_start, "must be at most 0.5 with three_phase")

    def values(self, base: Mapping[str, Number], step: Tensor) -> dict[str, Number]:
        peak = base[resolve_name("lr", base)]
        start = peak / self.div_factor
        rates = [start, peak, start / self.final_div_factor]
        momenta = [self.max_momentum, self.base_momentum, self.max_momentum]
        last: Any = self.total_steps - 1
        peak_step = self.pct_start * self.total_steps - 1
        breakpoints = [0.0, peak_step, last]
        if self.three_phase:
            rates.insert(2, start)
            momenta.append(self.max_momentum)
            breakpoints.insert(2, 2 * peak_step)
        step = step.clamp(max=last)
        fractions = [_fraction(step, a, b) for a, b in pairwise(breakpoints)]
        fraction = _value_at(step, breakpoints, fractions)
        remaining = half_wave(fraction) if self.anneal_strategy == "cos" else 1 - fraction

        def interpolate(levels: Sequence[Number]) -> Tensor:
            values = [interpolate_linear(b, a, remaining) for a, b in pairwise(levels)]
            return _value_at(step, breakpoints, values)

        changed: dict[str, Number] = {"lr": interpolate(rates)}
        if self.cycle_momentum:
            changed[_momentum(base)] = interpolate(momenta)
        return changed


@dataclass(frozen=True)
class Cyclic(Schedule):
    """A learning rate that cycles, with the momentum changing in the opposite direction.

    The learning rate moves between the optimizer's own, α, and r α, as in
    ``torch.optim.lr_scheduler.CyclicLR``:

    α_k = α + (r - 1) α z_k c_k,  μ_k = max - (max - base) z_k c_k,

    where z_k periodically rises from 0 to 1 in u steps and falls back to 0 in d steps, and the
    scale c_k is 1 (``triangular``), 2⁻ⁱ in cycle i = 0, 1, … (``triangular2``) or γᵏ
    (``exp_range``).

    Args:
        max_factor: r, positive; max_lr / base_lr in torch.
        step_size_up: u, at least 1.
        step_size_down: d, at least 1; u if None.
        mode: ``triangular``, ``triangular2`` or ``exp_range``.
        gamma: γ, positive.
        cycle_momentum: whether the momentum changes too: the optimizer's ``momentum``, or its
            ``betas[0]`` if it has none.
        base_momentum: the momentum at learning rate r α, in [0, 1).
        max_momentum: the momentum at learning rate α, in [0, 1).

    Source: Smith, Cyclical learning rates for training neural networks, WACV 2017.
    """

    max_factor: Positive = 4.0
    step_size_up: Length = 100.0
    step_size_down: Length = None  # type: ignore[assignment]  # a number after __post_init__
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular"
    gamma: Positive = 1.0
    cycle_momentum: bool = True
    base_momentum: UnitInterval = 0.8
    max_momentum: UnitInterval = 0.9

    def __post_init__(self) -> None:
        down: Any = self.step_size_down
        if down is None:
            object.__setattr__(self, "step_size_down", self.step_size_up)
        super().__post_init__()

    def values(self, base: Mapping[str, Number], step: Tensor) -> dict[str, Number]:
        total = self.step_size_up + self.step_size_down
        cycle = (step / total).floor()
        position = step - total * cycle
        up, down = position / self.step_size_up, (total - position) / self.step_size_down
        height = torch.minimum(up, down)
        if self.mode == "triangular2":
            height = height * 0.5**cycle
        elif self.mode == "exp_range":
            height = height * self.gamma**step
        lr = base[resolve_name("lr", base)]
        changed: dict[str, Number] = {"lr": lr + (self.max_factor - 1) * lr * height}
        if self.cycle_momentum:
            momentum = self.max_momentum - (self.max_momentum - self.base_momentum) * height
            changed[_momentum(base)] = momentum
        return changed


def _momentum(base: Mapping[str, Number]) -> str:
    """Returns the name of the optimizer's momentum.

    Raises:
        UserError: the optimizer has no momentum.
    """
    try:
        return resolve_name("momentum", base)
    except UserError:
        reason = "must be false: the optimizer has neither momentum nor betas"
        raise UserError("cycle_momentum", True, reason) from None


def _fraction(step: Tensor, begin: Any, end: Any) -> Tensor:
    """Returns the fraction of the interval from `begin` to `end` that lies before `step`."""
    length = like(end - begin, (step,))
    return torch.where(length == 0, 1.0, (step - begin) / length)


def _value_at(step: Tensor, breakpoints: Sequence[Number], values: Sequence[Tensor]) -> Tensor:
    """Returns the value that belongs to the interval that contains the step.

    `breakpoints` are the ends of the intervals in ascending order, and `values` has one value for
    each interval.
    """
    *before, value = values
    for end, earlier in reversed(list(zip(breakpoints[1:-1], before, strict=True))):
        value = torch.where(step <= end, earlier, value)
    return value
