"""Finds arithmetic on 32-bit words held in 64-bit integers, as in counter-based random numbers.

The product of two such words takes one instruction instead of three. Their upper halves need not be
cleared first if only the lower halves are read, and an upper half takes one shift. A word that is
shifted to the right and converted to a real number is converted as a 32-bit integer.
"""

from __future__ import annotations

import torch
from torch.fx import Graph, Node

from gradexp.engine.codegen.sizes import Sizes, name_of

_WORD = 32

_SHIFTS = ("__rshift__", "bitwise_right_shift")
_BITWISE = ("bitwise_and", "bitwise_or", "bitwise_xor", "__and__", "__or__", "__xor__")


class Uint32:
    """The nodes of a graph that are operations on 32-bit words.

    Args:
        graph: of a step.
        lanes: the number of runs in the traced example, the length of its last axis.
        sizes: the bounds of its values.
    """

    def __init__(self, graph: Graph, lanes: int, sizes: Sizes) -> None:
        self._sizes = sizes
        self.products: set[Node] = set()
        """products of two words"""
        self.high: dict[Node, Node] = {}
        """upper words, each with the integer that it is taken from"""
        self.low: set[Node] = set()
        """lower words whose upper bits need not be cleared, as nothing reads them"""
        self.shifted: dict[Node, tuple[Node, int]] = {}
        """real numbers converted from a word shifted to the right, each with word and shift"""
        self._shifts: set[Node] = set()
        """the shifted words from which these are converted"""
        whole = [
            node
            for node in graph.nodes
            if node.op == "call_function" and getattr(node.meta["val"], "dtype", 0) == torch.int64
        ]
        self._whole = set(whole)
        for node in whole:
            if node.meta["val"].shape[-1:] == (lanes,):
                self._note(node)
                self._note_shift(node)
        for node in reversed(whole):
            source = _masked(node)
            same = source and source.meta["val"].shape == node.meta["val"].shape
            if same and node not in self.high and all(map(self._reads_low, node.users)):
                self.low.add(node)

    def _note(self, node: Node) -> None:
        """Registers a node that is a product of words, or an upper word."""
        if name_of(node) == "mul" and all(map(self._is_word, node.args)):
            self.products.add(node)
        shift = _masked(node)
        if shift and name_of(shift) in _SHIFTS:
            source, by = shift.args
            if by == _WORD and isinstance(source, Node):
                self.high[node] = source

    def _note_shift(self, node: Node) -> None:
        """Registers a word shifted to the right, if it is only converted to float32."""
        if name_of(node) not in _SHIFTS or not self._is_word(node.args[0]):
            return
        word, by = node.args
        kinds = {(name_of(user), user.meta["val"].dtype) for user in node.users}
        if kinds == {("_to_copy", torch.float32)} and isinstance(by, int) and 0 < by < _WORD:
            assert isinstance(word, Node)
            self._shifts.add(node)
            self.shifted |= dict.fromkeys(node.users, (word, by))

    def _reads_low(self, user: Node) -> bool:
        """Whether a node reads only the lower words of its operands."""
        if user in self._shifts:
            return True
        if user in self.high or user not in self._whole:
            return False
        if user in self.products or _masked(user):
            return True
        return name_of(user) in _BITWISE and all(map(self._reads_low, user.users))

    def _is_word(self, value: object) -> bool:
        """Whether a value is known to fit in 32 bits."""
        return bool(self._sizes.at_most(value) < 2**_WORD)


def _masked(node: Node) -> Node | None:
    """Returns the integer that a node is the lower word of, or None if it is not a lower word."""
    if name_of(node) in ("bitwise_and", "__and__") and node.args[1] == 2**_WORD - 1:
        return node.args[0] if isinstance(node.args[0], Node) else None
    return None
