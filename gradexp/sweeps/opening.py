"""What every sweeper of gradexp has, and how its sweep begins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf


class Sweeper(Protocol):
    """A sweeper that Hydra has set up."""

    hydra_context: HydraContext | None
    config: DictConfig | None
    launcher: Launcher | None

    @property
    def params(self) -> dict[str, str] | None:
        """The axes that stand in the config."""


def opened(sweeper: Sweeper, arguments: Sequence[str]) -> list[Override]:
    """Writes the sweep's own config into its folder; returns its overrides, parsed: those of
    ``hydra.sweeper.params``, then those of the command line."""
    context, config = sweeper.hydra_context, sweeper.config
    assert context is not None
    assert config is not None
    folder = Path(config.hydra.sweep.dir)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / ".multirun.yaml.partial"
    partial.unlink(missing_ok=True)
    OmegaConf.save(config, partial)
    os.replace(partial, folder / "multirun.yaml")
    parser = OverridesParser.create(config_loader=context.config_loader)
    params = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    return parser.parse_overrides([*params, *arguments])
