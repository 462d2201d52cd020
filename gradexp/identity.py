"""What a run is identified by: the classes of its components, and their fields."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import fields
from typing import Any

from gradexp.numbers import Component
from gradexp.surfaces.own import Formula


def plain_values(value: Any) -> Any:
    """What decides a run's numbers, as plain values: components as mappings with their class, so
    that 0 and 0.0 in a config are the same."""
    if isinstance(value, Component):
        inside = {field.name: plain_values(getattr(value, field.name)) for field in fields(value)}
        return {"_target_": _name_of(type(value)), **inside}
    if isinstance(value, tuple | list):
        return [plain_values(item) for item in value]
    if isinstance(value, type):
        return _name_of(value)
    return value


def _name_of(kind: type) -> str:
    """A class as an identity has it: gradexp's and torch's by the package that they are of, in
    whatever module; a person's own with a digest of their module's source, which may change."""
    made_of: Any = kind.function if issubclass(kind, Formula) else kind
    packages, name = made_of.__module__.split("."), made_of.__qualname__
    if packages[0] == "gradexp" or packages[:2] == ["torch", "optim"]:
        return ".".join([*packages[:2], name])
    return f"{made_of.__module__}.{name} {_source_digest(made_of)}"


def _source_digest(made_of: Any) -> str:
    """SHA-256 of the source that a class or a function stands in."""
    sources: list[Any] = [inspect.getmodule(made_of), made_of]
    for whole in sources:
        try:
            return hashlib.sha256(inspect.getsource(whole).encode()).hexdigest()
        except (OSError, TypeError):  # typed at a prompt, say
            continue
    code = getattr(made_of, "__code__", None)
    return hashlib.sha256(
        repr((code and code.co_code, code and code.co_consts)).encode()
    ).hexdigest()
