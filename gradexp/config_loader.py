"""Hydra's loader of configs, with a gate before anything in one is used; and where it looks."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gradexp.config_files import CONF, EXPERIMENTS
from gradexp.hydra_errors import explained, uncomposed
from gradexp.mistakes import Mistake
from gradexp.trust import check_hydra, check_search_path


class GatedLoader(ConfigLoaderImpl):
    """Composes configs, and passes only what may be used."""

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        try:
            self._check_search_path(config_name, overrides)
            config = super().load_configuration(
                config_name, overrides, run_mode, from_shell, validate_sweep_overrides
            )
        except (HydraException, Mistake):
            raise
        except Exception as error:  # broken YAML, values that Hydra's own code stumbles over
            raise uncomposed(error, overrides) from error
        plain = OmegaConf.to_container(config.hydra, resolve=False)
        assert isinstance(plain, dict)
        check_hydra({str(name): node for name, node in plain.items()})
        return config

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        with explained(sweep_overrides):
            return super().load_sweep_config(master_config, sweep_overrides)

    def _check_search_path(self, config_name: str | None, overrides: list[str]) -> None:
        """Checks the search path before it is used: a package there would be imported."""
        primary = self.repository.load_config(config_name) if config_name else None
        entries = OmegaConf.select(primary.config, "hydra.searchpath") if primary else None
        for override in OverridesParser.create().parse_overrides(overrides):
            if override.get_key_element() == "hydra.searchpath":
                entries = override.value()
        for entry in entries or ():
            check_search_path(str(entry))


def check_primary(folder: Path, name: str) -> None:
    """Checks that a person's config is there: the search path would go on to gradexp's own."""
    if not folder.is_dir():
        raise Mistake("--config-path", folder, "there is no such folder")
    if not (folder / f"{name}.yaml").is_file():
        raise Mistake("--config-path", folder, f"there is no {name}.yaml in it")


def output_folders(overrides: Sequence[str]) -> list[str]:
    """Where a primary config that is not gradexp's writes to, unless the overrides say it."""
    ours = OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml"), resolve=False)
    assert isinstance(ours, dict)
    chosen = {f"hydra.{part}.dir": ours["hydra"][part]["dir"] for part in ("run", "sweep")}
    given = {override.partition("=")[0] for override in overrides}
    return [f"{key}='{folder}'" for key, folder in chosen.items() if key not in given]


def search_path(args: Namespace) -> ConfigSearchPath:
    """gradexp's configs, or those of ``--config-path``; a person's own; the experiments."""
    main = Path(args.config_path).absolute() if args.config_path else CONF
    path = create_config_search_path(f"file://{main}")
    extra = []
    if args.config_dir is not None:
        extra.append(("command-line", Path(args.config_dir or "nothing given").absolute()))
    if args.config_path:
        extra.append(("gradexp", CONF))
    for provider, folder in (*extra, ("experiments", EXPERIMENTS)):
        if not folder.is_dir():
            raise Mistake("--config-dir", folder, "there is no such folder")
        path.prepend(provider, f"file://{folder}", SearchPathQuery(provider="schema"))
    return path
