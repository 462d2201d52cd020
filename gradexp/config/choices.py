"""Where the config files lie, and what they offer: read without importing torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


def _shipped(name: str) -> Path:
    """The folder of that name: in the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


CONF = _shipped("conf")
EXPERIMENTS = _shipped("experiments")

OPEN = ("own", "torch")
"""Choices that take any key: those of the class that they name."""


@dataclass(frozen=True)
class Choice:
    """One choice of a config group, or one experiment."""

    name: str
    description: str
    family: str
    """The module of its class: a surface's family."""
    settings: dict[str, Any]
    """Its keys with their defaults."""
    source: str
    """Where it comes from, as its second line says it; or nothing."""


def groups() -> list[str]:
    """The config groups, in the order of the defaults list."""
    choices = [entry for entry in _primary()["defaults"] if isinstance(entry, dict)]
    return [group for choice in choices for group in choice if not group.startswith("override ")]


def keys() -> list[str]:
    """The config groups and the plain keys beside them."""
    return [*groups(), *(key for key in _primary() if key not in ("defaults", "hydra"))]


def _primary() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((CONF / "config.yaml").read_text())
    return config


def choices(folder: Path) -> list[Choice]:
    """What the files of a folder offer, by name."""
    return [_read(path) for path in sorted(folder.glob("*.yaml"))]


def _flat(settings: dict[str, Any], parts: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """The settings, those of parts key by key."""
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
    settings.pop("hydra", None)  # of an experiment
    chosen = [one for one in settings.pop("defaults", []) if isinstance(one, dict)]
    parts = {key.partition("@")[2]: name for one in chosen for key, name in one.items()}
    parts.pop("", None)  # what is chosen for a group, and not for a key of this one
    return Choice(
        name=path.stem,
        description=first.lstrip("# "),
        family=target[2] if len(target) > 3 else "",
        settings=parts | dict(_flat(settings, parts)),
        source=second.partition("# Source: ")[2],
    )
