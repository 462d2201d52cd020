"""Measures how time and memory grow with the number of runs.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --device cuda --runs 1e6,16777216     # a map of 4096 x 4096

Time should grow in proportion to runs × steps, and memory with what is returned and little else.
Each number of runs has a process of its own, which makes them twice, compiled, keeping only
metrics, on Rosenbrock in float32, with SGD and a momentum of 0.9. It prints the time of the second
call, in seconds and in nanoseconds per run and step; the memory of what is returned and of the
inputs (the starts on CUDA, the learning rates on the CPU); and the peak memory of both calls beyond
that.
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
"""runs of the first call, which loads what all calls share"""


def peak(device: str) -> int:
    """Returns the peak memory until now, in bytes."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def made(runs: int, steps: int, device: str) -> Trace:
    """Makes runs with different learning rates, none of which ends before its last step."""
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
    """Prints the row of the table for a number of runs."""
    made(LITTLE, 10, device)  # loads what all calls share
    before = peak(device)
    for _ in range(2):
        begun = time.perf_counter()
        trace = made(runs, steps, device)
        assert int(trace.steps.min()) == steps
        spent = time.perf_counter() - begun
        kept = [getattr(trace, field.name) for field in fields(Trace)]
        # Bytes per run: the starts on CUDA, the learning rates on the CPU.
        given = 8 if device == "cuda" else 4
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
