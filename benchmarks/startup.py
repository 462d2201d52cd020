"""Measures how long commands take, beside the bare imports that they cannot do without.

Both sides of a pair run in turn, each as a process of its own, in an empty folder; one round warms
up. It prints seconds: the median, and in brackets the minimum and the maximum; then the difference
and the ratio of the medians, and the promised difference. The exit status is 1 if a difference is
larger than promised.

    python benchmarks/startup.py [--rounds N]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from statistics import median

PYTHON = [sys.executable, "-c"]
GRADEXP = [sys.executable, "-m", "gradexp"]

# name, command, what it is measured against, promised difference in seconds
PAIRS = [
    ("gradexp list", [*GRADEXP, "list"], "import hydra, omegaconf", 0.3),
    ("gradexp list surfaces", [*GRADEXP, "list", "surfaces"], "import hydra, omegaconf", 0.3),
    ("gradexp run steps=1000", [*GRADEXP, "run", "steps=1000"], "import torch, hydra", 1.5),
]


def seconds(command: list[str], folder: str) -> float:
    """Runs a command, and returns how many seconds it took."""
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - began


def spread(times: list[float]) -> str:
    return f"{median(times):.3f} [{min(times):.3f} - {max(times):.3f}]"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=9, help="measured rounds of each pair")
    rounds = parser.parse_args().rounds
    kept = True
    for name, command, imports, promised in PAIRS:
        ours, bare = [], []
        with tempfile.TemporaryDirectory() as folder:
            for index in range(rounds + 1):
                pair = seconds(command, folder), seconds([*PYTHON, imports], folder)
                if index > 0:
                    ours.append(pair[0])
                    bare.append(pair[1])
        difference = median(ours) - median(bare)
        kept = kept and difference <= promised
        print(f"{name}: {spread(ours)}")
        print(f"  {imports}: {spread(bare)}")
        ratio = median(ours) / median(bare)
        print(f"  difference {difference:+.3f} (promised {promised}), ratio {ratio:.2f}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
