"""Grid sweeps: all combinations of the axes, where axes with a common tag vary together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from hydra.core.override_parser.types import Override, Sweep
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.types import TaskFunction

from gradexp.sweeps.composition import Composer
from gradexp.sweeps.launching import ComputesInBatches
from gradexp.sweeps.opening import Sweeper, opened
from gradexp.sweeps.resuming import ResumingLauncher


class GridSweeper(Sweeper, Protocol):
    """A sweeper that runs all combinations of its axes."""

    max_batch_size: int | None
    task_function: TaskFunction


def sweep(sweeper: GridSweeper, arguments: Sequence[str]) -> list[Sequence[JobReturn]]:
    """Runs a grid like Hydra's basic sweeper, but composes each structure of jobs only once.

    If a job of a task that computes in batches fails, its exception is in the returned job. With
    any other task, the first exception is raised.

    Args:
        sweeper: the sweeper, set up by Hydra.
        arguments: the overrides on the command line.

    Returns:
        What the launcher returned for each batch of jobs.

    Raises:
        HydraException: if an axis cannot be expanded or a job cannot be composed.
    """
    context, master = sweeper.hydra_context, sweeper.config
    assert context is not None
    assert master is not None
    assert sweeper.launcher is not None
    jobs = grid(opened(sweeper, arguments))
    composer = Composer(context.config_loader, master)
    returns: list[Sequence[JobReturn]] = []
    size = sweeper.max_batch_size or max(len(jobs), 1)
    for first in range(0, len(jobs), size):
        batch = jobs[first : first + size]
        if not isinstance(
            sweeper.launcher, ResumingLauncher
        ):  # a `ResumingLauncher` composes the jobs of a batch itself before it runs any
            for number, overrides in enumerate(batch, first):
                composer.compose(overrides, number)
        returns.append(sweeper.launcher.launch(batch, initial_job_idx=first))
        if not isinstance(sweeper.task_function, ComputesInBatches):
            for result in returns[-1]:
                _ = result.return_value  # raises the job's exception
    return returns


def grid(overrides: Sequence[Override]) -> list[list[str]]:
    """Returns the overrides of each job: all combinations, with the last axis changing fastest.

    Args:
        overrides: the parsed overrides. If a key occurs more than once, its last override counts.
            Axes with a common tag vary together, as one axis.

    Raises:
        HydraException: if an axis has no list of values, or axes that vary together differ in
            length.
    """
    axes: dict[str, _Axis] = {}
    for override in overrides:
        value, key = override.value(), override.get_key_element()
        tags = value.tags if isinstance(value, Sweep) else set()
        axes[key] = _Axis(key, _values(key, override), tags)
    bundles: list[list[int]] = []
    every = list(axes.values())
    for index, axis in enumerate(every):
        paired = [bundle for bundle in bundles if axis.tags & every[bundle[0]].tags]
        if paired:
            paired[0].append(index)
        else:
            bundles.append([index])
    choices = [_together([every[index] for index in bundle]) for bundle in bundles]
    order = [index for bundle in bundles for index in bundle]
    jobs = []
    for chosen in itertools.product(*choices):
        by_axis = dict(zip(order, itertools.chain(*chosen), strict=True))
        jobs.append([by_axis[index] for index in range(len(every))])
    return jobs


class _Axis(NamedTuple):
    """The values of one key, each written as an override."""

    key: str
    overrides: list[str]
    tags: set[str]


def _values(key: str, override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [f"{key}={override.get_value_element_as_str()}"]
    if not override.is_discrete_sweep():
        raise HydraException(f"{key}: a grid needs a list of values, such as linspace(0,1,11)")
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def _together(axes: Sequence[_Axis]) -> list[tuple[str, ...]]:
    """Returns the combinations of axes that vary together, as tuples of overrides."""
    if len({len(axis.overrides) for axis in axes}) > 1:
        lengths = ", ".join(f"{axis.key} has {len(axis.overrides)} values" for axis in axes)
        raise HydraException(f"axes that move together must be of the same length: {lengths}")
    return list(zip(*(axis.overrides for axis in axes), strict=True))
