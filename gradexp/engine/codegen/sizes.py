"""Bounds on the size of the values of a graph that are known before it is run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Graph, Node

_KEPT = ("select", "slice", "view", "expand", "unsqueeze", "squeeze", "clone", "alias", "stack")
_SUMS = ("add", "sub")
_SHIFTS = ("__rshift__", "bitwise_right_shift")
_MASKS = ("bitwise_and", "__and__")
_WORDS = ("bitwise_or", "bitwise_xor", "__or__", "__xor__")


class Sizes:
    """Upper bounds on the absolute values in a graph.

    A real number may also be NaN. An integer with a finite bound is also not negative.

    Args:
        graph: of a step.
    """

    def __init__(self, graph: Graph) -> None:
        self._known: dict[Node, float] = {}
        for node in graph.nodes:
            value = node.meta.get("val")
            if node.op == "call_function" and isinstance(value, torch.Tensor):
                whole = not value.is_floating_point()
                bound = self._bound(node, whole)
                # An integer that overflows may become negative.
                self._known[node] = math.inf if whole and bound >= 2**63 else bound

    def at_most(self, value: object) -> float:
        """Returns the bound of a node or of a number, infinite if nothing is known."""
        if isinstance(value, Node):
            return self._known.get(value, math.inf)
        return abs(value) if isinstance(value, int | float) else math.inf

    def _bound(self, node: Node, whole: bool) -> float:
        name, (first, *others) = name_of(node), (*node.args, 0)
        if name == "arange" or name.startswith("full"):
            return self._of_constant(name, node, whole)
        if whole and any(isinstance(part, int) and part < 0 for part in node.args):
            return math.inf
        parts = first if name == "stack" and isinstance(first, Sequence) else [first]
        sizes = [self.at_most(part) for part in parts]
        other = self.at_most(others[0])
        if name == "where":
            return max(map(self.at_most, others[:2]))
        if whole and isinstance(first, Node) and first.meta["val"].is_floating_point():
            return math.inf  # it may be negative
        if name == "_to_copy" or name in _KEPT:
            return max(sizes)
        if name == "mul":
            return math.inf if math.inf in (sizes[0], other) else sizes[0] * other
        if name in _SUMS and not (whole and (name == "sub" or node.kwargs)):
            alpha: Any = node.kwargs.get("alpha", 1)
            return sizes[0] + other * float(abs(alpha))
        if whole:
            return self._of_bits(name, sizes[0], others[0], other)
        if name in ("neg", "abs"):
            return sizes[0]
        return 1.0 if name in ("sin", "cos", "tanh", "sigmoid") else math.inf

    def _of_bits(self, name: str, size: float, other: object, limit: float) -> float:
        if name in _MASKS:  # the result has no more bits than either operand that is not negative
            return min(size, limit)
        if math.inf in (size, limit):
            return math.inf
        if name in _SHIFTS and isinstance(other, int):
            return int(size) >> other
        return 2.0 ** max(int(size), int(limit)).bit_length() - 1 if name in _WORDS else math.inf

    def _of_constant(self, name: str, node: Node, whole: bool) -> float:
        if name == "arange":
            return max(map(self.at_most, node.args))
        value = node.args[1] if len(node.args) > 1 else math.inf
        return math.inf if whole and isinstance(value, int) and value < 0 else self.at_most(value)


def name_of(node: Node) -> str:
    """Returns the name of a node's ATen operation, or an empty string."""
    schema = getattr(node.target, "_schema", None)
    return schema.name.removeprefix("aten::") if schema else ""
