"""Loads configs like Hydra and checks them before they are used; defines the search path."""

from __future__ import annotations

import copy
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gradexp.config.choices import CONF, EXPERIMENTS, OPEN
from gradexp.config.errors import explained, uncomposed
from gradexp.config.gate.components import check_search_path
from gradexp.config.gate.hydra import check_hydra
from gradexp.config.internals import (
    ConfigLoaderImpl,
    ConfigRepository,
    config_place,
    search_path_from,
)
from gradexp.errors import UserError
from gradexp.files.yaml import check_interpolations, check_small

_REMEMBERED = 512
"""The most parsed config files that are kept in memory."""

_parsed: dict[tuple[object, ...], ConfigResult] = {}
"""cache of this process, keyed by the location of each config and, for files, also by inode, size
and modification time"""


class RememberingRepository(ConfigRepository):
    """A repository that parses each config file once per process.

    Parsing YAML takes most of the time for composing a config.
    """

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Returns a copy of a config, or None if it does not exist.

        Raises:
            UserError: if its file is too large.
        """
        place = config_place(self, config_path)
        if not place or place[0] == "structured":
            return super().load_config(config_path)
        key: tuple[object, ...] = place
        if place[0] == "file":
            path = Path(place[1]) / place[-1]
            about = path.stat()
            key = (*key, about.st_ino, about.st_size, about.st_mtime_ns)
            if key not in _parsed:
                check_small(path)
        if key not in _parsed:
            result = super().load_config(config_path)
            assert result is not None
            if PurePosixPath(config_path).stem in OPEN:
                OmegaConf.set_struct(result.config, False)  # keys may be added without a +
            if len(_parsed) >= _REMEMBERED:
                _parsed.clear()
            _parsed[key] = result
        return copy.deepcopy(_parsed[key])


class GatedLoader(ConfigLoaderImpl):
    """Composes configs, and raises `UserError` for those that are not allowed."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self.repository = RememberingRepository(config_search_path)

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
        **later: Any,  # further arguments of Hydra 1.4
    ) -> DictConfig:
        with _others_explained(overrides):
            self._check_search_path(config_name, overrides)
            of_all = self._of_all_jobs(overrides) if run_mode is RunMode.MULTIRUN else overrides
            config = super().load_configuration(
                config_name, of_all, run_mode, from_shell, validate_sweep_overrides, **later
            )
            if len(of_all) < len(overrides):
                _note_overrides(config, overrides)
        plain = OmegaConf.to_container(config, resolve=False)
        assert isinstance(plain, dict)
        check_interpolations(plain)
        check_hydra({str(name): node for name, node in plain["hydra"].items()})
        return config

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        with explained(sweep_overrides), _others_explained(sweep_overrides):
            return super().load_sweep_config(master_config, sweep_overrides)

    def _of_all_jobs(self, overrides: list[str]) -> list[str]:
        """Returns the overrides that can be applied to the config of the sweep itself.

        If the choices of a config group are swept, the sweep's config has the default choice. An
        override of a key in that group is left out, because the default choice may not have the
        key. It is applied to the configs of the jobs.
        """
        parsed = OverridesParser.create().parse_overrides(overrides)
        swept = tuple(
            f"{one.key_or_group}."
            for one in parsed
            if one.is_sweep_override() and self.repository.group_exists(one.key_or_group)
        )
        if not swept:
            return overrides
        return [
            text
            for text, one in zip(overrides, parsed, strict=True)
            if one.is_sweep_override() or not one.key_or_group.startswith(swept)
        ]

    def _check_search_path(self, config_name: str | None, overrides: list[str]) -> None:
        """Checks the search path before it is used, because Hydra would import packages in it."""
        primary = self.repository.load_config(config_name) if config_name else None
        lists = [OmegaConf.select(primary.config, "hydra.searchpath")] if primary else []
        for override in OverridesParser.create().parse_overrides(overrides):
            if override.key_or_group == "hydra.searchpath":  # check all: Hydra uses the first one
                lists.append(override.value())
        for entries in lists:
            for entry in entries if isinstance(entries, list | ListConfig) else ():
                check_search_path(str(entry))


@contextmanager
def _others_explained(overrides: Sequence[str]) -> Iterator[None]:
    """Turns exceptions that neither Hydra nor OmegaConf define into user errors.

    They occur for invalid YAML, and for values that Hydra's code does not expect.

    Raises:
        UserError: instead of such an exception.
    """
    try:
        yield
    except (HydraException, OmegaConfBaseException, UserError):
        raise
    except Exception as error:
        raise uncomposed(error, overrides) from error


def _note_overrides(config: DictConfig, overrides: list[str]) -> None:
    """Records in a sweep's config all the overrides that its jobs get."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    task = [one for one in parsed if not one.is_hydra_override()]
    config.hydra.overrides.task = [one.input_line for one in task]
    naming = DirectoryNaming.of(config)
    if naming is not None:
        config.hydra.job.override_dirname = naming.name(task)


class DirectoryNaming(NamedTuple):
    """How Hydra makes ``hydra.job.override_dirname`` of a job's overrides."""

    exclude_keys: frozenset[str]
    """keys whose overrides are left out"""
    item_sep: str
    """separator between overrides"""
    kv_sep: str
    """separator between a key and its value"""

    @classmethod
    def of(cls, config: DictConfig) -> DirectoryNaming | None:
        """Returns the naming that ``hydra.job.config.override_dirname`` of a config sets.

        Returns None from Hydra 1.4 on, where a resolver makes the name.
        """
        job = OmegaConf.to_container(config.hydra.job, resolve=False)
        assert isinstance(job, dict)
        if str(job["override_dirname"]).startswith("${hydra_override_dirname:"):
            return None
        naming = config.hydra.job.config.override_dirname
        return cls(frozenset(naming.exclude_keys), naming.item_sep, naming.kv_sep)

    def name(self, overrides: Iterable[Override]) -> str:
        """Returns the directory name of a job, given its overrides without those of ``hydra``."""
        kept = (one for one in overrides if one.key_or_group not in self.exclude_keys)
        lines = sorted(str(one.input_line) for one in kept)
        return self.item_sep.join(lines).replace("=", self.kv_sep)


def check_primary(folder: Path, name: str) -> None:
    """Checks that a user-defined primary config exists.

    Otherwise the search path would continue to gradexp's own config of that name.

    Args:
        folder: the folder of the config.
        name: the name of the config, without ``.yaml``.

    Raises:
        UserError: if the folder or the config does not exist.
    """
    if not folder.is_dir():
        raise UserError("--config-path", folder, "there is no such folder")
    if not (folder / f"{name}.yaml").is_file():
        raise UserError("--config-path", folder, f"there is no {name}.yaml in it")


def output_folders(overrides: Sequence[str]) -> list[str]:
    """Returns overrides that set the default output folders for a user-defined primary config.

    Args:
        overrides: the user's overrides. The folders that they set are left out.
    """
    ours = OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml"), resolve=False)
    assert isinstance(ours, dict)
    chosen = {f"hydra.{part}.dir": ours["hydra"][part]["dir"] for part in ("run", "sweep")}
    given = {override.partition("=")[0].lstrip("+") for override in overrides}
    return [f"{key}='{folder}'" for key, folder in chosen.items() if key not in given]


def search_path(args: Namespace) -> ConfigSearchPath:
    """Returns the search path for configs.

    The primary config is gradexp's or that of ``--config-path``. The folder of ``--config-dir``,
    gradexp's configs and the experiments are on the path as well.

    Args:
        args: the parsed arguments of the command line.

    Raises:
        UserError: if a folder does not exist.
    """
    main = Path(args.config_path).absolute() if args.config_path else CONF
    path = search_path_from(main)
    extra = []
    if args.config_dir is not None:
        extra.append(("command-line", Path(args.config_dir or "nothing given").absolute()))
    if args.config_path:
        extra.append(("gradexp", CONF))
    for provider, folder in (*extra, ("experiments", EXPERIMENTS)):
        if not folder.is_dir():
            raise UserError("--config-dir", folder, "there is no such folder")
        path.prepend(provider, f"file://{folder}", SearchPathQuery(provider="schema"))
    return path
