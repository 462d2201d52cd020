"""Checks what a config sets for Hydra itself: launcher, sweeper, callbacks, logging, jobs."""

from __future__ import annotations

import re
from typing import Any

from gradexp.config.gate.components import import_target, is_defined_in, is_inside, leaves, mappings
from gradexp.config.gate.logs import (
    LOG_FOLDERS,
    check_logging,
    is_plain_name,
    is_plain_path,
)
from gradexp.errors import UserError
from gradexp.processes.environment import trusted_packages

_TEXTS = r"hydra[.:](run\.dir|sweep\.dir|runtime\.output_dir|runtime\.cwd|job\.(name|num|id))"
_PLAIN_INTERPOLATION = re.compile(rf"\$\{{({_TEXTS}|now:[^${{}}]*)\}}")
"""Interpolations that always give a string, whatever a config sets: Hydra's schema makes the keys
strings, and its resolver ``now`` returns one."""

_PLUGINS = (
    "hydra._internal.core_plugins",
    "hydra.experimental.callbacks",
    "hydra_plugins.gradexp_sweeps",
    "hydra_plugins.hydra_joblib_launcher",
    "hydra_plugins.hydra_submitit_launcher",
)
"""Packages whose launchers, sweepers and callbacks need no trust. What the settings of others do is
not known here."""


def check_hydra(node: dict[str, Any]) -> None:
    """Checks what Hydra itself imports and writes: launcher, sweeper, callbacks, logging, jobs.

    Args:
        node: the config below ``hydra``, with interpolations not resolved. Where something could
            be imported, only interpolations that give a string (`_PLAIN_INTERPOLATION`) are
            allowed, so that the value checked here is the value used later.

    Raises:
        UserError: if something in it is not allowed.
    """
    for name in ("run", "sweep", "runtime", "overrides"):
        if not isinstance(node.get(name), dict):
            raise UserError(f"hydra.{name}", node.get(name), "must be a mapping")
    if node["runtime"].get("output_dir") not in (None, "???"):
        raise UserError("hydra.runtime.output_dir", "", "is Hydra's own; set hydra.run.dir")
    for name, part in (("run.dir", node["run"]), ("sweep.dir", node["sweep"])):
        if re.search(r"[\x00-\x1f\x7f]", str(part.get("dir"))):
            raise UserError(f"hydra.{name}", "", "must be one line")
    for key, mapping in mappings(node, "hydra"):
        if "_target_" in mapping:
            _check_plugin(f"{key}._target_", mapping["_target_"])
    for group in ("launcher", "sweeper"):
        if isinstance(node.get(group), str):
            raise UserError(f"hydra.{group}", node[group], "must be written out")
        _check_interpolations(f"hydra.{group}", node.get(group))
        if not isinstance(node.get(group), dict):
            raise UserError(f"hydra.{group}", node.get(group), "must be the config of one")
    callbacks = node.get("callbacks") or {}
    for name, callback in callbacks.items() if isinstance(callbacks, dict) else [("", callbacks)]:
        if not isinstance(callback, dict):
            raise UserError(f"hydra.callbacks.{name}", callback, "must be written out")
        _check_interpolations(f"hydra.callbacks.{name}", callback)
    for group, places in LOG_FOLDERS.items():
        check_logging(f"hydra.{group}", node.get(group), places)
    _check_job(node.get("job"))
    _check_output_subdir(node.get("output_subdir"))
    _check_verbose(node.get("verbose"))
    _check_launcher(node.get("launcher"))


def _check_interpolations(key: str, node: Any) -> None:
    """Checks that a config has only interpolations that always give a string.

    Args:
        key: the path of the config.
        node: the config.

    Raises:
        UserError: if there is another interpolation than `_PLAIN_INTERPOLATION` allows.
    """
    for place, value in leaves(node, key):
        if "${" in _PLAIN_INTERPOLATION.sub("", str(value)):
            raise UserError(place, value, "must be written out, without ${…}")


_LONGEST = 200
"""The most bytes in a job's name, which is used in the name of its log file."""


def _check_job(job: Any) -> None:
    """Checks the environment and the name that a config sets for jobs.

    Raises:
        UserError: if a job would change the environment, or its name is not a plain file name.
    """
    if not isinstance(job, dict):
        raise UserError("hydra.job", job, "must be a mapping")
    for key in ("env_copy", "env_set"):
        if job.get(key):
            reason = "a config must not set the environment; set it where gradexp is started"
            raise UserError(f"hydra.job.{key}", "", reason)
    name = job.get("name", "gradexp")
    if not is_plain_name(name) or len(name.encode()) > _LONGEST:
        reason = f"must be a plain name, as a file's, of at most {_LONGEST} bytes"
        raise UserError("hydra.job.name", name, reason)


def _check_output_subdir(name: Any) -> None:
    """Checks the name of the folder in a run's folder to which Hydra writes its configs.

    If it could have any name, a config could be made to serve as that of another program.

    Raises:
        UserError: if it is neither ``.hydra``, where gradexp looks for configs, nor null.
    """
    if name not in (None, ".hydra"):
        raise UserError("hydra.output_subdir", name, "must be .hydra, or null")


def _check_verbose(verbose: Any) -> None:
    """Checks the setting that makes loggers verbose.

    Raises:
        UserError: if it is not a boolean, null, the name of a logger, or a list of names.
    """
    names = verbose if isinstance(verbose, list) else [verbose]
    fits = isinstance(verbose, bool | None) or all(isinstance(name, str) for name in names)
    if not fits or "${" in str(verbose):
        raise UserError("hydra.verbose", verbose, "must be true, false, a logger or a list of them")


_SHELL_WORD = re.compile(r"[\w.,:=+@%/ -]*")


def _check_launcher(launcher: Any) -> None:
    """Checks the settings that a launcher writes into a shell script, and those of its folders.

    Raises:
        UserError: if something in them is not allowed.
    """
    if not isinstance(launcher, dict):
        raise UserError("hydra.launcher", launcher, "must be the config of a launcher")
    target = str(launcher.get("_target_", ""))
    if "submitit" in target and "submitit" not in trusted_packages():
        for name in ("setup", "additional_parameters", "srun_args", "python"):
            if launcher.get(name):
                reason = "becomes lines of a shell's script; to allow it set GRADEXP_TRUST=submitit"
                raise UserError(f"hydra.launcher.{name}", "", reason)
        for place, value in leaves(launcher, "hydra.launcher"):
            rest = str(value).replace("${hydra.job.name}", "").replace("${hydra.sweep.dir}", "")
            if not place.endswith("_target_") and not _SHELL_WORD.fullmatch(rest):
                raise UserError(place, value, "must be plain words; or set GRADEXP_TRUST=submitit")
    folder = launcher.get("submitit_folder")
    if folder is not None:
        head, _, name = str(folder).partition("}/")
        if head != "${hydra.sweep.dir" or not is_plain_path(name.replace("%j", "j")):
            raise UserError(
                "hydra.launcher.submitit_folder", folder, "must be ${hydra.sweep.dir}/NAME"
            )
    for name in ("temp_folder", "mmap_mode"):  # joblib loads pickles from its temporary folder
        if "joblib" in target and launcher.get(name) not in (None, "r"):
            raise UserError(f"hydra.launcher.{name}", launcher[name], "must be null")


def _check_plugin(key: str, target: Any) -> None:
    from hydra.experimental.callback import Callback
    from hydra.plugins.launcher import Launcher
    from hydra.plugins.sweeper import Sweeper

    packages = (*_PLUGINS, *trusted_packages())
    known = "Hydra's own, gradexp's, joblib's or submitit's"
    reason = f"must be a launcher, sweeper or callback, {known}; or set GRADEXP_TRUST=package"
    refusal = UserError(key, target, reason)
    if not isinstance(target, str) or "${" in target or not is_inside(target, packages):
        raise refusal
    found = import_target(key, target)
    plugin = isinstance(found, type) and issubclass(found, Callback | Launcher | Sweeper)
    if not plugin or not is_defined_in(found, packages):
        raise refusal
    if found.__name__ == "PickleJobInfoCallback":
        raise UserError(key, target, "writes pickles, which are not used here")
