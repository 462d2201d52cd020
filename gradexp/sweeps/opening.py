"""How every sweep of ours begins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

if TYPE_CHECKING:
    from hydra_plugins.gradexp_sweeps import GridSweeper, OptunaSweeper


def opened(sweeper: GridSweeper | OptunaSweeper, arguments: Sequence[str]) -> list[Override]:
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
