"""Compiled steps: the same numbers as eager ones, built once, and never silently not."""

import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from gradexp import optimize
from gradexp.clips import Unclipped
from gradexp.engine import End, Record, Reference
from gradexp.engine.codegen import block, build, cache
from gradexp.engine.cost import predict
from gradexp.engine.limits import Limits
from gradexp.engine.problem import Problem
from gradexp.errors import UserError
from gradexp.noises import Gaussian, Noiseless
from gradexp.numbers import each
from gradexp.optimizers import SGD
from gradexp.processes.environment import AT_START
from gradexp.schedules import Constant, Exponential, Linear, Schedule, Together
from gradexp.surfaces import Surface, from_function, get, names
from gradexp.surfaces.convex import Sphere
from tests.conftest import Undecorated, in_tiers

RATES = torch.logspace(-8, -5, 100, dtype=torch.float64)


def recorded(part: Tensor | None) -> Tensor:
    assert part is not None
    return part


def both(surface: Surface, optimizer: SGD, **options: Any) -> tuple[Any, Any]:
    """The traces of eager and of compiled steps."""
    start = options.pop("start", surface.start)
    eager, compiled = (
        optimize(surface, start, optimizer, compile=compile, **options)
        for compile in ("never", "always")
    )
    assert (eager.engine, compiled.engine) == ("eager", "compiled")
    return eager, compiled


@pytest.mark.parametrize("name", names())
def test_compiled_steps_are_eager_ones_to_rounding(name: str) -> None:
    # The structure of the tests of invariance: compiled once for both.
    eager, compiled = both(
        get(name),
        SGD(lr=RATES, momentum=0.9),
        steps=100,
        schedule=Exponential(gamma=0.9999),
        noise=Gaussian(std=1e-9, seed=torch.arange(100)),
    )
    assert torch.equal(eager.step, compiled.step)
    for part in ("loss", "gradient_norm", "point", "best_loss", "path_length"):
        one, other = getattr(eager, part), getattr(compiled, part)
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11, equal_nan=True)
    assert torch.equal(eager.steps, compiled.steps)
    assert torch.equal(eager.end, compiled.end)


@pytest.mark.parametrize("options", [
    {},
    {"momentum": 0.9},
    {"momentum": 0.9, "nesterov": True},
    {"momentum": 0.9, "dampening": 0.3, "weight_decay": 1e-3},
    {"momentum": torch.linspace(0, 0.99, 100), "dampening": 0.3, "maximize": True},
])  # fmt: skip
def test_arithmetic_that_is_exact_in_both_is_the_same_to_the_bit(options: dict[str, Any]) -> None:
    # Sums, products and quotients are rounded as IEEE 754 says, in one order, never fused.
    eager, compiled = both(get("rosenbrock"), SGD(lr=RATES * 100, **options), steps=300)
    for part in ("loss", "point", "best_loss", "best_step", "reversals", "steps", "end"):
        assert torch.equal(getattr(eager, part), getattr(compiled, part)), part


@pytest.mark.parametrize(
    ("name", "dim"),
    in_tiers(
        [
            (name, dim)
            for name in ("rosenbrock", "quadratic", "rastrigin")
            for dim in (16, 17, 100, 131, 263, 1000)
        ],
        lambda case: case[1] != 16,  # 7 to 12 s to compile
    ),
)
def test_many_dimensions(name: str, dim: int) -> None:
    eager, compiled = both(get(name, dim=dim), SGD(lr=RATES[:40], momentum=0.9), steps=20)
    for part in ("loss", "gradient_norm", "point"):
        torch.testing.assert_close(
            getattr(eager, part), getattr(compiled, part), rtol=1e-11, atol=1e-13
        )


@pytest.mark.parametrize("engine", ["never", "always", "reference"])
def test_online_metrics_are_those_of_the_whole_trace(engine: Any) -> None:
    tolerances = (1.0, 1e-3, 1e-9)
    chosen: dict[str, Any] = {"compile": engine}
    if engine == "reference":
        chosen = {"engine": Reference()}
    trace = optimize(
        get("himmelblau"),
        (1.0, 1.0),
        SGD(lr=torch.tensor([0.01, 0.015, 1e-3, 0.5]), momentum=0.9),
        steps=150,
        record=Record(tolerances=tolerances),
        **chosen,
    )
    assert trace.end.tolist().count(int(End.DIVERGED)) == 1
    for run in range(3):
        _, loss, norm, point = (recorded(part).numpy() for part in trace.run(run)[:4])
        moves = np.diff(point, axis=0)
        lengths = np.sqrt((moves**2).sum(axis=1))
        turned = (moves[1:] * moves[:-1]).sum(axis=1) < 0
        assert float(trace.path_length[run]) == pytest.approx(lengths.sum(), rel=1e-12)
        assert int(trace.reversals[run]) == turned.sum() > 0
        assert float(trace.best_loss[run]) == loss.min()
        assert int(trace.best_step[run]) == loss.argmin()
        for row, tolerance in enumerate(tolerances):
            for steps, size in ((recorded(trace.gap_steps), loss), (trace.gradient_steps, norm)):
                met = np.flatnonzero(size <= tolerance)
                assert int(steps[row, run]) == (met[0] if len(met) else -1)


class Narrow(Sphere):
    """Its factors are float32, whatever the point is."""

    def value(self, point: Any) -> Tensor:
        x, y = point
        steep: Tensor = torch.where(x > 0, 1.1, 3.3) * x**2 + torch.where(y > 0, 1.1, 3.3) * y**2
        return steep


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_numbers_of_another_width_than_the_points(dtype: str) -> None:
    start = torch.linspace(-1, 1, 50, dtype=torch.float64).expand(2, -1)
    eager, compiled = both(Narrow(), SGD(lr=0.3), steps=20, start=start, dtype=dtype)
    for part in ("loss", "point", "best_step"):
        assert torch.equal(getattr(eager, part), getattr(compiled, part)), part


class Before(NamedTuple):
    first: Tensor


@dataclass(frozen=True)
class Slowed(SGD):
    """Its state is a part of the point before."""

    def init(self, point: Any) -> Any:
        return Before(torch.zeros_like(point[0]))

    def update(self, point: Any, gradient: Any, state: Any, step: int | Tensor) -> Any:
        far = 1 + (point[0] - state.first).abs()
        return each(lambda x, g: x - self.lr * g / far, point, gradient), Before(point[0])


@pytest.mark.parametrize("dim", [2, 20])
def test_a_state_that_is_a_part_of_the_point(dim: int) -> None:
    eager, compiled = both(get("rosenbrock", dim=dim), Slowed(lr=RATES * 100), steps=20)
    for part in ("loss", "point"):
        torch.testing.assert_close(
            getattr(eager, part), getattr(compiled, part), rtol=1e-12, atol=0
        )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_has_diverged(value: float) -> None:
    class Cliff(Sphere):
        def value(self, point: Any) -> Tensor:
            x, _ = point
            loss: Tensor = torch.where(x < 0.5, x * 0 + value, x)
            return loss

    for trace in both(Cliff(), SGD(lr=0.2), steps=10, start=(1.0, 0.0)):
        assert End(int(trace.end[0])) is End.DIVERGED
        assert int(trace.steps[0]) == 3
        assert float(trace.best_loss[0]) == pytest.approx(0.6) or value == -math.inf


def test_a_trace_keeps_its_memory() -> None:
    # The memory of traces is used again: of those that are gone.
    def trace(lr: float) -> Tensor:
        many = torch.full((100,), lr)
        return recorded(optimize(get("sphere"), (1.0, 1.0), SGD(lr=many), steps=50).loss)

    first = trace(0.1)
    part, before = first[3, :2], first.clone()
    second = trace(0.2)
    assert torch.equal(first, before)
    del first
    third = trace(0.3)
    assert torch.equal(part, before[3, :2])
    assert not torch.equal(second, third)


@dataclass(frozen=True)
class Own(Undecorated):
    pass


class Branching(Own):
    def value(self, point: Any) -> Tensor:
        x, y = point
        value: Tensor = x**2 + y**2 if float(x.detach().sum()) < 1e9 else x
        return value


class Special(Own):
    def value(self, point: Any) -> Tensor:
        x, y = point
        value: Tensor = torch.special.i0(x) + y**2
        return value


class Counting(Own):
    def value(self, point: Any) -> Tensor:
        x, y = point
        value: Tensor = x**2 + y**2 + 0 * x.flip(-1)
        return value


class Tensorial(Own):
    def value(self, point: Any) -> Tensor:
        value: Tensor = (point**2).sum(0)
        return value


@pytest.mark.parametrize("surface", [Branching(), Special(), Counting(), Tensorial()])
def test_what_cannot_be_compiled_runs_eagerly_and_says_so(surface: Surface) -> None:
    lr = torch.full((1000,), 0.1)
    with pytest.warns(RuntimeWarning, match="running eagerly, for it could not be compiled"):
        trace = optimize(
            surface, surface.start, SGD(lr=lr), steps=10**6, compile="auto", record="metrics"
        )
    assert trace.engine == "eager"
    with pytest.raises(UserError, match="compile=always: cannot be done: "):
        optimize(surface, surface.start, SGD(lr=lr), steps=1, compile="always")


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AT_START, "CXX", "no-such-compiler")
    for part in (build.compiler, build._command, build._version):
        part.cache_clear()
    try:
        with pytest.raises(UserError, match="there is no C\\+\\+ compiler"):
            optimize(get("sphere", dim=5), (1.0,) * 5, SGD(lr=0.1), steps=1, compile="always")
    finally:
        for part in (build.compiler, build._command, build._version):
            part.cache_clear()


def test_the_next_process_finds_what_one_has_compiled(tmp_path: Path) -> None:
    program = """
import sys, torch
from gradexp import optimize, surfaces
from gradexp.optimizers import SGD
trace = optimize(surfaces.get("booth"), (1.0, 1.0), SGD(lr=1e-3), steps=9, compile="always")
print(trace.engine, trace.final_loss.item(), "sympy" if "sympy" in sys.modules else "no sympy")
"""

    def answer() -> str:
        environment = {**os.environ, "GRADEXP_CACHE": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = answer()
    built = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert len(built) == 2  # by its source, and by what it is made of
    assert answer() == first.replace("sympy", "no sympy")  # which tracing imports
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == built


@dataclass(frozen=True)
class Halving(Schedule):
    """A person's own, within one of gradexp's."""

    def values(self, base: Any, step: Tensor) -> Any:
        return {"lr": base["lr"] * (1 - step / 100).clamp(min=0) ** 2}


def test_a_schedule_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AT_START, "GRADEXP_CACHE", str(tmp_path))
    schedule = Together(first=Halving(), second=Linear(0.5, 1.0, 50.0, of="momentum"))
    rule = SGD(lr=RATES * 100, momentum=0.9)
    eager, compiled = both(get("rosenbrock"), rule, steps=80, schedule=schedule)
    torch.testing.assert_close(eager.point, compiled.point, rtol=1e-12, atol=1e-14)
    # It may be another one in the next process: it is found by its text alone.
    assert len(list(tmp_path.glob("*.program"))) == 1


def test_a_damaged_program_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(damage: Callable[[bytes], bytes]) -> Tensor:
        for file in tmp_path.glob("*.program"):
            (tmp_path / "damaged").write_bytes(damage(file.read_bytes()))
            (tmp_path / "damaged").replace(file)  # in place it would change what is loaded
        block._block.cache_clear()
        rates = torch.full((3,), 0.1)
        trace = optimize(get("matyas"), (1.0, 1.0), SGD(lr=rates), steps=9, compile="always")
        return recorded(trace.loss)

    monkeypatch.setitem(AT_START, "GRADEXP_CACHE", str(tmp_path))
    first = loss(lambda content: content)
    for damage in (
        lambda content: content[:4096],
        lambda content: b"",
        lambda content: content[:-1] + b"x",
    ):
        assert torch.equal(loss(damage), first)
        assert all(cache.whole(file) for file in tmp_path.glob("*.program"))


def test_without_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setitem(AT_START, "GRADEXP_CACHE", str(tmp_path / "file" / "cache"))
    lr = torch.full((3,), 0.1)
    trace = optimize(get("zakharov"), (1.0, 1.0), SGD(lr=lr), steps=9, compile="always")
    assert trace.engine == "compiled"
    assert "compiled programs are not kept for the next time" in caplog.text


def problem(steps: int, batch: int, surface: Surface) -> Problem:
    return Problem(
        surface=surface,
        start=torch.zeros(surface.dim, batch, dtype=torch.float64),
        optimizer=SGD(lr=0.1),
        steps=steps,
        schedule=Constant(),
        noise=Noiseless(),
        clip=Unclipped(),
        limits=Limits(),
        record=Record(),
    )


@pytest.mark.parametrize(
    ("steps", "batch", "name", "compiles"),
    [
        (1000, 1, "rosenbrock", False),
        (1000, 1000, "rosenbrock", False),
        (100_000, 1, "rosenbrock", True),
        (10_000, 10_000, "rosenbrock", True),
        (100, 10**6, "sphere", True),
        (5000, 1, "muller_brown", False),
    ],
)
def test_a_problem_is_compiled_where_it_pays(
    steps: int, batch: int, name: str, compiles: bool
) -> None:
    cost = predict(problem(steps, batch, get(name)), batch)
    assert (cost.compiled < cost.eager) == compiles


def test_the_choice_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        optimize(get("sphere"), (1.0, 1.0), SGD(lr=0.1), steps=123)
    assert any("engine: eager (about" in message for message in caplog.messages)


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="without vector registers nothing is streamed",
)
def test_streamed_stores_are_fenced_by_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In the machine code: OpenMP's barrier, which also orders them, is none of ours.
    if shutil.which("objdump") is None:
        pytest.skip("needs objdump, of binutils")
    monkeypatch.setitem(AT_START, "GRADEXP_CACHE", str(tmp_path))
    block._block.cache_clear()
    rates = torch.full((3,), 0.1)
    optimize(get("booth"), (1.0, 1.0), SGD(lr=rates), steps=9, compile="always")
    program = next(iter(tmp_path.glob("*.program")))
    told = subprocess.run(["objdump", "-d", program], capture_output=True, text=True, check=True)
    lines = told.stdout.splitlines()
    streamed = [at for at, line in enumerate(lines) if "vmovnt" in line]
    fences = [at for at, line in enumerate(lines) if "sfence" in line]
    assert streamed
    assert fences


def fresh(monkeypatch: pytest.MonkeyPatch, folder: Path, compiler: str) -> None:
    """As in a new process, with another compiler and another cache."""
    monkeypatch.setitem(AT_START, "GRADEXP_CACHE", str(folder))
    monkeypatch.setitem(AT_START, "CXX", compiler)
    for part in (build.compiler, build._command, build._version):
        part.cache_clear()
    block._block.cache_clear()


@pytest.fixture
def as_before() -> Iterator[None]:
    yield
    for part in (build.compiler, build._command, build._version):
        part.cache_clear()
    block._block.cache_clear()


def alive(group: int) -> bool:
    """Whether a process of a group lives: one that has ended stays until its parent asks for it."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, its_group, *_ = path.read_text().rpartition(")")[2].split()
            if int(its_group) == group and state != "Z":
                return True
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
def test_a_compiler_that_hangs_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_before: None
) -> None:
    script = tmp_path / "hangs"
    script.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nsleep 1000 &\nwait\n")
    script.chmod(0o755)
    fresh(monkeypatch, tmp_path / "cache", str(script))
    monkeypatch.setattr(build, "_PATIENCE", 0.5)
    rates = torch.full((3,), 0.1)
    began = time.monotonic()
    with pytest.raises(UserError, match="did not end within"):
        optimize(get("matyas"), (1.0, 1.0), SGD(lr=rates), steps=9, compile="always")
    assert time.monotonic() - began < 30
    group = int((tmp_path / "pid").read_text())
    assert not alive(group)  # nothing of it goes on


def test_a_warm_cache_needs_no_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_before: None
) -> None:
    def loss() -> Tensor:
        rates = torch.full((3,), 0.1)
        trace = optimize(get("matyas"), (1.0, 1.0), SGD(lr=rates), steps=9, compile="always")
        return recorded(trace.loss)

    (tmp_path / "bin").mkdir()
    compiler = tmp_path / "bin" / "mine"
    compiler.write_text('#!/bin/sh\nexec g++ "$@"\n')
    compiler.chmod(0o755)
    fresh(monkeypatch, tmp_path / "cache", str(compiler))
    first = loss()
    compiler.unlink()
    fresh(monkeypatch, tmp_path / "cache", str(compiler))
    assert torch.equal(loss(), first)
    fresh(monkeypatch, tmp_path / "another", str(compiler))
    with pytest.raises(UserError, match="there is no C\\+\\+ compiler"):
        loss()


@pytest.mark.slow  # a program of its own: 5 s
def test_without_the_vector_functions_of_torch_libm_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def many(point: Any) -> Any:
        x, y = point
        far = 1e-12 * (1e6 * y).sin() + x.tan()  # a sine of many turns, that moves nothing
        return x.exp() + x.tanh() * y.atan() + far + x.erf() + (x * x + 1) ** 1.7 + y.sinh()

    surface = from_function(many)(dim=2)
    starts = torch.linspace(0.1, 1.0, 40, dtype=torch.float64).reshape(2, 20)

    def losses(compile: Literal["always", "never"]) -> Tensor:
        trace = optimize(surface, starts, SGD(1e-3), steps=20, compile=compile)
        assert trace.loss is not None
        return trace.loss

    monkeypatch.setattr(build, "torch_has_sleef", lambda: False)
    build._command.cache_clear()
    try:
        torch.testing.assert_close(losses("always"), losses("never"), rtol=1e-13, atol=1e-13)
    finally:
        build._command.cache_clear()
