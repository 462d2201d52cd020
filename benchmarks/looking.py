"""Measures how long you wait to look at a sweep.

    python benchmarks/looking.py                  # a sweep of 1,000 jobs, in about two minutes
    python benchmarks/looking.py --jobs 10000

Makes a sweep on Rosenbrock (learning rates × 10 momenta × 4 starts). Then it measures each of these
`--rounds` times, after one warm-up: ``gradexp compare`` as a process; the figure of a trajectory,
drawn and encoded as PNG; the summary run for TensorBoard, without its imports; and the time that
TensorBoard takes from its start until it lists all runs. It prints seconds: the median, and in
brackets the minimum and the maximum.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from urllib.error import URLError
from urllib.request import urlopen

PER_RATE = 40


def make_sweep(folder: Path, jobs: int) -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "gradexp", "run", "-m", "steps=1000", "init=normal"),
            f"optimizer.lr=logspace(-5,-2,{jobs // PER_RATE})",
            "optimizer.momentum=linspace(0,0.9,10)",
            "seed=range(4)",
            f"hydra.sweep.dir={folder}",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def compare(folder: Path) -> None:
    command = [sys.executable, "-m", "gradexp", "compare", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def draw(folder: Path) -> None:
    from gradexp.config.build import recorded
    from gradexp.plots import draw_trajectory, png
    from gradexp.results import read_run

    run = folder / "0"
    png(draw_trajectory(recorded(run).surface, read_run(run)[0], title="a run"))


def sum_up(folder: Path) -> None:
    from gradexp.comparison.tensorboard_summary import write_tensorboard_summary

    write_tensorboard_summary(folder, time.time())


def list_runs(folder: Path) -> None:
    """Starts TensorBoard and waits until it lists all runs, including the summary."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(folder),
        "--port",
        str(port),
    ]
    runs = sum(1 for _ in folder.glob("*/events.out.tfevents.*"))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            until = time.monotonic() + 120
            listed = 0
            while listed < runs:
                if server.poll() is not None or time.monotonic() > until:
                    raise SystemExit("TensorBoard did not list the runs")
                time.sleep(0.05)
                try:
                    with urlopen(f"http://127.0.0.1:{port}/data/runs") as answer:
                        listed = len(json.load(answer))
                except URLError:
                    pass
        finally:
            server.kill()


def seconds(what: Callable[[Path], None], folder: Path, rounds: int) -> str:
    taken = []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        what(folder)
        taken.append(time.perf_counter() - begun)
    return f"{median(taken[1:]):.2f} [{min(taken[1:]):.2f} - {max(taken[1:]):.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--jobs", type=int, default=1000, help=f"a multiple of {PER_RATE}")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds")
    given = parser.parse_args()
    if given.jobs < PER_RATE or given.jobs % PER_RATE:
        parser.error(f"--jobs must be a multiple of {PER_RATE}")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "sweep"
        make_sweep(folder, given.jobs)
        print(f"{given.jobs:,} jobs, {os.cpu_count()} cores; seconds")
        for name, what in (
            ("gradexp compare", compare),
            ("trajectory figure", draw),
            ("summary run", sum_up),
            ("TensorBoard lists all", list_runs),
        ):
            print(f"{name}: {seconds(what, folder, given.rounds)}", flush=True)


if __name__ == "__main__":
    main()
