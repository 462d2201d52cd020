"""Tables of values that depend on the step only, computed for many steps before the loop.

A decay of the learning rate, or a bias correction 1 - βᵗ, is the same for all runs if they share
its numbers, but the graph computes it for each run and step. For a table, the lanes of a pack are
steps instead of runs, and the loop reads one number for each step. As lanes are independent, the
numbers are identical, to the bit, to those that the graph computes for each run.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.fx import GraphModule, Node

from gradexp.engine.codegen.emit import Emitter
from gradexp.engine.codegen.values import C_TYPES, Value


class Tables:
    """The tables of a step's graph.

    Args:
        module: the graph.
        lanes: the number of runs in the traced example, the length of its last axis.
        clock: the placeholders of the step and of the last step.
        shared: the placeholders of numbers with the same value for all runs. If empty, there are no
            tables.
    """

    def __init__(
        self, module: GraphModule, lanes: int, clock: Sequence[Node], shared: dict[Node, Value]
    ) -> None:
        self._emitter = _OverSteps(module, lanes, {*clock, *shared})
        for node, value in shared.items():
            self._emitter.place(node, value)
        step, last = clock
        self._emitter.place(step, Value(torch.int64, (), True, lambda index: "steps"))
        self._emitter.place(last, Value(torch.int64, (), True, lambda index: "lasts"))
        self.nodes = self._found(module, lanes, clock, shared) if shared else []
        self._emitter.walk(module.graph, wanted(self.nodes, ()))

    @staticmethod
    def _found(
        module: GraphModule, lanes: int, clock: Sequence[Node], shared: dict[Node, Value]
    ) -> list[Node]:
        """Returns the nodes to tabulate.

        They have one real number for each run, depend only on the step and shared numbers, and are
        read by nodes that depend on something else.
        """
        timed, moving = {*clock, *shared}, {clock[0]}
        for node in module.graph.nodes:
            if node.op == "get_attr" or (
                node.op == "call_function" and timed.issuperset(node.all_input_nodes)
            ):
                timed.add(node)
                if not moving.isdisjoint(node.all_input_nodes):
                    moving.add(node)

        def is_tabulated(node: Node) -> bool:
            value = node.meta["val"]
            alike = value.dtype.is_floating_point and value.shape == (lanes,)
            return alike and not timed.issuperset(node.users)

        return [node for node in module.graph.nodes if node in moving and is_tabulated(node)]

    def value(self, number: int) -> Value:
        """Returns the value that the loop over steps reads from a table."""
        dtype = self.nodes[number].meta["val"].dtype
        return Value(dtype, (), True, lambda index: f"pack(table{number}[step - first])")

    def text(self) -> str:
        """Returns the statements that fill the tables."""
        if not self.nodes:
            return ""
        rooms = [
            f"Room<{kind}> room{i}(iterations + LANES); auto* const table{i} = room{i}.first.get();"
            for i, kind in enumerate(C_TYPES[node.meta["val"].dtype] for node in self.nodes)
        ]
        stores = [
            f"store(table{i} + at, {self._emitter.values[node.name].at(())});"
            for i, node in enumerate(self.nodes)
        ]
        stored = {name: name for name in self._emitter.stored}
        before, _ = self._emitter.before.lines(stored)
        step, _ = self._emitter.step.lines(stored)
        arrays = (f"{kind} {name}[{places}];" for name, (kind, places) in self._arrays())
        return "\n  ".join(
            [
                *rooms,
                "const Pack<int64_t> lasts = splat(last);",
                "for (int64_t at = 0; at < iterations; at += LANES) {",
                "  constexpr int g = 0;",
                *(f"  {room}" for room in (*self._emitter.kept, *arrays)),
                "  const Pack<int64_t> steps = splat(first + at) + count<int64_t>();",
                f"  {before}",
                f"  {step}",
                *(f"  {store}" for store in stores),
                "}",
            ]
        )

    def _arrays(self) -> list[tuple[str, tuple[str, int]]]:
        """Returns the arrays that need memory, each with its element type and length."""
        emitter = self._emitter
        return [(name, emitter.arrays[name]) for name in emitter.arrays if name in emitter.stored]

    @property
    def constants(self) -> list[str]:
        """The declarations of constant arrays that the statements read."""
        return self._emitter.constants


class _OverSteps(Emitter):
    """Writes a graph over packs of steps instead of runs.

    Values made of the step, or of numbers that all runs share, have one number for each step.
    """

    def __init__(self, module: GraphModule, lanes: int, given: set[Node]) -> None:
        super().__init__(module, lanes, set())
        self._made = given
        for node in module.graph.nodes:
            if not self._made.isdisjoint(node.all_input_nodes):
                self._made.add(node)

    def _shape(self, node: Node) -> tuple[tuple[int, ...], bool]:
        shape, lanes = super()._shape(node)
        return shape, lanes or node in self._made


def wanted(nodes: Sequence[Node], given: Sequence[Node]) -> set[Node]:
    """Returns some nodes and all nodes that they depend on.

    The given nodes are left out, as are nodes that only those depend on.
    """
    found: set[Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in found and node not in given:
            found.add(node)
            waiting += node.all_input_nodes
    return found
