"""Searches: sweeps whose values are chosen by Optuna, one batch of jobs at a time."""

from __future__ import annotations

import importlib.util
import logging
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from gradexp.analysis.metric import Metric, find_metric, flatten
from gradexp.errors import UserError, nearest
from gradexp.sweeps.opening import Sweeper, opened

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

log = logging.getLogger(__name__)

_RESULT = "optimization_results.yaml"

_SAMPLERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "tpe": ("TPESampler", "numpy", {"constant_liar": True}),  # so that a batch's jobs differ
    "gp": ("GPSampler", "scipy", {}),
    "cmaes": ("CmaEsSampler", "cmaes", {}),
    "qmc": ("QMCSampler", "scipy", {}),
    "random": ("RandomSampler", "numpy", {}),
}
"""for each sampler, the name of its class in Optuna, the package that it needs, and its options"""


class SearchSweeper(Sweeper, Protocol):
    """A sweeper whose values Optuna chooses. The fields are the keys of its config."""

    n_trials: int
    n_jobs: int
    sampler: str
    seed: int | None
    metric: str
    direction: str


def search(sweeper: SearchSweeper, arguments: Sequence[str]) -> list[JobReturn]:
    """Asks Optuna for batches of trials and launches them, until there are `n_trials` jobs.

    With the same seed and the same results, Optuna chooses the same trials. A search that was
    interrupted therefore continues where it stopped.

    Args:
        sweeper: the sweeper, set up by Hydra.
        arguments: the overrides on the command line.

    Returns:
        The results of the jobs, in order.

    Raises:
        UserError: if Optuna is not installed, a setting is not allowed, or no axis can be searched.
    """
    try:
        import optuna
    except ImportError as error:
        reason = f"needs Optuna: pip install 'gradexp[optuna]' ({error})"
        raise UserError("hydra/sweeper", "optuna", reason) from error
    _check(sweeper)
    assert sweeper.config is not None
    assert sweeper.launcher is not None
    axes, fixed = _space(opened(sweeper, arguments))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction: Any = sweeper.direction
    sampler = _sampler(sweeper.sampler, sweeper.seed)
    study = optuna.create_study(sampler=sampler, direction=direction)
    returns: list[JobReturn] = []
    jobs: dict[int, list[str]] = {}
    while len(returns) < sweeper.n_trials:
        wanted = min(sweeper.n_jobs, sweeper.n_trials - len(returns))
        trials = [study.ask(axes) for _ in range(wanted)]
        batch = [[*fixed, *_overrides(trial)] for trial in trials]
        made = sweeper.launcher.launch(batch, initial_job_idx=len(returns))
        for trial, job, overrides in zip(trials, made, batch, strict=False):
            jobs[trial.number] = overrides
            if job.status is JobStatus.COMPLETED:
                study.tell(trial, _value(job.return_value, sweeper.metric, sweeper.direction))
            else:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
        returns += made
        if len(made) < wanted:  # the launcher stops at a failure
            break
    done = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    if done:
        best = study.best_trial
        result = {"name": "optuna", "best_params": best.params, "best_value": best.value}
        OmegaConf.save(OmegaConf.create(result), Path(sweeper.config.hydra.sweep.dir) / _RESULT)
        told = f"{sweeper.direction} {sweeper.metric}: {best.value:.6g} in job {best.number}"
        log.info(f"optuna: {told}, {' '.join(jobs[best.number])}")
    return returns


def _check(sweeper: SearchSweeper) -> None:
    """Checks the sweeper's settings.

    Raises:
        UserError: if one of them is not allowed.
    """
    for key in ("n_trials", "n_jobs"):
        value = getattr(sweeper, key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"hydra.sweeper.{key}", value, "must be a whole number, at least 1")
    if sweeper.direction not in ("minimize", "maximize"):
        raise UserError(
            "hydra.sweeper.direction", sweeper.direction, "must be minimize or maximize"
        )


def _sampler(name: str, seed: int | None) -> BaseSampler:
    """Returns the sampler with a given name.

    Raises:
        UserError: if there is no such sampler, or the package that it needs is not installed.
    """
    import optuna

    if name not in _SAMPLERS:
        raise UserError(
            "hydra.sweeper.sampler", name, f"no such sampler; {nearest(name, _SAMPLERS)}"
        )
    kind, needed, options = _SAMPLERS[name]
    if importlib.util.find_spec(needed) is None:
        raise UserError("hydra.sweeper.sampler", name, f"needs {needed}: pip install {needed}")
    with warnings.catch_warnings():  # some samplers are experimental in Optuna
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler: BaseSampler = getattr(optuna.samplers, kind)(seed=seed, **options)
    return sampler


def _space(overrides: Sequence[Override]) -> tuple[dict[str, BaseDistribution], list[str]]:
    """Returns the distributions to search, by key, and the overrides that all jobs have in common.

    Raises:
        UserError: if an axis cannot be searched, or there is no axis.
    """
    axes: dict[str, BaseDistribution] = {}
    fixed: dict[str, str] = {}
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            axes.pop(key, None)
            fixed[key] = f"{key}={override.get_value_element_as_str()}"
            continue
        try:
            axes[key] = _distribution(override)
        except ValueError as error:
            raise UserError(key, override.get_value_string(), f"{error}") from error
        fixed.pop(key, None)
    if not axes:
        reason = "needs an axis to search, such as 'optimizer.lr=tag(log,interval(1e-4,1))'"
        raise UserError("hydra/sweeper", "optuna", reason)
    return axes, list(fixed.values())


def _distribution(override: Override) -> BaseDistribution:
    """Returns the distribution from which Optuna draws the values of an axis.

    An interval contains real numbers, or integers if it is written ``int(interval(…))``.

    Raises:
        ValueError: if the axis has no values, or Optuna does not accept it.
    """
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    axis = override.value()
    if isinstance(axis, IntervalSweep):
        ends, logarithmic = (axis.start, axis.end), "log" in axis.tags
        whole = all(isinstance(end, int) for end in ends)
        kind: Any = IntDistribution if whole else FloatDistribution
        interval: BaseDistribution = kind(*ends, log=logarithmic)
        return interval
    if isinstance(axis, RangeSweep) and not axis.shuffle:
        values = sorted(axis.range())
        if not values:
            raise ValueError("has no values")
        kind = FloatDistribution if isinstance(values[0], float) else IntDistribution
        stepped: BaseDistribution = kind(values[0], values[-1], step=abs(axis.step))
        return stepped
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def _overrides(trial: Trial) -> list[str]:
    """Returns the overrides that set the values of a trial."""
    return [f"{key}={value}" for key, value in trial.params.items()]


def _value(result: Any, name: str, direction: str) -> float:
    """Returns the value of a metric for a run, or the worst possible value.

    The worst value, which is infinite, is returned if the metric is unknown, was never reached or
    is not finite, or if the run diverged. A run that diverged keeps its hitting times.

    Raises:
        UserError: if runs have no metric of that name.
    """
    known = dict(flatten(result.metrics))
    metric = find_metric(name, known)
    if metric is None:
        raise UserError("hydra.sweeper.metric", name, f"no such metric; {nearest(name, known)}")
    found = float(Metric(metric).comparable_values(known[metric], result.outcome))
    return found if math.isfinite(found) or direction == "minimize" else -math.inf
