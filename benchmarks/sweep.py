"""Measures the time that a job of a sweep takes, beside a script that does not use gradexp.

    python benchmarks/sweep.py                 # 1,000 jobs, in about eight minutes
    python benchmarks/sweep.py --jobs 10000

The sweep has 25 learning rates (or more: one for every 40 jobs) × 10 momenta × 4 starts, with 1,000
steps on Rosenbrock; each job writes its folder and its TensorBoard file. The two sides run in turn,
each as a process of its own in an empty folder; one round warms up. The script (`by_hand.py`) makes
fewer of these jobs. Its figure leaves out its start, since it is the difference of two sweeps;
gradexp's figure is the total waiting time divided by the number of jobs. It prints milliseconds
per job (the median, and in brackets the minimum and the maximum), what the summary run adds, and
the peak memory of gradexp's processes together, measured in the first round.

Nothing is deleted before the end: ext4 does not reuse the inodes of deleted files for some minutes,
and after thousands of deletions it takes a millisecond to find one for a new file.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

BY_HAND = Path(__file__).with_name("by_hand.py")
MOMENTA = "0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9"
STARTS = ("[-1.2,1.0]", "[0.0,0.0]", "[-1.5,2.0]", "[1.5,-0.5]")
PER_RATE = len(MOMENTA.split(",")) * len(STARTS)


def spent(command: Sequence[str], place: Path) -> float:
    """Runs a command in a new folder below `place`, and returns how many seconds it took."""
    folder = Path(tempfile.mkdtemp(dir=place))
    begun = time.perf_counter()
    with (folder / "output").open("wb") as output:
        status = subprocess.run(command, cwd=folder, stdout=output, stderr=output).returncode
    seconds = time.perf_counter() - begun
    if status:
        raise SystemExit((folder / "output").read_text())
    return seconds


class Memory:
    """The peak memory of all descendants of this process together, in MB, within a ``with`` block.

    It is sampled every 0.1 s. Memory that processes share is counted once.
    """

    def __init__(self) -> None:
        self.most = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            self.most = max(self.most, sum(map(self._share, self._below(os.getpid()))))

    def _below(self, process: int) -> list[int]:
        try:
            tasks = list(Path(f"/proc/{process}/task").glob("*/children"))
            children = [int(child) for task in tasks for child in task.read_text().split()]
        except OSError:  # the process has ended
            return []
        return [*children, *(other for child in children for other in self._below(child))]

    @staticmethod
    def _share(process: int) -> float:
        try:
            text = Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:
            return 0.0
        found = re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)
        return int(found[1]) / 1024 if found else 0.0


def ours(jobs: int, place: Path, summary: bool = True) -> float:
    """Runs gradexp's sweep, and returns how many seconds it took."""
    return spent(
        [
            *(sys.executable, "-m", "gradexp", "run", "-m", "surface=rosenbrock", "steps=1000"),
            f"optimizer.lr=logspace(-5,-2,{jobs // PER_RATE})",
            f"optimizer.momentum={MOMENTA}",
            "init=point",
            f"init.point={','.join(STARTS)}",
            f"sweep.summary={str(summary).lower()}",
        ],
        place,
    )


def by_hand(rates: int, place: Path) -> float:
    """Runs the script's sweep over `rates` learning rates and all momenta, from one start."""
    chosen = ",".join(f"{10 ** (-5 + rate):g}" for rate in range(rates))
    command = [sys.executable, str(BY_HAND), "-m", f"lr={chosen}", f"momentum={MOMENTA}"]
    return spent(command, place)


def spread(values: Sequence[float]) -> str:
    return f"{median(values):.2f} [{min(values):.2f} - {max(values):.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--jobs", type=int, default=1000, help=f"a multiple of {PER_RATE}")
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds")
    given = parser.parse_args()
    if given.jobs < PER_RATE or given.jobs % PER_RATE:
        parser.error(f"--jobs must be a multiple of {PER_RATE}")
    with tempfile.TemporaryDirectory() as place:
        measure(given.jobs, given.rounds, Path(place))


def measure(jobs: int, rounds: int, place: Path) -> None:
    with Memory() as memory:
        ours(jobs, place)
    by_hand(1, place)
    each: list[float] = []
    hand: list[float] = []
    summary: list[float] = []
    for _ in range(rounds):
        few, whole, more = by_hand(1, place), ours(jobs, place), by_hand(3, place)
        bare = ours(jobs, place, summary=False)
        summary.append((whole / bare - 1) * 100)
        each.append(whole / jobs * 1e3)
        hand.append((more - few) / 20 * 1e3)
    print(f"gradexp: {spread(each)} ms a job, {memory.most:,.0f} MB, {jobs:,} jobs")
    print(f"of that the summary for TensorBoard: {spread(summary)} % of what the rest takes")
    print(f"by hand: {spread(hand)} ms a job")
    print(f"ratio: {median(hand) / median(each):.1f}")


if __name__ == "__main__":
    main()
