"""Writes the TensorBoard run that summarizes a sweep, in a process that is prepared beforehand."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from gradexp.processes.workers import ForkedWorker
from gradexp.sweeps.status import SweepStatus

log = logging.getLogger(__name__)

Overview = ForkedWorker[tuple[Path, float]]
"""A worker that writes the TensorBoard run of a sweep, given the sweep's folder and the time of its
start in seconds since 1970."""


def overview_of(config: DictConfig) -> Overview | nullcontext[None]:
    """Returns the worker that writes the sweep's TensorBoard run, or a context of None.

    There is a worker if the config asks for both TensorBoard and the summary. Start it before the
    sweep's lock is taken: a worker that inherits the lock may hold it after this process is killed.
    """
    keys = ("sweep.summary", "log.tensorboard")
    if not all(OmegaConf.select(config, key, default=False) for key in keys):
        return nullcontext()
    return ForkedWorker(_make_ready, _write_overview)


def _make_ready() -> None:
    # importing pandas and matplotlib takes a second
    from gradexp.comparison.tensorboard_summary import warm_up

    warm_up()


def _write_overview(asked: tuple[Path, float]) -> None:
    from gradexp.comparison.tensorboard_summary import write_tensorboard_summary

    write_tensorboard_summary(*asked)


def sum_up(status: SweepStatus, started: float, overview: Overview | None) -> None:
    """Writes the sweep's TensorBoard run if at least two jobs have ended without failing.

    Args:
        status: the jobs of the sweep.
        started: when the sweep started, in seconds since 1970.
        overview: the worker that writes the run; None if none is wanted.
    """
    if overview is None or len(status.rows) < len(status.failed) + 2:
        return
    reason = overview.do((status.folder, started))
    if reason is not None:  # not an error, because the jobs' results are complete
        log.warning(f"no summary for TensorBoard: {reason}")
