"""The interface of gradexp's sweepers, and the first steps that their sweeps have in common."""

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
        """The axes that the config defines, by key."""


def opened(sweeper: Sweeper, arguments: Sequence[str]) -> list[Override]:
    """Writes the sweep's own config to ``multirun.yaml`` in its folder, and parses its overrides.

    Args:
        sweeper: the sweeper, set up by Hydra.
        arguments: the overrides on the command line.

    Returns:
        The overrides in ``hydra.sweeper.params``, followed by those on the command line.
    """
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
