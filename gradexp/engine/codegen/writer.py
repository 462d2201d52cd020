"""Collects the statements that compute the values of a graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule, Node

from gradexp.engine.codegen.loop_schedule import LoopSchedule
from gradexp.engine.codegen.operations import literal
from gradexp.engine.codegen.sizes import Sizes
from gradexp.engine.codegen.uint32 import Uint32
from gradexp.engine.codegen.values import C_TYPES, Index, Value, flat, unravelled

_PARTS = ("aten.slice.Tensor", "aten.select.int")

_LONGEST = 8
"""The most elements that an expression reads if it is repeated where it is used, not stored."""

_SHORT = ("aten.mul.Tensor", "aten.add.Tensor", "aten.sub.Tensor", "aten.neg.default")


class Writer:
    """Collects statements in three sections: before the first step, every second step, every step.

    Args:
        module: the graph of a step.
        lanes: the number of runs in the traced example, the length of its last axis.
        invariant: the names of the placeholders that stay the same at every step.
    """

    def __init__(self, module: GraphModule, lanes: int, invariant: set[str]) -> None:
        self._module = module
        self._lanes = lanes
        self._sizes = Sizes(module.graph)
        self._words = Uint32(module.graph, lanes, self._sizes)
        self._invariant = set(invariant)
        self._slow: set[str] = set()
        """values that depend on half the step number, but on nothing else that changes"""
        self.before, self.slow, self.step = LoopSchedule(), LoopSchedule(), LoopSchedule()
        self.clock: Node | None = None
        """the placeholder of the step, if values may be computed at every second step only"""
        self.values: dict[str, Value] = {}
        self.arrays: dict[str, tuple[str, int]] = {}
        """the element type and length of each array"""
        self.stored: set[str] = set()
        """the arrays that are read outside the loop that fills them"""
        self.apart: set[str] = set()
        """arrays that are not computed at every step: each pack of a group needs its own copy"""
        self.kinds: dict[str, str] = {}
        """the types of the single values that are computed at every second step"""
        self.constants: list[str] = []
        self.kept: list[str] = []
        self._pairs: dict[str, Value] = {}
        self._reads: list[tuple[str, str]] = []
        self._section = self.step
        self._trying = False

    def read_by(self, text: Callable[[Index], str], index: Index) -> list[tuple[str, str]]:
        """Returns the values that an expression reads, each with the index of the element."""
        self._reads, self._trying = [], True
        text(index)
        self._trying = False
        return self._reads

    def place(self, node: Node, value: Value) -> None:
        """Sets the value of a placeholder."""
        self.values[node.name] = value

    def array(self, name: str, value_type: str, shape: tuple[int, ...]) -> Callable[[Index], str]:
        """Registers an array and returns the function that writes how an element of it is read."""

        def at(index: Index) -> str:
            place = flat(shape, index)
            self._reads.append((name, place))
            if name in self._section.inside and place == "r":
                return f"{name}_r"
            if not self._trying:
                self.stored.add(name)
            return f"{name}[{place}]"

        self.arrays[name] = (value_type, math.prod(shape))
        if self._section is not self.step:
            self.apart.add(name)
        return at

    def _compute(
        self,
        node: Node,
        dtype: torch.dtype,
        lanes: bool,
        text: Callable[[Index], str],
        kind: str = "",
    ) -> Value:
        """Adds the statement that computes a node, and returns its value."""
        shape = self._shape(node)[0]
        places, section = math.prod(shape), self._section
        if not kind:
            kind = C_TYPES[dtype]
            if lanes:
                kind = "Mask" if dtype == torch.bool else f"Pack<{kind}>"
        name = f"v_{node.name}"
        if places == 1:
            to = "" if section is self.step else f"{name}[g]"
            if section is self.slow:
                self.kinds[name] = kind
            if section is self.before:
                self.kept.append(f"{kind} {name}[GROUPS];")
            nothing = ("0",) * len(shape)
            reads = self.read_by(text, nothing)
            section.add(name, kind, 1, lambda: text(nothing), reads, to)

            def read(index: Index) -> str:
                self._reads.append((name, ""))
                return to or name

            return Value(dtype, shape, lanes, read)
        if self._is_short(node, text):
            return Value(dtype, shape, lanes, lambda index: f"({text(index)})")
        at = self.array(name, kind, shape)
        index = unravelled(shape, "r")
        reads = self.read_by(text, index)
        section.add(name, kind, places, lambda: text(index), reads)
        return Value(dtype, shape, lanes, at)

    def _is_short(self, node: Node, text: Callable[[Index], str]) -> bool:
        """Whether an array is better recomputed where it is read than stored.

        That applies to arrays whose halves are combined repeatedly, so that each element is read
        once; and, before the first step, to a sum or a product of an array and numbers.
        """
        shape = self._shape(node)[0]
        reads = self.read_by(text, ("0",) * len(shape))
        read = [name for name, _ in reads if name in self.arrays]
        if len(set(read)) != 1:
            return False
        if self._section is self.before:
            return len(read) == 1 and str(node.target) in _SHORT
        return len(read) <= _LONGEST and self._is_folded(node)

    def _is_folded(self, node: Node) -> bool:
        """Whether each element of an array is read once, to combine its parts."""
        shape, users = self._shape(node)[0], list(node.users)
        if len(users) == 1 and str(users[0].target) not in _PARTS:
            sources = [n for n in users[0].all_input_nodes if math.prod(self._shape(n)[0]) > 1]
            alike = self._shape(users[0])[0] == shape and users[0].op == "call_function"
            return alike and len(sources) == 1 and self._is_folded(users[0])
        if any(str(user.target) not in _PARTS or user.args[0] is not node for user in users):
            return False
        return sum(math.prod(self._shape(user)[0]) for user in users) <= math.prod(shape)

    def _shape(self, node: Node) -> tuple[tuple[int, ...], bool]:
        shape = tuple(node.meta["val"].shape)
        if shape and shape[-1] == self._lanes:
            return shape[:-1], True
        return shape, False

    def _constant(self, node: Node) -> Value:
        tensor = getattr(self._module, str(node.target))
        if tensor.numel() == 1:
            return self._number(tensor.item(), tensor.dtype, tuple(tensor.shape))
        name, kind = f"v_{node.name}", C_TYPES[tensor.dtype]
        shape = tuple(tensor.shape)
        listed = ", ".join(literal(x) for x in tensor.flatten().tolist())
        self.constants.append(f"static const {kind} {name}[] = {{{listed}}};")
        return Value(tensor.dtype, shape, False, lambda index: f"{name}[{flat(shape, index)}]")

    def _number(self, x: Any, dtype: torch.dtype, shape: tuple[int, ...] = ()) -> Value:
        text = f"{C_TYPES[dtype]}({literal(float(x) if dtype.is_floating_point else x)})"
        return Value(dtype, shape, False, lambda index: text, float(x))

    def _source(self, node: Node) -> Value:
        """Returns the value of the first operand of a node."""
        assert isinstance(node.args[0], Node)
        return self.values[node.args[0].name]

    def _operand(self, argument: Any, dtype: torch.dtype) -> Value:
        if isinstance(argument, Node):
            return self.values[argument.name]
        return self._number(argument, dtype)

    def _read(self, value: Value, out: Node, index: Index, dtype: torch.dtype) -> str:
        """Returns the expression of a value, broadcast and converted, at an index of a result.

        Args:
            value: to be read.
            out: the node of the result.
            index: of the result's element.
            dtype: to convert to.
        """
        lanes = self._shape(out)[1]
        own = (*value.shape, 0) if value.lanes else value.shape
        full = (*index, "lane") if lanes else index
        own_index = tuple(
            "0" if size == 1 else at
            for size, at in zip(own, full[len(full) - len(own) :], strict=True)
        )
        text = value.at(own_index[:-1] if value.lanes else own_index)
        if value.dtype == dtype:
            return text
        if value.dtype == torch.bool:
            one, none = f"{C_TYPES[dtype]}(1)", f"{C_TYPES[dtype]}(0)"
            if value.lanes:
                return f"where({text}, pack({one}), pack({none}))"
            return f"({text} ? {one} : {none})"
        return f"to<{C_TYPES[dtype]}>({text})"

    def _broadcast(self, node: Node, source: Value) -> Value:
        shape, lanes = self._shape(node)

        def at(index: Index) -> str:
            text = self._read(source, node, index, source.dtype)
            if lanes and not source.lanes:
                return f"mask({text})" if source.dtype == torch.bool else f"pack({text})"
            return text

        return Value(source.dtype, shape, lanes, at, source.known)
