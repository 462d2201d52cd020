"""gradexp's launcher and sweepers, in the package in which Hydra looks for plugins.

Every Hydra program in the environment imports this module when it starts. The plugins are therefore
implemented in `gradexp.sweeps`, which is imported when they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from gradexp.sweeps.composition import Composer


class VectorizedLauncher(Launcher):
    """Runs jobs on this machine and computes their numbers in batches."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config
        self.composer: Composer | None = None
        """the composer of the sweep, if it has one already"""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        from gradexp.sweeps.composition import Composer
        from gradexp.sweeps.launching import launch

        if self.composer is None:
            self.composer = Composer(self.hydra_context.config_loader, self.config)
        return launch(
            self.hydra_context, self.task_function, self.composer, job_overrides, initial_job_idx
        )


class _Sweeper(Sweeper):
    """Base class of the sweepers."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )


class GridSweeper(_Sweeper):
    """Runs all combinations of the axes; axes with a common tag vary together."""

    def __init__(
        self, max_batch_size: int | None = None, params: dict[str, str] | None = None
    ) -> None:
        self.max_batch_size = max_batch_size
        self.params = params

    def sweep(self, arguments: list[str]) -> Any:
        from gradexp.sweeps.grid import sweep

        return sweep(self, arguments)


class OptunaSweeper(_Sweeper):
    """Lets Optuna choose the values of jobs from the results of earlier jobs."""

    def __init__(
        self,
        n_trials: int,
        n_jobs: int,
        sampler: str,
        seed: int | None,
        metric: str,
        direction: str,
        params: dict[str, str] | None,
    ) -> None:
        self.n_trials = n_trials
        self.n_jobs = n_jobs
        self.sampler = sampler
        self.seed = seed
        self.metric = metric
        self.direction = direction
        self.params = params

    def sweep(self, arguments: list[str]) -> Any:
        from gradexp.sweeps.search import search

        return search(self, arguments)


_LAUNCHER = {"_target_": f"{__name__}.VectorizedLauncher"}
_SWEEPER = {"_target_": f"{__name__}.GridSweeper", "max_batch_size": None, "params": None}
_SEARCH = {
    "_target_": f"{__name__}.OptunaSweeper",
    "n_trials": 100,  # number of jobs
    "n_jobs": 10,  # jobs per batch; the next batch is chosen from the results so far
    "sampler": "tpe",
    "seed": 0,
    "metric": "final_loss",
    "direction": "minimize",
    "params": None,
}
_STORE = ConfigStore.instance()
_STORE.store(group="hydra/launcher", name="vectorized", node=_LAUNCHER, provider="gradexp")
_STORE.store(group="hydra/sweeper", name="grid", node=_SWEEPER, provider="gradexp")
_STORE.store(group="hydra/sweeper", name="optuna", node=_SEARCH, provider="gradexp")
