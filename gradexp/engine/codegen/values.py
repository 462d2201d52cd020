"""Values of a graph as C++ expressions, and the arithmetic of their indices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

Index = tuple[str, ...]

C_TYPES = {
    torch.float32: "float",
    torch.float64: "double",
    torch.int32: "int32_t",
    torch.int64: "int64_t",
    torch.bool: "bool",
}


class Unsupported(Exception):
    """The graph has an operation that cannot be compiled."""


@dataclass(frozen=True)
class Value:
    """A value of the graph: an array over its leading axes."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    """the leading axes: all but that of the runs"""
    lanes: bool
    """whether it has an axis of runs, so that its elements are packs"""
    at: Callable[[Index], str]
    """returns the expression of the element at an index"""
    known: float | None = None
    """the number that all elements are equal to, if that is known"""

    @property
    def places(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


def flat(shape: Sequence[int], index: Index) -> str:
    """Returns the position of an index in row-major order."""
    place = "0"
    for size, at in zip(shape, index, strict=True):
        if size != 1:
            place = at if place == "0" else f"({place}) * {size} + {at}"
    return place


def unravelled(shape: Sequence[int], place: str) -> Index:
    """Returns the index of a position in row-major order."""
    if sum(size != 1 for size in shape) <= 1:
        return tuple("0" if size == 1 else place for size in shape)
    index, below = [], math.prod(shape)
    for size in shape:
        below //= size
        index.append("0" if size == 1 else f"({place}) / {below} % {size}")
    return tuple(index)


def shifted(at: str, offset: int, factor: int = 1) -> str:
    """Returns the expression ``offset + factor * at``, evaluated if `at` is a number."""
    if at.lstrip("-").isdigit():
        return str(offset + factor * int(at))
    text = at if factor == 1 else f"{factor} * ({at})"
    return text if not offset else f"{offset} + {text}"
