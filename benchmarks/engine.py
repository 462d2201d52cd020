"""How fast the engine is, beside ``torch.optim``, optax, JAX written by hand, and the machine.

    python benchmarks/engine.py                        # the table of the README
    python benchmarks/engine.py --surfaces rosenbrock --batches 100,10000 --rounds 9
    python benchmarks/engine.py --device cuda

Every figure is nanoseconds a run and step: the median over the rounds, and in brackets the least
and the most. In each round the sides take turns; each has run once before with the same sizes.
Compile times are apart, in seconds; gradexp's are of an empty cache. The sides:

    torch.optim   a loop over torch.optim.SGD with autograd, for one run
    eager         gradexp.optimize(..., compile="never")
    compiled      gradexp.optimize(..., compile="always"): with its stops and online metrics
    optax         jit(vmap(scan)) over optax.sgd
    JAX           the same rule by hand over separate coordinate arrays, in one scan (over one
                  array (dim, B) from 100 dimensions on, where those take minutes to compile)
    floor         the larger of the time to copy the bytes that are recorded, and of the time of
                  the arithmetic (loss, gradient and update, as the traced graph has it) at the
                  measured rate of fused multiply-adds

Steps are chosen so that each call makes about --work coordinate steps, 10 to 10,000 of them, and
records no more than --memory bytes. Starts and learning rates are where the work is done.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from gradexp import optimize, surfaces
from gradexp.engine import Stop
from gradexp.engine.native.build import build
from gradexp.engine.native.nvrtc import DriverKernel, architecture, machine_code
from gradexp.engine.native.program import trace
from gradexp.optimizers import SGD
from gradexp.surfaces import Surface, value_and_gradient

_REST = {"cpu": 0.7, "cuda": 0.0}
"""Seconds between two calls: JAX gives its memory back in the background, 0.1 s for a gigabyte,
which is no time of the next side; the first 0.5 s after it are slower by half."""

LEARNING_RATES = {"rosenbrock": 1e-4, "rastrigin": 1e-4, "quadratic": 1e-5}

SINE_AND_COSINE = {"float32": 14, "float64": 20}
"""Multiply-adds of both of one angle: less its quarter turns, and a polynomial each."""


@dataclass(frozen=True)
class Work:
    """One case: what every side computes."""

    surface: str
    dim: int
    momentum: float
    dtype: str
    record: str
    batch: int
    steps: int
    device: str = "cpu"

    @property
    def torch_surface(self) -> Surface:
        sized = self.surface == "quadratic"
        return surfaces.get(self.surface, **({"dim": self.dim} if sized else {}))

    def rates(self) -> torch.Tensor:
        """A decade of stable learning rates, one a run."""
        top = LEARNING_RATES[self.surface]
        spread = torch.logspace(-1, 0, self.batch, dtype=torch.float64) * top
        return spread.to(getattr(torch, self.dtype))

    def starts(self) -> torch.Tensor:
        start = torch.tensor(self.torch_surface.start, dtype=getattr(torch, self.dtype))
        return start[:, None].expand(-1, self.batch).contiguous()


def compiled(work: Work, compile: str = "always") -> Callable[[], Any]:
    rates, starts = work.rates().to(work.device), work.starts().to(work.device)
    surface = work.torch_surface

    def run() -> Any:
        found = optimize(
            surface,
            starts,
            SGD(lr=rates, momentum=work.momentum),
            steps=work.steps,
            stop=Stop(gradient=1e-300),  # looked for, and never met
            record=work.record,  # type: ignore[arg-type]
            dtype=work.dtype,
            device=work.device,
            compile=compile,  # type: ignore[arg-type]
        )
        assert found.engine == ("compiled" if compile == "always" else "eager")
        assert int(found.steps.min()) == work.steps, "a run ended early"
        return found

    return run


def building(work: Work) -> float:
    """The seconds that the first call of a structure takes more than the second."""
    run = compiled(replace(work, batch=100, steps=10))
    spent = []
    for _ in range(2):
        begun = time.perf_counter()
        run()
        spent.append(time.perf_counter() - begun)
    return spent[0] - spent[1]


def eager(work: Work) -> Callable[[], Any]:
    return compiled(work, "never")


def torch_loop(work: Work) -> Callable[[], Any]:
    surface, rate = work.torch_surface, float(work.rates()[0])

    def run() -> Any:
        point = work.starts()[:, 0].clone().requires_grad_()
        optimizer = torch.optim.SGD([point], lr=rate, momentum=work.momentum)
        losses = []
        for _ in range(work.steps):
            optimizer.zero_grad()
            loss = surface.value(point)
            torch.autograd.backward(loss)
            losses.append(loss.item())
            optimizer.step()
        return losses

    return run


def jax_value(work: Work, coordinates: list[Any]) -> Any:
    """The surface over separate coordinates, as its class has it."""
    if work.surface == "rosenbrock":
        x, y = coordinates
        return 100 * (y - x**2) ** 2 + (1 - x) ** 2
    if work.surface == "rastrigin":
        terms = [x**2 - 10 * jnp.cos(2 * jnp.pi * x) for x in coordinates]
        return 10 * len(terms) + sum(terms[1:], terms[0])
    powers = [10 ** (i / (work.dim - 1)) for i in range(work.dim)]
    terms = [k * x**2 for k, x in zip(powers, coordinates, strict=True)]
    return 0.5 * sum(terms[1:], terms[0])


def jax_value_of_array(work: Work, point: Any) -> Any:
    """The surface over one array a run, as a user of optax writes it."""
    if work.surface == "rosenbrock":
        return 100 * (point[1] - point[0] ** 2) ** 2 + (1 - point[0]) ** 2
    if work.surface == "rastrigin":
        return 10 * work.dim + (point**2 - 10 * jnp.cos(2 * jnp.pi * point)).sum()
    powers = 10 ** (jnp.arange(work.dim, dtype=point.dtype) / (work.dim - 1))
    return 0.5 * (powers * point**2).sum()


def jitted(function: Any, arguments: tuple[Any, ...]) -> tuple[Callable[[], Any], float]:
    """A call of the compiled function, and the seconds it took to compile."""
    begun = time.perf_counter()
    ready = jax.jit(function).lower(*arguments).compile()
    spent = time.perf_counter() - begun
    return lambda: jax.block_until_ready(ready(*arguments)), spent


def with_optax(work: Work) -> tuple[Callable[[], Any], float]:
    def one(rate: Any, start: Any) -> Any:
        rule = optax.sgd(rate, momentum=work.momentum or None)

        def step(carried: Any, _: Any) -> Any:
            point, state, best = carried
            loss, gradient = jax.value_and_grad(lambda p: jax_value_of_array(work, p))(point)
            updates, state = rule.update(gradient, state)
            point = optax.apply_updates(point, updates)
            kept = loss if work.record == "loss" else None
            return (point, state, jnp.minimum(best, loss)), kept

        begin = (start, rule.init(start), jnp.asarray(jnp.inf, start.dtype))
        (point, _, best), losses = jax.lax.scan(step, begin, None, length=work.steps)
        return point, best, losses

    starts = jnp.asarray(work.starts().T.contiguous().numpy())
    return jitted(jax.vmap(one), (jnp.asarray(work.rates().numpy()), starts))


def by_hand_in_one(work: Work) -> tuple[Callable[[], Any], float]:
    """As `by_hand`, of a quadratic over one array ``(dim, B)``."""
    powers = 10 ** (np.arange(work.dim) / (work.dim - 1))

    def all_at_once(rates: Any, start: Any) -> Any:
        scale = jnp.asarray(powers, start.dtype)[:, None]

        def value(x: Any) -> Any:
            return 0.5 * (scale * x**2).sum(axis=0)

        def step(carried: Any, _: Any) -> Any:
            point, velocity, best = carried
            loss, pull = jax.vjp(value, point)
            (gradient,) = pull(jnp.ones_like(loss))
            if work.momentum:
                velocity = gradient = work.momentum * velocity + gradient
            kept = loss if work.record == "loss" else None
            return (point - rates * gradient, velocity, jnp.minimum(best, loss)), kept

        begin = (start, jnp.zeros_like(start), jnp.full_like(rates, jnp.inf))
        (point, _, best), losses = jax.lax.scan(step, begin, None, length=work.steps)
        return point, best, losses

    start = jnp.asarray(work.starts().numpy())
    return jitted(all_at_once, (jnp.asarray(work.rates().numpy()), start))


def by_hand(work: Work) -> tuple[Callable[[], Any], float]:
    if work.dim >= 100:
        return by_hand_in_one(work)

    def all_at_once(rates: Any, *start: Any) -> Any:
        def step(carried: Any, _: Any) -> Any:
            points, velocities, best = carried
            loss, pull = jax.vjp(lambda *x: jax_value(work, list(x)), *points)
            gradient = pull(jnp.ones_like(loss))
            if work.momentum:
                both = zip(velocities, gradient, strict=True)
                velocities = gradient = tuple(work.momentum * v + g for v, g in both)
            points = tuple(x - rates * g for x, g in zip(points, gradient, strict=True))
            kept = loss if work.record == "loss" else None
            return (points, velocities, jnp.minimum(best, loss)), kept

        still = tuple(jnp.zeros_like(x) for x in start) if work.momentum else ()
        begin = (start, still, jnp.full_like(rates, jnp.inf))
        (points, _, best), losses = jax.lax.scan(step, begin, None, length=work.steps)
        return points, best, losses

    starts = [jnp.asarray(row.numpy()) for row in work.starts()]
    return jitted(all_at_once, (jnp.asarray(work.rates().numpy()), *starts))


def copy_rate(device: str) -> float:
    """Bytes a nanosecond that a large copy writes."""
    source = torch.ones(2**26, device=device)
    target = source.clone()

    def once() -> float:
        begun = time.perf_counter()
        target.copy_(source)
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begun

    return source.nbytes / statistics.median(once() for _ in range(9)) / 1e9


_MULTIPLY_ADD = """
using real = {real};
constexpr int GROUPS = 1;
#include "lanes.hpp"
static real chains(int64_t count) {{
  real x[16 * LANES];
  for (auto& one : x) one = real(0.5);
  for (int64_t i = 0; i < count; ++i)
    for (auto& one : x) one = std::fma(one, real(0.999), real(0.001));
  real sum = 0;
  for (auto one : x) sum += one;
  return sum;
}}
extern "C" double run(int64_t count, int64_t threads) {{
  double sum = 0;
#pragma omp parallel num_threads(int(threads)) reduction(+ : sum)
  sum += chains(count);
  return sum + LANES * 0.0;
}}
extern "C" int64_t numbers() {{ return 16 * LANES; }}
"""


_MULTIPLY_ADD_CUDA = """
extern "C" __global__ void run({real}* sums, long long count) {{
  const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  {real} x[16];
  for (auto& one : x) one = {real}(at);
  for (long long i = 0; i < count; ++i)
#pragma unroll
    for (auto& one : x) one = fma(one, {real}(0.999), {real}(0.001));
  for (int i = 1; i < 16; ++i) x[0] += x[i];
  sums[at] = x[0];
}}
"""


def multiply_add_rate_of_cuda(dtype: str) -> float:
    """The same of a device: threads enough to hide the latency of each."""
    source = _MULTIPLY_ADD_CUDA.format(real={"float32": "float", "float64": "double"}[dtype])
    kernel = DriverKernel(machine_code(source, {}, architecture()))
    threads, count = 2**20, 10**4
    sums = torch.empty(threads, dtype=getattr(torch, dtype), device="cuda")

    def once() -> float:
        begun = time.perf_counter()
        kernel.launch(threads, [sums.data_ptr()], [count])
        torch.cuda.synchronize()
        return time.perf_counter() - begun

    once()
    return 16.0 * threads * count / min(once() for _ in range(5)) / 1e9


def multiply_add_rate(dtype: str) -> float:
    """Fused multiply-adds a nanosecond, on all threads, of chains that fill the registers."""
    library = build(_MULTIPLY_ADD.format(real={"float32": "float", "float64": "double"}[dtype]))
    library.run.restype, library.run.argtypes = ctypes.c_double, [ctypes.c_int64] * 2
    count, threads = 10**7, torch.get_num_threads()

    def once() -> float:
        begun = time.perf_counter()
        library.run(count, threads)
        return time.perf_counter() - begun

    once()
    best = min(once() for _ in range(5))
    return float(library.numbers()) * count * threads / best / 1e9


def arithmetic(work: Work) -> float:
    """Operations on numbers in a step of one run: loss, gradient and update."""
    surface, rule = work.torch_surface, SGD(lr=1e-3, momentum=work.momentum)

    def step(point: torch.Tensor, velocity: torch.Tensor) -> Any:
        points = tuple(point.unbind(0))
        loss, gradient = value_and_gradient(surface, points)
        velocities = tuple(velocity.unbind(0))
        following, state = rule.update(points, gradient, type(rule.init(points))(velocities), 1)
        return loss, *following, *state.velocity

    point = torch.ones(work.dim, 131, dtype=torch.float64)
    counted = 0.0
    for node in trace(step, [point, point]).graph.nodes:
        name = str(node.target)
        moves = any(
            word in name for word in ("select", "full", "expand", "view", "alias", "unbind")
        )
        if node.op == "call_function" and not moves and node.meta["val"].numel() >= 131:
            wave = "aten.sin" in name or "aten.cos" in name  # both of one angle, as gradients have
            counted += SINE_AND_COSINE[work.dtype] / 2 if wave else 1
    return counted


def floor(work: Work, copied: float, multiplied: dict[str, float]) -> float:
    size = 4 if work.dtype == "float32" else 8
    written = size / copied if work.record == "loss" else 0.0
    return max(written, arithmetic(work) / multiplied[work.dtype])


def measured(
    sides: dict[str, Callable[[], Any]], rounds: int, units: int, rest: float
) -> dict[str, list[float]]:
    """Nanoseconds a unit of each side in each round, in turn, after two of each unmeasured; what
    takes less than 0.1 s is called again and again so long."""
    calls = {}
    for name, run in sides.items():
        result = run()
        begun = time.perf_counter()
        result = run()  # while the first result is there, as when it is measured
        calls[name] = max(1, int(0.1 / (time.perf_counter() - begun)))
        del result
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            begun = time.perf_counter()
            for _ in range(calls[name]):
                result = run()
            spent[name].append((time.perf_counter() - begun) / units / calls[name] * 1e9)
            del result
            time.sleep(rest)
    return spent


def shown(values: list[float]) -> str:
    middle = statistics.median(values)
    digits = 0 if middle >= 1000 else 1 if middle >= 100 else 2 if middle >= 0.1 else 4
    return f"{middle:,.{digits}f} [{min(values):,.{digits}f}-{max(values):,.{digits}f}]"


def steps_for(work: Work, units: float, memory: float) -> int:
    """So many that a call makes about `units` coordinate steps, and records no more than
    `memory` bytes."""
    steps = min(10_000, max(10, int(units / (work.batch * work.dim))))
    if work.record == "loss":
        size = 4 if work.dtype == "float32" else 8
        steps = min(steps, int(memory / (work.batch * size)))
    return 1000 if work.batch == 1 else steps


def of_the_readme() -> Iterator[Work]:
    """The cases of the README's table."""
    for surface, dtype in itertools.product(("rosenbrock", "rastrigin"), ("float32", "float64")):
        for batch in (1, 100, 10_000, 100_000, 1_000_000):
            yield Work(surface, 2, 0.9, dtype, "loss", batch, 0)
        for batch in (100, 1_000_000):
            yield Work(surface, 2, 0.9, dtype, "metrics", batch, 0)
        yield Work(surface, 2, 0.0, dtype, "loss", 100_000, 0)
    for dim, batches in ((20, (1, 100, 10_000, 1_000_000)), (100, (100, 10_000)), (1000, (1000,))):
        for dtype, batch in itertools.product(("float32", "float64"), batches):
            steps = 250 if batch == 1_000_000 else 0  # fewer are less than to begin and to end
            yield Work("quadratic", dim, 0.9, dtype, "loss", batch, steps)
    for dtype in ("float32", "float64"):
        yield Work("quadratic", 20, 0.0, dtype, "metrics", 10_000, 0)


def chosen(given: argparse.Namespace) -> Iterator[Work]:
    """The cases that the options ask for."""
    asked = (given.surfaces, given.dtypes, given.momenta, given.records, given.batches)
    if not any(asked):
        yield from of_the_readme()
        return
    axes = (
        (given.surfaces or "rosenbrock,rastrigin").split(","),
        (given.dtypes or "float32,float64").split(","),
        [float(m) for m in (given.momenta or "0.9").split(",")],
        (given.records or "loss").split(","),
        [int(float(b)) for b in (given.batches or "1,100,10000,100000,1000000").split(",")],
    )
    for name, dtype, momentum, record, batch in itertools.product(*axes):
        surface = name.rstrip("0123456789")
        yield Work(surface, int(name.removeprefix(surface) or 2), momentum, dtype, record, batch, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--surfaces", help="such as rosenbrock,quadratic20")
    parser.add_argument("--batches", help="such as 100,1e6")
    parser.add_argument("--dtypes", help="float32, float64")
    parser.add_argument("--momenta", help="such as 0,0.9")
    parser.add_argument("--records", help="loss, metrics")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=float, help="coordinate steps a call; 1e9, on CUDA 8e9")
    parser.add_argument("--memory", type=float, help="bytes recorded a call, at most; 2e9, 16e9")
    given = parser.parse_args()
    larger = 8 if given.device == "cuda" else 1
    given.work, given.memory = given.work or 1e9 * larger, given.memory or 2e9 * larger
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")  # the other half is torch's
    jax.config.update("jax_platforms", given.device)
    jax.config.update("jax_enable_x64", True)
    with tempfile.TemporaryDirectory() as empty:
        os.environ["GRADEXP_CACHE"] = empty
        run(given)


def run(given: argparse.Namespace) -> None:
    """Measures, and prints the table."""
    print(
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {given.device}; "
        f"torch {torch.__version__}, jax {jax.__version__}, optax {optax.__version__}"
    )
    copied = copy_rate(given.device)
    rate = multiply_add_rate if given.device == "cpu" else multiply_add_rate_of_cuda
    multiplied = {dtype: rate(dtype) for dtype in ("float32", "float64")}
    print(f"copies write {copied:.1f} bytes/ns; multiply-adds/ns: {multiplied}")
    names = ("torch.optim", "eager", "compiled", "optax", "JAX", "floor")
    print("| surface | dtype | momentum | recorded | runs | steps |", " | ".join(names), end=" |")
    print(" optax / compiled | JAX / compiled | compiled / floor |")
    print("|" + " --- |" * (6 + len(names) + 3))
    compiling: dict[str, list[float]] = {"gradexp": [], "optax": [], "JAX": []}
    built = set()
    for case in chosen(given):
        steps = case.steps or steps_for(case, given.work, given.memory)
        work = replace(case, steps=steps, device=given.device)
        sides: dict[str, Callable[[], Any]] = {}
        if work.batch == 1 and given.device == "cpu":
            sides["torch.optim"] = torch_loop(work)
        if work.batch * work.dim * steps <= 2e7 and given.device == "cpu":
            sides["eager"] = eager(work)
        sides["compiled"] = compiled(work)
        structure = (work.surface, work.dim, work.momentum, work.dtype)
        if structure not in built:
            built.add(structure)
            compiling["gradexp"].append(building(work))
        for side, make in (("optax", with_optax), ("JAX", by_hand)):
            sides[side], spent = make(work)
            compiling[side].append(spent)
        figures = measured(sides, given.rounds, work.batch * steps, _REST[given.device])
        least = floor(work, copied, multiplied)
        middle = {side: statistics.median(values) for side, values in figures.items()}
        cells = [shown(figures[side]) if side in figures else "" for side in names[:-1]]
        ratios = [middle[side] / middle["compiled"] for side in ("optax", "JAX")]
        name = f"{work.surface}{work.dim}" if work.surface == "quadratic" else work.surface
        print(f"| {name} | {work.dtype} | {work.momentum} | {work.record} |", end=" ")
        print(f"{work.batch:,} | {steps:,} |", " | ".join([*cells, f"{least:.3f}"]), end=" | ")
        print(f"{ratios[0]:.1f} | {ratios[1]:.1f} |", end=" ")
        print(f"{middle['compiled'] / least:.1f} |" if least else "|", flush=True)
    for side, seconds in compiling.items():
        print(f"{side} compiled a case in {shown(seconds)} s")


if __name__ == "__main__":
    main()
