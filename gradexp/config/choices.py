"""The folders of the config files, and the choices in them, read without importing torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


def _shipped(name: str) -> Path:
    """Returns the folder of that name: in the installed package, or next to it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


CONF = _shipped("conf")
EXPERIMENTS = _shipped("experiments")

OPEN = ("own", "torch")
"""Choices whose keys are not fixed: they are those of the class that the choice names."""


@dataclass(frozen=True)
class Choice:
    """A choice of a config group, or an experiment."""

    name: str
    description: str
    family: str
    """the family of a surface; empty for other choices"""
    settings: dict[str, Any]
    """its keys with their defaults"""
    source: str
    """where it comes from, according to the second line of its file; or empty"""


def groups() -> list[str]:
    """Returns the config groups, in the order of the defaults list."""
    choices = [entry for entry in _primary()["defaults"] if isinstance(entry, dict)]
    return [group for choice in choices for group in choice if not group.startswith("override ")]


def keys() -> list[str]:
    """Returns the config groups, then the plain keys of the primary config."""
    return [*groups(), *(key for key in _primary() if key not in ("defaults", "hydra"))]


def _primary() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((CONF / "config.yaml").read_text())
    return config


def choices(folder: Path) -> list[Choice]:
    """Returns the choices that the files of a folder describe, sorted by name."""
    return [_read(path) for path in sorted(folder.glob("*.yaml"))]


def _flat(settings: dict[str, Any], parts: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Yields the settings; those of each of the parts separately, by dotted keys."""
    for key, value in settings.items():
        if key in parts:
            yield from ((f"{key}.{inside}", one) for inside, one in value.items())
        else:
            yield key, value


def _read(path: Path) -> Choice:
    text = path.read_text()
    first, second, *_ = [*text.splitlines(), ""]
    settings = yaml.safe_load(text)
    target = settings.pop("_target_", "").split(".")
    settings.pop("hydra", None)  # which only experiments have
    chosen = [one for one in settings.pop("defaults", []) if isinstance(one, dict)]
    parts = {key.partition("@")[2]: name for one in chosen for key, name in one.items()}
    parts.pop("", None)  # entries without "@" choose for another group, not for a key of this file
    return Choice(
        name=path.stem,
        description=first.lstrip("# "),
        family=target[2] if len(target) > 3 else "",
        settings=parts | dict(_flat(settings, parts)),
        source=second.partition("# Source: ")[2],
    )
