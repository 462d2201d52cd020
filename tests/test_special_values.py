"""Compiled steps are eager ones at infinities, zeros and the ends of the range, too."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from gradexp import optimize
from gradexp.engine import Batched, Stop
from gradexp.engine.codegen import block
from gradexp.optimizers import SGD
from gradexp.surfaces.convex import Sphere
from tests.conftest import Undecorated

# Starts must be finite: the rule below makes infinities of the largest, and NaN of one.
LARGEST = {"float64": 1.7e308, "float32": 3.3e38}
NOT_A_NUMBER = 7.25
ORDINARY = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -3.0, 80.0, -80.0, 700.0, -745.0, 1e5, -1e5, 1e15]
SPECIAL = {
    "float64": [*ORDINARY, 1e-300, -1e-300, 5e-324, 1e300, -1e300],
    "float32": [*ORDINARY, 1e-37, -1e-37, 1e-45, 1e37, -1e37],
}

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "power 0": lambda x: x**0,
    "power 0.5": lambda x: x**0.5,
    "power 1": lambda x: x**1,
    "power 2": lambda x: x**2,
    "power -1": lambda x: x**-1,
    "power 3": lambda x: x**3,
    "power -2": lambda x: x**-2,
    "power 1.5": lambda x: x**1.5,
    "a power of the base": lambda x: torch.tensor(2.0, dtype=x.dtype) ** x,
    "abs": torch.abs,
    "sign": torch.sign,
    "reciprocal": torch.reciprocal,
    "rsqrt": torch.rsqrt,
    "sqrt": torch.sqrt,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "erf": torch.erf,
    "atan": torch.atan,
    "floor": torch.floor,
    "clamp": lambda x: x.clamp(-2.0, 3.0),
    "clamp from below": lambda x: x.clamp(min=0.0),
    "maximum": lambda x: torch.maximum(x, 1 - x),
    "minimum": lambda x: torch.minimum(x, 1 - x),
    "where": lambda x: torch.where(x > 0, x, -x),
    "softplus": torch.nn.functional.softplus,
    "silu": torch.nn.functional.silu,
    "sine": torch.sin,
    "cosine": torch.cos,
    "hypot": lambda x: torch.hypot(x, 2 * x),
    "atan2": lambda x: torch.atan2(x, 1 - x),
}
NAMES = list(FUNCTIONS)
GROUPS = [NAMES[first : first + 10] for first in range(0, len(NAMES), 10)]


def special(x: Tensor) -> Tensor:
    """The largest numbers become infinite, and one becomes NaN."""
    largest = LARGEST[str(x.dtype).removeprefix("torch.")]
    far = torch.where(x.abs() >= largest, x * 16, x)
    return torch.where(x == NOT_A_NUMBER, math.nan, far)


@dataclass(frozen=True)
class Flat(Undecorated):
    """Its first coordinate has a slope everywhere; its loss is finite wherever one is."""

    dim: int = 2  # type: ignore[misc]

    @property
    def domain(self) -> Any:
        return ((-1.0, 1.0),) * self.dim

    @property
    def start(self) -> Any:
        return (0.5,) * self.dim

    def value(self, point: Any) -> Tensor:
        first: Tensor = point[0] * 1.0
        for x in tuple(point)[1:]:
            first = first + 0 * torch.where(x.abs() < 1e9, x, 0.0)
        return first


@dataclass(frozen=True)
class Applied(SGD):
    """Each coordinate but the first becomes a function of itself."""

    names: tuple[str, ...] = field(default=())

    def update(self, point: Any, gradient: Any, state: Any, step: int | Tensor) -> Any:
        first, *rest = (special(x) for x in tuple(point))
        moved = [FUNCTIONS[name](x) for name, x in zip(self.names, rest, strict=False)]
        parts = (first - self.lr, *moved)
        return (torch.stack(parts) if isinstance(point, Tensor) else parts), state


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("names", GROUPS, ids=lambda names: names[0])
def test_functions_at_special_values(names: list[str], dtype: str) -> None:
    # A second each.
    surface = Flat(dim=len(names) + 1)
    far = [LARGEST[dtype], -LARGEST[dtype], NOT_A_NUMBER]
    values = torch.tensor([*SPECIAL[dtype], *far], dtype=torch.float64)
    start = torch.cat([torch.ones(1, len(values)), values.expand(len(names), -1)]).double()
    traces = [
        optimize(
            surface,
            start,
            Applied(lr=torch.full((len(values),), 0.1), names=tuple(names)),
            steps=1,
            stop=Stop(gradient=1e-300, divergence=LARGEST[dtype] * 1.01),
            dtype=dtype,
            compile=how,
        )
        for how in ("never", "always")
    ]
    assert [trace.engine for trace in traces] == ["eager", "compiled"]
    eager, compiled = (trace.final_point for trace in traces)
    assert bool((eager[0] < 1).all())  # each made its step
    for row, name in enumerate(names, 1):
        rtol = 1e-13 if dtype == "float64" else 2e-6
        atol = 1e-15 if name in ("sine", "cosine") else 0
        close = torch.isclose(compiled[row], eager[row], rtol=rtol, atol=atol, equal_nan=True)
        wrong = [
            (
                special(values.to(eager.dtype))[at].item(),
                compiled[row, at].item(),
                eager[row, at].item(),
            )
            for at in (~close).nonzero()[:, 0]
        ]
        assert not wrong, (name, wrong)


@dataclass(frozen=True)
class Fitted(Undecorated):
    """A loss over data that are a tensor."""

    data: tuple[tuple[float, ...], ...] = ((1.0, 2.0, 3.0), (2.0, 3.9, 6.1))

    def value(self, point: Any) -> Tensor:
        slope, offset = point
        x, y = torch.tensor(self.data, dtype=slope.dtype)
        loss: Tensor = torch.zeros_like(slope)
        for inside, outside in zip(x, y, strict=True):
            loss = loss + (slope * inside + offset - outside) ** 2
        return loss


@dataclass(frozen=True)
class Broadcast(Fitted):
    """The same in one operation, which has the data on an axis of its own."""

    def value(self, point: Any) -> Tensor:
        slope, offset = point
        x, y = torch.tensor(self.data, dtype=slope.dtype)
        gaps = slope[None] * x.reshape(-1, *[1] * slope.dim()) + offset[None]
        loss: Tensor = ((gaps - y.reshape(-1, *[1] * slope.dim())) ** 2).sum(0)
        return loss


@dataclass(frozen=True)
class Held(Undecorated):
    """One whose tensor was made before."""

    data: Any = field(default_factory=lambda: torch.tensor([[1.0, 0.2], [0.2, 2.0]]).double())

    def value(self, point: Any) -> Tensor:
        x, y = point
        matrix = self.data.to(x.dtype)
        loss: Tensor = matrix[0, 0] * x**2 + 2 * matrix[0, 1] * x * y + matrix[1, 1] * y**2
        return loss


@pytest.mark.parametrize("surface", [Fitted(), Broadcast(), Held()], ids=lambda s: s.label())
def test_a_surface_over_a_tensor_of_data(surface: Any) -> None:
    rates = torch.logspace(-4, -3, 50, dtype=torch.float64)
    traces = [
        optimize(surface, (0.5, 0.25), SGD(lr=rates), steps=50, compile=how)
        for how in ("never", "always")
    ]
    for part in ("loss", "gradient_norm", "point"):
        one, other = (getattr(trace, part) for trace in traces)
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    assert bool((traces[1].final_loss < traces[1].loss[0]).all())  # type: ignore[index]


def test_what_fails_in_the_compiler_runs_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> Any:
        raise TypeError("float() argument must be a string or a real number")

    monkeypatch.setattr("gradexp.engine.codegen.block.write", broken)
    monkeypatch.setattr("gradexp.engine.codegen.cpu.CpuProgram.recall", lambda signature: None)
    monkeypatch.setattr(Batched, "_choice", lambda self, problem: "compiled")
    block._block.cache_clear()
    with pytest.warns(RuntimeWarning, match="running eagerly, for it could not be compiled: Type"):
        trace = optimize(Sphere(), (1.0, 1.0), SGD(lr=torch.full((9,), 0.1)), steps=5)
    assert trace.engine == "eager"
    block._block.cache_clear()
