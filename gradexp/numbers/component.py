"""Components: frozen dataclasses whose numbers may belong to one run or to a batch of runs.

A field annotated `Number` (or `Seed`, or a tuple of numbers) is a *number*: a float for one run,
or a tensor of shape ``(B,)`` for B runs. Every other field is *structure*. `stack` turns the
components of B runs with equal structure into one component of the same type, so that code written
for one run works for a batch unchanged.

Functions that go through all numbers of a component identify each by its *path*, such as ``lr`` or
``betas[0]``; for a component in a field, it begins with that field's name and a dot.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from abc import ABC
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, ClassVar, TypeVar, get_type_hints

import torch
from torch import Tensor

from gradexp.errors import UserError, nearest
from gradexp.numbers.fields import Number, checked, element, is_number


class Component(ABC):
    """Base class of all components, which checks each field against its annotation.

    Raises:
        UserError: if a field has the wrong type or lies outside its range.
        ValueError: if tensors have values for different numbers of runs, or a shape other than
            ``(B,)``.
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def __post_init__(self) -> None:
        for name, annotation in _annotations(type(self)).items():
            value = checked(name, getattr(self, name), annotation)
            object.__setattr__(self, name, value)
        if any(isinstance(number, Tensor) for number in numbers(self).values()):
            batch_size(self)

    @classmethod
    def label(cls) -> str:
        """Returns the class's name as used in configs, ``six_hump_camel`` for ``SixHumpCamel``."""
        return snake_case(cls.__name__)

    @classmethod
    def from_settings(cls: type[C], settings: dict[str, Any]) -> C:
        """Returns a component with the given values of its fields.

        Raises:
            UserError: if the class is abstract, a field is unknown or missing, or a value is not
                allowed.
        """
        if inspect.isabstract(cls):
            lacking = ", ".join(sorted(cls.__abstractmethods__))
            raise UserError("_target_", cls.__name__, f"must define {lacking}")
        declared = dataclasses.fields(cls)
        known = [field.name for field in declared if field.init]
        for name, value in settings.items():
            if name not in known:
                reason = f"{cls.__name__} has no such key; {nearest(name, known)}"
                raise UserError(name, value, reason)
        for field in declared:
            required = field.default is field.default_factory is dataclasses.MISSING
            if required and field.name not in settings:
                raise UserError(field.name, "", f"{cls.__name__} needs a value here")
        return cls(**settings)


def snake_case(name: str) -> str:
    """Converts a class name to snake case, ``SixHumpCamel`` to ``six_hump_camel``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


C = TypeVar("C", bound=Component)


@cache
def _annotations(cls: Any) -> dict[str, Any]:
    """Returns the annotation of each field, with aliases resolved and ranges kept."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


@cache
def _fields(cls: Any) -> list[tuple[str, Any, bool]]:
    """Returns each field's name and annotation, and whether it is a number."""
    return [(name, form, is_number(form)) for name, form in _annotations(cls).items()]


def _mapped(value: Any, annotation: Any, name: str, function: Callable[[Any, str], Any]) -> Any:
    """Returns a field's value with each number in it replaced by ``function(number, path)``."""
    if isinstance(value, Component):
        return map_numbers(value, function, name)
    if is_number(annotation):
        return function(value, name)
    if isinstance(value, tuple) and element(annotation) is not None:
        item = element(annotation)
        return tuple(_mapped(v, item, f"{name}[{i}]", function) for i, v in enumerate(value))
    return value


def map_numbers(component: C, function: Callable[[Any, str], Any], name: str = "") -> C:
    """Returns a copy of a component with each number replaced by ``function(number, path)``.

    The copy is not checked.

    Args:
        component: the component, whose parts are copied too.
        function: computes the new number from the old one and its path.
        name: the path of the component itself, which precedes those of its numbers.
    """
    copy = object.__new__(type(component))
    for field, annotation, holds_number in _fields(type(component)):
        value = getattr(component, field)
        path = f"{name}.{field}" if name else field
        if holds_number and value is not None:
            value = function(value, path)
        elif isinstance(value, Component | tuple):
            value = _mapped(value, annotation, path, function)
        object.__setattr__(copy, field, value)
    return copy


def with_parts(component: Component, name: str = "") -> Iterator[tuple[str, Component]]:
    """Yields a component and all components in it, each preceded by its path."""
    yield name, component
    for field, _, _ in _fields(type(component)):
        value, path = getattr(component, field), f"{name}.{field}" if name else field
        if isinstance(value, Component):
            yield from with_parts(value, path)
        elif isinstance(value, tuple):
            for index, part in enumerate(value):
                if isinstance(part, Component):
                    yield from with_parts(part, f"{path}[{index}]")


def numbers(component: Component) -> dict[str, Any]:
    """Returns all numbers of a component by their paths."""
    found: dict[str, Any] = {}

    def note(number: Any, name: str) -> Any:
        found[name] = number
        return number

    map_numbers(component, note)
    return found


def structure(component: C) -> C:
    """Returns a component with all numbers set to 0; it must be equal for runs to share a batch."""
    return map_numbers(component, lambda number, name: 0.0)


def stack(components: Iterable[C]) -> C:
    """Combines the components of B runs into one, whose numbers are tensors of shape ``(B,)``.

    Args:
        components: one component per run, equal in type and in everything that is not a number.

    Returns:
        A component of the same type. Its numbers are float64, and its seeds int64.

    Raises:
        ValueError: if there are no components, if they differ in structure, or if one of them has
            tensors already.
    """
    components = list(components)
    if not components:
        raise ValueError("nothing to stack")
    first = components[0]
    shape = structure(first)
    for other in components[1:]:
        if type(other) is not type(first) or structure(other) != shape:
            raise ValueError(f"cannot share a batch: {first} and {other}")
    columns: list[Iterator[Any]] = [iter(numbers(one).values()) for one in components]

    def column(number: Any, name: str) -> Tensor:
        values = [next(run) for run in columns]
        if any(isinstance(value, Tensor) for value in values):
            raise ValueError(f"{name} is a stack already")
        dtype = torch.int64 if isinstance(number, int) else torch.float64
        return torch.tensor(values, dtype=dtype)

    return map_numbers(first, column)


def batch_size(*components: Component | None) -> int:
    """Returns the number of runs that components have numbers for; 1 if all numbers are floats.

    Raises:
        ValueError: if tensors have values for different numbers of runs, or a shape other than
            ``(B,)``.
    """
    size, where = 1, ""
    for component in components:
        for name, number in numbers(component).items() if component else ():
            if not isinstance(number, Tensor) or number.dim() == 0:
                continue
            if number.dim() != 1 or not len(number):
                raise ValueError(f"{name} has shape {tuple(number.shape)}, not (B,)")
            if size not in (1, len(number)) and len(number) != 1:
                raise ValueError(f"{where} is for {size} runs, {name} for {len(number)}")
            if len(number) > size:
                size, where = len(number), name
    return size


def of_runs(component: C, which: slice | Tensor) -> C:
    """Returns the component of some runs of a batch.

    Args:
        component: the component of B runs. Numbers that all runs share are kept.
        which: the indices of the runs, ``(n,)``, or a slice.
    """

    def chosen(number: Any, name: str) -> Any:
        if not isinstance(number, Tensor) or number.numel() == 1:
            return number
        index = which.to(number.device) if isinstance(which, Tensor) else which
        return number.reshape(-1)[index]

    return map_numbers(component, chosen)


def select(component: C, index: int) -> C:
    """Returns the component of one run of a batch, with plain numbers."""

    def one(number: Any, name: str) -> Any:
        if not isinstance(number, Tensor):
            return number
        return number.reshape(-1)[index if number.numel() > 1 else 0].item()

    return map_numbers(component, one)


def substitute(component: C, **values: Any) -> C:
    """Returns a copy with other values in some fields, which are not checked."""
    copy = object.__new__(type(component))
    copy.__dict__.update(component.__dict__, **values)
    return copy


def replaced(component: C, values: Mapping[str, Any]) -> C:
    """Returns a copy with other values of some numbers, which are not checked.

    Args:
        component: the component.
        values: the new values by name, which is a field's name or ``field[index]``.
    """
    changed: dict[str, Any] = {}
    for name, value in values.items():
        field, _, index = name.rstrip("]").partition("[")
        if index:
            parts = list(changed.get(field, getattr(component, field)))
            parts[int(index)] = value
            value = tuple(parts)
        changed[field] = value
    return substitute(component, **changed) if changed else component


def is_zero(number: Number) -> bool:
    """Returns whether a number is the plain number 0, and thus 0 for every run."""
    return not isinstance(number, Tensor) and number == 0


LANES = 32
"""Batches are padded to a multiple of this number, which is twice the number of float32 in the
widest vector register. The elements after the last complete pair of registers go through scalar
implementations of `cos` and `exp`, whose results differ in the last bit."""


def padded(tensor: Tensor) -> Tensor:
    """Pads the last axis of a tensor to a multiple of `LANES` by repeating its last element.

    The result is contiguous, because some operations use their scalar implementation for expanded
    tensors, too.
    """
    missing = -tensor.shape[-1] % LANES
    if not missing:
        return tensor.contiguous()
    return torch.cat([tensor, tensor[..., -1:].expand(*tensor.shape[:-1], missing)], dim=-1)


def in_lanes(
    component: C, batch: int, dtype: torch.dtype, device: torch.device, first: int = 0
) -> C:
    """Returns a copy whose numbers are tensors of `batch` runs, padded to a multiple of `LANES`.

    The plain number 0 stays a plain number, so that update rules can leave out the terms that it
    cancels. This does not change any finite result (see `is_zero`).

    Args:
        component: the component of one run or of a batch.
        batch: the number of runs.
        dtype: the dtype of numbers that are not integers.
        device: the device of the tensors.
        first: the index of the first run in the batch.
    """

    def lane(number: Any, name: str) -> Number:
        if isinstance(number, float) and number == 0:
            return 0.0
        tensor = _tensor(number)
        if tensor.numel() > 1:
            tensor = tensor[first : first + batch]
        whole = not tensor.is_floating_point()
        tensor = tensor.to(device, torch.int64 if whole else dtype)
        return padded(tensor.expand(batch) if tensor.numel() == 1 else tensor)

    return map_numbers(component, lane)


def _tensor(number: Any) -> Tensor:
    """Returns a number as a tensor, without rounding."""
    return torch.as_tensor(number, dtype=torch.float64 if isinstance(number, float) else None)


def plain_zeros(component: C) -> C:
    """Returns a copy with the plain number 0 in place of tensors that are 0 for every run."""

    def plain(number: Any, name: str) -> Any:
        if not isinstance(number, Tensor) or not number.is_floating_point():
            return number
        return number if bool(number.any()) else 0.0

    return map_numbers(component, plain)
