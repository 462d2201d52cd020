"""Writes the graph of a step as C++ that computes many runs at once.

A value of the graph is an array over its leading axes; its last axis, that of the runs, becomes the
lanes of packs. So each element of the array is a pack (one number for each run), or a plain number
if the value has no axis of runs. Operations that only rearrange elements (slices, flips,
expansions) cost nothing: they change the index in the expressions that read them. Arithmetic on
arrays of one length shares a loop. Values that do not depend on the state are computed once, before
the first step.
"""

from __future__ import annotations

import operator
from collections.abc import Container
from typing import Any

import torch
from torch.fx import Graph, Node

from gradexp.engine.codegen.loop_schedule import LoopSchedule
from gradexp.engine.codegen.moves import Moves
from gradexp.engine.codegen.operations import CALLS, COMPARISONS, INFIX, LOGIC, literal, power
from gradexp.engine.codegen.sizes import name_of
from gradexp.engine.codegen.values import C_TYPES, Index, Unsupported, Value

_FAR = 39_000
"""Angles this large in size need a more careful sine and cosine: see ``circle.hpp``."""


class Emitter(Moves):
    """Walks a graph and writes its arithmetic."""

    def walk(self, graph: Graph, wanted: Container[Node]) -> None:
        """Emits the wanted nodes, except placeholders and the output.

        Raises:
            Unsupported: if a node has no compiled form.
        """
        for node in graph.nodes:
            if node not in wanted:
                continue
            if node.op == "get_attr":
                self.values[node.name] = self._constant(node)
                self._invariant.add(node.name)
            elif node.op == "call_function":
                self._section = self._section_of(node)
                self.values[node.name] = self._emit(node)
            elif node.op not in ("placeholder", "output"):
                raise Unsupported(f"{node.op} {node.target}")

    def _section_of(self, node: Node) -> LoopSchedule:
        """Returns the section in which a node is computed, which depends on its inputs."""
        inputs = {source.name for source in node.all_input_nodes}
        if inputs <= self._invariant:
            self._invariant.add(node.name)
            return self.before
        if self._is_half(node) or (inputs & self._slow and inputs <= self._slow | self._invariant):
            self._slow.add(node.name)
            return self.slow
        return self.step

    def _is_half(self, node: Node) -> bool:
        """Whether a node is half the step number, rounded down."""
        if name_of(node) not in ("__rshift__", "bitwise_right_shift") or node.args[1] != 1:
            return False
        return self.clock is not None and node.args[0] is self.clock

    def _emit(self, node: Node) -> Value:
        target: Any = node.target
        if target is operator.getitem:
            raise Unsupported("several results of one operation")
        name = target._schema.name.removeprefix("aten::")
        move = getattr(self, "_" + name.strip("_"), None)
        if move is not None:
            moved: Value = move(node)
            return moved
        return self._arithmetic(node, name)

    def _arithmetic(self, node: Node, name: str) -> Value:
        dtype: torch.dtype = node.meta["val"].dtype
        if node in self._words.high:
            return self._high_word(node, self.values[self._words.high[node].name])
        if node in self._words.low:
            return self._broadcast(node, self._source(node))
        arguments = list(node.args)
        inner = dtype
        tensors = [a for a in arguments if isinstance(a, Node)]
        if name in COMPARISONS:
            inner = tensors[0].meta["val"].dtype
            for argument in arguments[1:]:
                other = argument.meta["val"].dtype if isinstance(argument, Node) else inner
                if inner.is_floating_point < other.is_floating_point or (
                    isinstance(argument, Node) and argument.meta["val"].dim()
                ):
                    inner = torch.promote_types(inner, other)
        if name in LOGIC or name == "logical_not":
            inner = torch.bool
        if inner == torch.bool:
            name = {"mul": "logical_and", "add": "logical_or"}.get(name, name)
        values = [self._operand(a, inner) for a in arguments if a is not None]
        lanes = self._shape(node)[1]
        alpha: Any = node.kwargs.get("alpha", 1)
        if any(key not in ("alpha",) for key in node.kwargs):
            raise Unsupported(f"{name} with {', '.join(node.kwargs)}")
        if name == "mul":
            for one, other in (values, values[::-1]):
                if one.known == 1 and other.lanes == lanes and other.dtype == dtype:
                    return self._broadcast(node, other)

        def text(index: Index) -> str:
            read = [self._read(value, node, index, inner) for value in values]
            if inner == torch.bool and lanes:
                read = [f"mask({r})" for r in read]
            if name == "mul" and not inner.is_floating_point:
                kind = "product_of_words" if node in self._words.products else "product"
                return f"{kind}({read[0]}, {read[1]})"
            if name in INFIX:
                last = (
                    f"{C_TYPES[inner]}({literal(alpha)}) * ({read[1]})" if alpha != 1 else read[1]
                )
                if name == "div" and not inner.is_floating_point:
                    raise Unsupported("a division of whole numbers")
                return f"({read[0]}) {INFIX[name]} ({last})"
            if name in COMPARISONS:
                return f"({read[0]}) {COMPARISONS[name]} ({read[1]})"
            if name in LOGIC:
                return f"{read[0]} {LOGIC[name]} {read[1]}"
            if name in ("logical_not", "bitwise_not"):
                return f"~{read[0]}" if lanes or inner != torch.bool else f"!{read[0]}"
            if lanes:
                read = [f"pack({r})" for r in read]
            if name == "pow":
                return self._power(values, read, dtype, lanes)
            if name in CALLS and len(read) == CALLS[name].__code__.co_argcount - len(
                CALLS[name].__defaults__ or ()
            ):
                return CALLS[name](*read)
            raise Unsupported(f"{name} has no compiled form")

        return self._compute(node, dtype, lanes, text)

    def _high_word(self, node: Node, source: Value) -> Value:
        """Emits the upper 32 bits of an integer."""

        def text(index: Index) -> str:
            return f"high_word(pack({self._read(source, node, index, torch.int64)}))"

        return self._compute(node, torch.int64, True, text)

    def _to_copy(self, node: Node) -> Value:
        if node not in self._words.shifted:
            return self._same(node)
        word, by = self._words.shifted[node]
        source, dtype = self.values[word.name], node.meta["val"].dtype

        def text(index: Index) -> str:
            read = self._read(source, node, index, torch.int64)
            return f"shifted_word<{C_TYPES[dtype]}>({read}, {by})"

        return self._compute(node, dtype, source.lanes, text)

    def _power(self, values: list[Value], read: list[str], dtype: torch.dtype, lanes: bool) -> str:
        exponent = values[1].known
        if exponent is None:
            return f"pow({read[0]}, {read[1]})"
        if exponent == 0:
            one = f"{C_TYPES[dtype]}(1)"
            return f"pack({one})" if lanes else one
        return power(read[0], exponent)

    def _sin(self, node: Node) -> Value:
        """Emits a sine or cosine, both of which come from one call.

        A function with one of them has a gradient with the other.
        """
        angle, dtype = node.args[0], node.meta["val"].dtype
        assert isinstance(angle, Node)
        source, part = self.values[angle.name], str(node.target).split(".")[1]
        if not source.lanes:
            return self._compute(
                node,
                dtype,
                False,
                lambda index: f"{part}({self._read(source, node, index, dtype)})",
            )
        pair = self._pairs.get(angle.name)
        if pair is None:
            near = self._sizes.at_most(angle) < _FAR
            name = "sincos_of_near" if near else "sincos"

            def text(index: Index) -> str:
                return f"{name}(pack({self._read(source, node, index, dtype)}))"

            pair = self._compute(node, dtype, True, text, f"SinCos<{C_TYPES[dtype]}>")
            self._pairs[angle.name] = pair
        return Value(dtype, pair.shape, True, lambda index: f"{pair.at(index)}.{part}")

    _cos = _sin

    def _relu(self, node: Node) -> Value:
        return self._clamped(node, (node.args[0], 0.0, None))

    def _clamp(self, node: Node) -> Value:
        return self._clamped(node, (*node.args, None)[:3])

    def _clamped(self, node: Node, arguments: tuple[Any, ...]) -> Value:
        """Emits a value clamped between a lower and an upper bound, either of which may be None."""
        dtype: torch.dtype = node.meta["val"].dtype
        x, low, high = (None if a is None else self._operand(a, dtype) for a in arguments)
        assert x is not None
        lanes = self._shape(node)[1]

        def text(index: Index) -> str:
            def read(value: Value) -> str:
                told = self._read(value, node, index, dtype)
                return f"pack({told})" if lanes else told

            result = read(x)
            for bound, name in ((low, "maximum"), (high, "minimum")):
                if bound is not None:
                    result = f"{name}({result}, {read(bound)})"
            return result

        return self._compute(node, dtype, lanes, text)

    def _where(self, node: Node) -> Value:
        dtype: torch.dtype = node.meta["val"].dtype
        condition, *rest = (self._operand(a, dtype) for a in node.args)
        lanes = self._shape(node)[1]

        def text(index: Index) -> str:
            question = self._read(condition, node, index, torch.bool)
            yes, no = (self._read(value, node, index, dtype) for value in rest)
            if not lanes:
                return f"where({question}, {yes}, {no})"
            form = "mask" if dtype == torch.bool else "pack"
            if not condition.lanes:
                return f"({question} ? {form}({yes}) : {form}({no}))"
            if dtype == torch.bool:
                return f"(mask({question}) & mask({yes})) | (~mask({question}) & mask({no}))"
            return f"where({question}, pack({yes}), pack({no}))"

        return self._compute(node, dtype, lanes, text)
