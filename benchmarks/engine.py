"""Measures the engine beside ``torch.optim``, optax, JAX written by hand and the hardware's limits;
and what other rules, schedules and noise add to its steps.

    python benchmarks/engine.py                        # the table of docs/benchmarks.md
    python benchmarks/engine.py --surfaces rosenbrock --batches 100,10000 --rounds 9
    python benchmarks/engine.py --optimizers adam,rmsprop --batches 1,1e5
    python benchmarks/engine.py --device cuda
    python benchmarks/engine.py --rules                # the table of rules, schedules and noises
    python benchmarks/engine.py --rules --optimizers adam --with cosine,gaussian

Every figure is in nanoseconds per run and step: the median over the rounds, and in brackets the
minimum and the maximum. In each round the sides take turns; each has run twice before with the same
sizes.

The first table has a row for each case. Compile times are printed separately, in seconds; gradexp's
are measured with an empty cache. The sides:

    torch.optim   a loop over torch.optim's class for the rule, with autograd, for one run
    eager         gradexp.optimize(..., compile="never")
    compiled      gradexp.optimize(..., compile="always"), with its stop tests and online metrics
    optax         jit(vmap(scan)) over optax's rule with the same settings
    JAX           SGD written by hand over separate coordinate arrays, in one scan (over one array
                  (dim, B) from 100 dimensions on, where separate arrays take minutes to compile)
    floor         the larger of two times: to copy the bytes that are recorded, and to do the
                  arithmetic (loss, gradient and update, as in the traced graph) at the measured
                  rate of fused multiply-adds

The second table (--rules) measures only the compiled side, and optax without the additions. After
×, each figure is followed by the median, minimum and maximum of its ratios to the plain side in the
same rounds. The sides:

    plain             the rule itself
    cosine            schedule=Cosine: of the learning rate, over all steps
    warmup_cosine     schedule=WarmupCosine: the same, after a warm-up over a tenth of the steps
    gaussian          noise=Gaussian: a different seed for each run
    gaussian_common   noise=Gaussian: one seed, so that all runs see the same noise
    optax             as above

The number of steps, 10 to 10,000, is chosen so that each call makes about --work coordinate steps
and records at most --memory bytes. Starts and learning rates are on the device that computes.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax
import optax
import torch

from benchmarks.floors import copy_rate, floor, multiply_add_rate, multiply_add_rate_of_cuda
from benchmarks.jax_sides import by_hand, with_optax
from benchmarks.sides import building, compiled, eager, torch_loop
from benchmarks.timing import REST, measured, shown, times
from benchmarks.work import ADDED, Work
from gradexp.processes.environment import AT_START

CHOICES = {
    "optimizers": "sgd",
    "surfaces": "rosenbrock,rastrigin",
    "dtypes": "float32,float64",
    "momenta": "0.9",
    "records": "loss",
    "batches": "1,100,10000,100000,1000000",
}
"""Values of the options that are not given, where another one is."""

OF_RULES = {"optimizers": "adam,rmsprop,sgd", "surfaces": "rosenbrock", "batches": "100000"}
"""Values that differ from these in the table of rules."""


def steps_for(work: Work, units: float, memory: float) -> int:
    """Returns the number of steps with which a call makes about `units` coordinate steps.

    It is 10 to 10,000, or fewer if the call would otherwise record more than `memory` bytes; it is
    1,000 for a single run.
    """
    steps = min(10_000, max(10, int(units / (work.batch * work.dim))))
    if work.record == "loss":
        steps = min(steps, int(memory / (work.batch * work.size)))
    return 1000 if work.batch == 1 else steps


def of_the_readme() -> Iterator[Work]:
    """Yields the cases of the table in docs/benchmarks.md."""
    for surface, dtype in itertools.product(("rosenbrock", "rastrigin"), ("float32", "float64")):
        for batch in (1, 100, 10_000, 100_000, 1_000_000):
            yield Work(surface, 2, 0.9, dtype, "loss", batch, 0)
        for batch in (100, 1_000_000):
            yield Work(surface, 2, 0.9, dtype, "metrics", batch, 0)
        yield Work(surface, 2, 0.0, dtype, "loss", 100_000, 0)
    for dim, batches in ((20, (1, 100, 10_000, 1_000_000)), (100, (100, 10_000)), (1000, (1000,))):
        for dtype, batch in itertools.product(("float32", "float64"), batches):
            # With fewer steps, starting and ending would dominate.
            steps = 250 if batch == 1_000_000 else 0
            yield Work("quadratic", dim, 0.9, dtype, "loss", batch, steps)
    for dtype in ("float32", "float64"):
        yield Work("quadratic", 20, 0.0, dtype, "metrics", 10_000, 0)


def asked_for(given: argparse.Namespace) -> Iterator[Work]:
    """Yields the cases that the options ask for."""
    usual = CHOICES | (OF_RULES if given.rules else {})
    rules, names, dtypes, momenta, records, batches = (
        (getattr(given, option) or usual[option]).split(",") for option in CHOICES
    )
    for rule in rules:
        own = momenta if rule == "sgd" else ["0"]
        for name, dtype, momentum, record, batch in itertools.product(
            names, dtypes, own, records, batches
        ):
            surface = name.rstrip("0123456789")
            dim, runs = int(name.removeprefix(surface) or 2), int(float(batch))
            yield Work(surface, dim, float(momentum), dtype, record, runs, 0, optimizer=rule)


def chosen(given: argparse.Namespace) -> Iterator[Work]:
    """Yields the cases of the table, with their numbers of steps."""
    every = given.rules or any(getattr(given, option) for option in CHOICES)
    for work in asked_for(given) if every else of_the_readme():
        steps = work.steps or steps_for(work, given.work, given.memory)
        yield replace(work, steps=steps, device=given.device)


def case(work: Work, with_rule: bool) -> list[str]:
    """Returns the first cells of a row, which name the case."""
    name = f"{work.surface}{work.dim}" if work.surface == "quadratic" else work.surface
    momentum = str(work.momentum) if work.optimizer == "sgd" else ""
    cells = [name, work.dtype, momentum, work.record, f"{work.batch:,}", f"{work.steps:,}"]
    return [work.optimizer, *cells] if with_rule else cells


def heading(with_rule: bool, columns: list[str]) -> None:
    names = ["surface", "dtype", "momentum", "recorded", "runs", "steps", *columns]
    names = ["optimizer", *names] if with_rule else names
    row(names)
    print("|" + " --- |" * len(names), flush=True)


def row(cells: list[str]) -> None:
    print("|", *[f"{cell} |" for cell in cells], flush=True)


def table_of_sides(given: argparse.Namespace) -> None:
    """Prints the table of all sides, and their compile times."""
    copied = copy_rate(given.device)
    rate = multiply_add_rate if given.device == "cpu" else multiply_add_rate_of_cuda
    multiplied = {dtype: rate(dtype) for dtype in ("float32", "float64")}
    print(f"copies write {copied:.1f} bytes/ns; multiply-adds/ns: {multiplied}")
    names = ("torch.optim", "eager", "compiled", "optax", "JAX")
    ratios = ("optax / compiled", "JAX / compiled", "compiled / floor")
    with_rule = given.optimizers is not None
    heading(with_rule, [*names, "floor", *ratios])
    compiling: dict[str, list[float]] = {"gradexp": [], "optax": [], "JAX": []}
    built = set()
    for work in chosen(given):
        sides: dict[str, Callable[[], Any]] = {}
        if work.batch == 1 and given.device == "cpu":
            sides["torch.optim"] = torch_loop(work)
        if work.batch * work.dim * work.steps <= 2e7 and given.device == "cpu":
            sides["eager"] = eager(work)
        sides["compiled"] = compiled(work)
        structure = (work.optimizer, work.surface, work.dim, work.momentum, work.dtype)
        if structure not in built:
            built.add(structure)
            compiling["gradexp"].append(building(work))
        jax_sides = {"optax": with_optax} | ({"JAX": by_hand} if work.optimizer == "sgd" else {})
        for side, make in jax_sides.items():
            sides[side], spent = make(work)
            compiling[side].append(spent)
        figures = measured(sides, given.rounds, work.batch * work.steps, REST[given.device])
        least = floor(work, copied, multiplied)
        middle = {side: statistics.median(values) for side, values in figures.items()}
        cells = [shown(figures[side]) if side in figures else "" for side in names]
        cells.append(f"{least:.3f}")
        for side in ("optax", "JAX"):
            cells.append(f"{middle[side] / middle['compiled']:.1f}" if side in middle else "")
        cells.append(f"{middle['compiled'] / least:.1f}" if least else "")
        row([*case(work, with_rule), *cells])
    for side, seconds in compiling.items():
        if seconds:
            print(f"{side} compiled a case in {shown(seconds)} s")


def table_of_rules(given: argparse.Namespace) -> None:
    """Prints the table of what schedules and noise add to the compiled step of each rule."""
    added = [name for name in (given.added or ",".join(ADDED)).split(",") if name != "none"]
    heading(True, ["plain", *added, "optax"])
    for work in chosen(given):
        sides = {"plain": compiled(work)}
        sides |= {name: compiled(replace(work, added=name)) for name in added}
        sides["optax"], _ = with_optax(work)
        figures = measured(sides, given.rounds, work.batch * work.steps, REST[given.device])
        plain = figures.pop("plain")
        beside = [times(values, plain) for values in figures.values()]
        row([*case(work, True), shown(plain), *beside])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--optimizers", help="sgd, adam, rmsprop")
    parser.add_argument("--surfaces", help="such as rosenbrock,quadratic20")
    parser.add_argument("--batches", help="such as 100,1e6")
    parser.add_argument("--dtypes", help="float32, float64")
    parser.add_argument("--momenta", help="such as 0,0.9; of sgd")
    parser.add_argument("--records", help="loss, metrics")
    parser.add_argument("--rules", action="store_true", help="the table of what is added to a step")
    parser.add_argument("--with", dest="added", help=f"its columns: none, {', '.join(ADDED)}")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=float, help="coordinate steps a call; 1e9, on CUDA 8e9")
    parser.add_argument("--memory", type=float, help="bytes recorded a call, at most; 2e9, 16e9")
    given = parser.parse_args()
    given.rules = given.rules or given.added is not None
    larger = 8 if given.device == "cuda" else 1
    given.work, given.memory = given.work or 1e9 * larger, given.memory or 2e9 * larger
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")  # leaves the other half to torch
    jax.config.update("jax_platforms", given.device)
    jax.config.update("jax_enable_x64", True)
    with tempfile.TemporaryDirectory() as empty:
        AT_START["GRADEXP_CACHE"] = empty
        print(
            f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {given.device}; "
            f"torch {torch.__version__}, jax {jax.__version__}, optax {optax.__version__}"
        )
        (table_of_rules if given.rules else table_of_sides)(given)


if __name__ == "__main__":
    main()
