"""Where Hydra finds gradexp's launcher and sweeper.

Every Hydra program of the environment imports this module when it starts: what the plugins do is
in `gradexp.sweeps`, imported when they are used.
"""

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class VectorizedLauncher(Launcher):
    """Runs the jobs here, one after the other, their numbers computed as batches."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        from gradexp.sweeps.launching import launch

        return launch(
            self.hydra_context, self.task_function, self.config, job_overrides, initial_job_idx
        )


class GridSweeper(BasicSweeper):
    """All combinations of the axes, those that are paired moving together."""

    def __init__(
        self, max_batch_size: int | None = None, params: dict[str, str] | None = None
    ) -> None:
        super().__init__(max_batch_size, params)
        self.task_function: TaskFunction | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.task_function = task_function

    def sweep(self, arguments: list[str]) -> Any:
        from gradexp.sweeps.grid import sweep

        return sweep(self, arguments)


_LAUNCHER = {"_target_": f"{__name__}.VectorizedLauncher"}
_SWEEPER = {"_target_": f"{__name__}.GridSweeper", "max_batch_size": None, "params": None}
_STORE = ConfigStore.instance()
_STORE.store(group="hydra/launcher", name="vectorized", node=_LAUNCHER, provider="gradexp")
_STORE.store(group="hydra/sweeper", name="grid", node=_SWEEPER, provider="gradexp")
