"""Values of a graph as C++ text, and the places of their axes."""

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
    """The graph holds something that has no form over packs."""


@dataclass(frozen=True)
class Value:
    """A value of the graph: what it is at each place of its leading axes."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    """the leading axes: all but the lanes"""
    lanes: bool
    at: Callable[[Index], str]
    known: float | None = None
    """the number, where it is the same known one everywhere"""

    @property
    def places(self) -> int:
        return math.prod(self.shape)


def flat(shape: Sequence[int], index: Index) -> str:
    """The place in row-major order."""
    place = "0"
    for size, at in zip(shape, index, strict=True):
        if size != 1:
            place = at if place == "0" else f"({place}) * {size} + {at}"
    return place


def unravelled(shape: Sequence[int], place: str) -> Index:
    """The index of a place in row-major order."""
    if sum(size != 1 for size in shape) <= 1:
        return tuple("0" if size == 1 else place for size in shape)
    index, below = [], math.prod(shape)
    for size in shape:
        below //= size
        index.append("0" if size == 1 else f"({place}) / {below} % {size}")
    return tuple(index)


def shifted(at: str, offset: int, factor: int = 1) -> str:
    """``offset + factor * at``, worked out where it is known."""
    if at.lstrip("-").isdigit():
        return str(offset + factor * int(at))
    text = at if factor == 1 else f"{factor} * ({at})"
    return text if not offset else f"{offset} + {text}"
