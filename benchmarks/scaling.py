"""Whether cost grows with the number of runs and steps and nothing else, and memory not at all.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --device cuda --runs 1e6,16777216     # a map of 4096 x 4096

Each number of runs has a process of its own, which makes them twice, compiled, keeping metrics
only, on Rosenbrock with SGD and a momentum of 0.9 in float32. Printed: the second time, its
nanoseconds a run and step, and the most memory that both took besides the starts, the learning
rates, and what is given back of each run (where it is computed: on CUDA the starts, too, are copied
there).
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from dataclasses import fields

import torch

from gradexp import optimize, surfaces
from gradexp.engine import Stop, Trace
from gradexp.optimizers import SGD

LITTLE = 32
"""Runs of the first call, after which all is there that calls share."""


def peak(device: str) -> int:
    """The most bytes that were used until now."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def made(runs: int, steps: int, device: str) -> Trace:
    """Runs with a learning rate each, none of which ends before its last step."""
    starts = torch.tensor([[-1.2], [1.0]]).expand(-1, runs)
    rates = torch.linspace(1e-5, 1e-4, runs)
    return optimize(
        surfaces.get("rosenbrock"),
        starts,
        SGD(lr=rates, momentum=0.9),
        steps=steps,
        stop=Stop(gradient=1e-300),
        record="metrics",
        dtype="float32",
        device=device,
        compile="always",
    )


def measure(runs: int, steps: int, device: str) -> None:
    """Prints the row of so many runs."""
    made(LITTLE, 10, device)  # what is needed once
    before = peak(device)
    for _ in range(2):
        begun = time.perf_counter()
        trace = made(runs, steps, device)
        assert int(trace.steps.min()) == steps
        spent = time.perf_counter() - begun
        kept = [getattr(trace, field.name) for field in fields(Trace)]
        given = 8 if device == "cuda" else 4  # bytes a run: starts, or learning rates
        own = sum(part.nbytes for part in kept if torch.is_tensor(part)) + given * runs
        del trace, kept
    besides = max(0, peak(device) - before - own)
    print(f"| {runs:,} | {steps:,} | {spent:.3f} | {spent / runs / steps * 1e9:.3f} |", end=" ")
    print(f"{own / 1e6:,.0f} | {besides / 1e6:,.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--runs", default="1e4,1e5,1e6,1e7")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        measure(int(given.runs), given.steps, given.device)
        return
    print("| runs | steps | seconds | ns a run and step | MB given back | MB besides |")
    print("|" + " ---: |" * 6, flush=True)
    for runs in given.runs.split(","):
        command = [sys.executable, __file__, "--alone", f"--runs={int(float(runs))}"]
        command += [f"--steps={given.steps}", f"--device={given.device}"]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
