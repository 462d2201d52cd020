"""Writes the TensorBoard run that sums a sweep up, in a process that was made ready meanwhile."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from gradexp.processes.workers import ForkedWorker
from gradexp.sweeps.status import SweepStatus

log = logging.getLogger(__name__)

Overview = ForkedWorker[tuple[Path, float]]
"""Writes the TensorBoard run of a sweep's folder, which began so many seconds after 1970."""


def overview_of(config: DictConfig) -> Overview | nullcontext[None]:
    """What writes the sweep's TensorBoard run, where one is wanted.

    It is not among those that hold the sweep: were this process killed, it would hold it longer.
    """
    keys = ("sweep.summary", "log.tensorboard")
    if not all(OmegaConf.select(config, key, default=False) for key in keys):
        return nullcontext()
    return ForkedWorker(_make_ready, _write_overview)


def _make_ready() -> None:
    # pandas and matplotlib take a second
    from gradexp.comparison.tensorboard_summary import warm_up

    warm_up()


def _write_overview(asked: tuple[Path, float]) -> None:
    from gradexp.comparison.tensorboard_summary import write_tensorboard_summary

    write_tensorboard_summary(*asked)


def sum_up(status: SweepStatus, started: float, overview: Overview | None) -> None:
    """Writes the sweep's TensorBoard run, where there is something to compare."""
    if overview is None or len(status.rows) < len(status.failed) + 2:
        return
    reason = overview.do((status.folder, started))
    if reason is not None:  # the runs are there all the same
        log.warning(f"no summary for TensorBoard: {reason}")
