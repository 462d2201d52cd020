"""What a job of a sweep costs, beside the script that a person writes without gradexp.

    python benchmarks/sweep.py                 # 1,000 jobs, in about five minutes
    python benchmarks/sweep.py --jobs 10000

25 learning rates (or more: one for each 40 jobs) × 10 momenta × 4 starts, 1,000 steps on
Rosenbrock, each job with its folder and its TensorBoard file. Both sides are whole processes, in
turn, each in an empty folder; one round warms up. The script (`by_hand.py`) makes fewer of these
jobs, and what it takes to start is left out of its figure, which is the difference of two sweeps;
gradexp's is of all that a person waits for. Printed: milliseconds a job, median and in brackets
the least and the most, what the summary run adds, and the most memory that gradexp took.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

BY_HAND = Path(__file__).with_name("by_hand.py")
MOMENTA = "0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9"
STARTS = ("[-1.2,1.0]", "[0.0,0.0]", "[-1.5,2.0]", "[1.5,-0.5]")
PER_RATE = len(MOMENTA.split(",")) * len(STARTS)


class Spent(NamedTuple):
    """What a process took."""

    seconds: float
    megabytes: float


def spent(command: Sequence[str]) -> Spent:
    """Runs a command in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        with (Path(folder) / "output").open("wb") as output:
            process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        if status:
            raise SystemExit((Path(folder) / "output").read_text())
    return Spent(seconds, usage.ru_maxrss / 1024)


def ours(jobs: int, summary: bool = True) -> Spent:
    """gradexp's sweep."""
    return spent(
        [
            *(sys.executable, "-m", "gradexp", "run", "-m", "surface=rosenbrock", "steps=1000"),
            f"optimizer.lr=logspace(-5,-2,{jobs // PER_RATE})",
            f"optimizer.momentum={MOMENTA}",
            "init=point",
            f"init.point={','.join(STARTS)}",
            f"sweep.summary={str(summary).lower()}",
        ]
    )


def by_hand(rates: int) -> Spent:
    """The script's sweep: so many learning rates, and all momenta from one start."""
    chosen = ",".join(f"{10 ** (-5 + rate):g}" for rate in range(rates))
    return spent([sys.executable, str(BY_HAND), "-m", f"lr={chosen}", f"momentum={MOMENTA}"])


def spread(values: Sequence[float]) -> str:
    return f"{median(values):.2f} [{min(values):.2f} - {max(values):.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--jobs", type=int, default=1000, help=f"a multiple of {PER_RATE}")
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds")
    given = parser.parse_args()
    if given.jobs < PER_RATE or given.jobs % PER_RATE:
        parser.error(f"--jobs must be a multiple of {PER_RATE}")
    each: list[float] = []
    hand: list[float] = []
    memory: list[float] = []
    summary: list[float] = []
    for index in range(given.rounds + 1):
        few, whole, more = by_hand(1), ours(given.jobs), by_hand(3)
        bare = ours(given.jobs, summary=False)
        if index > 0:
            summary.append((whole.seconds / bare.seconds - 1) * 100)
            each.append(whole.seconds / given.jobs * 1e3)
            hand.append((more.seconds - few.seconds) / 20 * 1e3)
            memory.append(whole.megabytes)
    print(f"gradexp: {spread(each)} ms a job, {max(memory):,.0f} MB, {given.jobs:,} jobs")
    print(f"of that the summary for TensorBoard: {spread(summary)} % of what the rest takes")
    print(f"by hand: {spread(hand)} ms a job")
    print(f"ratio: {median(hand) / median(each):.1f}")


if __name__ == "__main__":
    main()
