"""Writes the graph of a step as C++ over packs of lanes.

Every value of the graph is a number, or a pack of one number a lane, at each place of its leading
axes. What only moves numbers about (slices, flips, expansions) costs nothing: it is a change of
index in what reads it. Arithmetic of one shape shares a loop over places; what depends on no state
is computed once, before the first step.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from gradexp.engine.native.operations import (
    CALLS,
    COMPARISONS,
    INFIX,
    LOGIC,
    literal,
    power,
)

Index = tuple[str, ...]

_TYPES = {
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


@dataclass
class Section:
    """Statements, in which neighbours of one number of places share a loop."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    """text, and the array that it fills where it does"""
    loop: list[tuple[str, str]] = field(default_factory=list)
    places: int = 0
    inside: set[str] = field(default_factory=set)

    def close(self) -> None:
        """Ends the loop that is open."""
        if self.loop:
            self.lines.append((f"for (int r = 0; r < {self.places}; ++r) {{", ""))
            self.lines += self.loop
            self.lines.append(("}", ""))
        self.loop, self.places, self.inside = [], 0, set()


class Emitter:
    """Walks a graph and collects the statements of its two sections."""

    def __init__(self, module: GraphModule, lanes: int, invariant: set[str]) -> None:
        self._module = module
        self._lanes = lanes
        self._invariant = set(invariant)
        self.before, self.step = Section(), Section()
        self.values: dict[str, Value] = {}
        self.arrays: dict[str, tuple[str, int]] = {}
        self.stored: set[str] = set()
        self.constants: list[str] = []
        self.kept: list[str] = []
        self._pairs: dict[str, Value] = {}
        self._reads: list[tuple[str, str]] = []
        self._section = self.step

    # -- the walk

    def place(self, node: Node, value: Value) -> None:
        """Gives a placeholder its value."""
        self.values[node.name] = value

    def walk(self, graph: Graph) -> None:
        """Emits every node but placeholders and the output."""
        for node in graph.nodes:
            if node.op == "get_attr":
                self.values[node.name] = self._constant(node)
                self._invariant.add(node.name)
            elif node.op == "call_function":
                if all(n.name in self._invariant for n in node.all_input_nodes):
                    self._invariant.add(node.name)
                self._section = self.before if node.name in self._invariant else self.step
                self.values[node.name] = self._emit(node)
            elif node.op not in ("placeholder", "output"):
                raise Unsupported(f"{node.op} {node.target}")
        self.before.close()
        self.step.close()

    def array(self, name: str, value_type: str, shape: tuple[int, ...]) -> Callable[[Index], str]:
        """How an array is read that is kept outside of the loops."""

        def at(index: Index) -> str:
            place = flat(shape, index)
            self._reads.append((name, place))
            if name in self._section.inside and place == "r":
                return f"{name}_r"
            self.stored.add(name)
            return f"{name}[{place}]"

        self.arrays[name] = (value_type, math.prod(shape))
        return at

    def _compute(
        self,
        node: Node,
        dtype: torch.dtype,
        lanes: bool,
        text: Callable[[Index], str],
        kind: str = "",
    ) -> Value:
        """A value with a name, computed where it stands in the graph."""
        shape = self._shape(node)[0]
        places, section = math.prod(shape), self._section
        if not kind:
            kind = _TYPES[dtype]
            if lanes:
                kind = "Mask" if dtype == torch.bool else f"Pack<{kind}>"
        name = f"v_{node.name}"
        if places == 1:
            nothing = ("0",) * len(shape)
            self._reads = []
            text(nothing)
            if any(read in section.inside for read, _ in self._reads):
                section.close()
            if section is self.before:
                self.kept.append(f"{kind} {name}[GROUPS];")
                section.lines.append((f"{name}[g] = {text(nothing)};", ""))
                return Value(dtype, shape, lanes, lambda index: f"{name}[g]")
            section.lines.append((f"const {kind} {name} = {text(nothing)};", ""))
            return Value(dtype, shape, lanes, lambda index: name)
        index = unravelled(shape, "r")
        self._reads = []
        text(index)
        crossing = any(read in section.inside and at != "r" for read, at in self._reads)
        if crossing or section.places not in (0, places):
            section.close()
        section.places = places
        at = self.array(name, kind, shape)
        section.loop.append((f"const {kind} {name}_r = {text(index)};", ""))
        section.loop.append((f"{name}[r] = {name}_r;", name))
        section.inside.add(name)
        return Value(dtype, shape, lanes, at)

    # -- shapes and operands

    def _shape(self, node: Node) -> tuple[tuple[int, ...], bool]:
        shape = tuple(node.meta["val"].shape)
        if shape and shape[-1] == self._lanes:
            return shape[:-1], True
        return shape, False

    def _constant(self, node: Node) -> Value:
        tensor = getattr(self._module, str(node.target))
        if tensor.numel() == 1:
            return self._number(tensor.item(), tensor.dtype, tuple(tensor.shape))
        name, kind = f"v_{node.name}", _TYPES[tensor.dtype]
        shape = tuple(tensor.shape)
        listed = ", ".join(literal(x) for x in tensor.flatten().tolist())
        self.constants.append(f"static const {kind} {name}[] = {{{listed}}};")
        return Value(tensor.dtype, shape, False, lambda index: f"{name}[{flat(shape, index)}]")

    def _number(self, x: Any, dtype: torch.dtype, shape: tuple[int, ...] = ()) -> Value:
        text = f"{_TYPES[dtype]}({literal(float(x) if dtype.is_floating_point else x)})"
        return Value(dtype, shape, False, lambda index: text, float(x))

    def _source(self, node: Node) -> Value:
        """The value of what an operation is first of all about."""
        assert isinstance(node.args[0], Node)
        return self.values[node.args[0].name]

    def _operand(self, argument: Any, dtype: torch.dtype) -> Value:
        if isinstance(argument, Node):
            return self.values[argument.name]
        return self._number(argument, dtype)

    def _read(self, value: Value, out: Node, index: Index, dtype: torch.dtype) -> str:
        """A value at an index of the result that it is broadcast to, in another type."""
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
            one, none = f"{_TYPES[dtype]}(1)", f"{_TYPES[dtype]}(0)"
            if value.lanes:
                return f"where({text}, pack({one}), pack({none}))"
            return f"({text} ? {one} : {none})"
        return f"to<{_TYPES[dtype]}>({text})"

    # -- operations

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
            if name in INFIX:
                last = f"{_TYPES[inner]}({literal(alpha)}) * ({read[1]})" if alpha != 1 else read[1]
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
                return self._power(values, read)
            if name in CALLS and len(read) == CALLS[name].__code__.co_argcount - len(
                CALLS[name].__defaults__ or ()
            ):
                return CALLS[name](*read)
            raise Unsupported(f"{name} has no compiled form")

        return self._compute(node, dtype, lanes, text)

    def _power(self, values: list[Value], read: list[str]) -> str:
        exponent = values[1].known
        if exponent is None:
            return f"pow({read[0]}, {read[1]})"
        if exponent == 0:
            return f"0 * ({read[0]}) + 1"
        return power(read[0], exponent)

    def _sin(self, node: Node) -> Value:
        """Sine or cosine: one call gives both, and a function that has one has a gradient with the
        other."""
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

            def text(index: Index) -> str:
                return f"sincos(pack({self._read(source, node, index, dtype)}))"

            pair = self._compute(node, dtype, True, text, f"SinCos<{_TYPES[dtype]}>")
            self._pairs[angle.name] = pair
        return Value(dtype, pair.shape, True, lambda index: f"{pair.at(index)}.{part}")

    _cos = _sin

    def _clamp(self, node: Node) -> Value:
        dtype: torch.dtype = node.meta["val"].dtype
        x, low, high = (
            None if a is None else self._operand(a, dtype) for a in (*node.args, None)[:3]
        )
        assert x is not None

        def text(index: Index) -> str:
            result = f"pack({self._read(x, node, index, dtype)})"
            for bound, name in ((low, "maximum"), (high, "minimum")):
                if bound is not None:
                    result = f"{name}({result}, pack({self._read(bound, node, index, dtype)}))"
            return result

        return self._compute(node, dtype, True, text)

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
                return f"({question} & mask({yes})) | (~{question} & mask({no}))"
            return f"where({question}, pack({yes}), pack({no}))"

        return self._compute(node, dtype, lanes, text)

    # -- what is known, or only moves numbers about

    def _full(self, node: Node) -> Value:
        number = node.args[1] if len(node.args) > 1 else node.args[0]
        shape, lanes = self._shape(node)
        dtype: torch.dtype = node.meta["val"].dtype
        known = self._number(number, dtype)
        text = known.at(())
        if lanes:
            text = f"mask({text})" if dtype == torch.bool else f"pack({text})"
        return Value(dtype, shape, lanes, lambda index: text, known.known)

    _full_like = _full

    def _scalar_tensor(self, node: Node) -> Value:
        dtype: torch.dtype = node.meta["val"].dtype
        return self._number(node.args[0], dtype)

    def _arange(self, node: Node) -> Value:
        dtype: torch.dtype = node.meta["val"].dtype
        bounds: list[Any] = list(node.args)
        start = 0 if len(bounds) == 1 else bounds[0]
        step = bounds[2] if len(bounds) > 2 else 1
        kind = _TYPES[dtype]
        text = f"{kind}({literal(start)}) + {kind}({literal(step)})"
        return Value(dtype, self._shape(node)[0], False, lambda index: f"({text} * ({index[0]}))")

    def _same(self, node: Node) -> Value:
        source = self._source(node)
        dtype: torch.dtype = node.meta["val"].dtype
        if source.dtype != dtype:
            lanes = source.lanes
            if dtype == torch.bool:
                raise Unsupported("a conversion to true and false")
            return self._compute(
                node, dtype, lanes, lambda index: self._read(source, node, index, dtype)
            )
        return source

    _alias = _clone = _detach = _lift_fresh_copy = _to_copy = _same

    def _view(self, node: Node) -> Value:
        source = self._source(node)
        shape, lanes = self._shape(node)
        if lanes != source.lanes or math.prod(shape) != source.places:
            raise Unsupported("a view that mixes runs")
        return Value(
            source.dtype,
            shape,
            lanes,
            lambda index: source.at(unravelled(source.shape, flat(shape, index))),
            source.known,
        )

    _reshape = _unsqueeze = _squeeze = _view

    def _expand(self, node: Node) -> Value:
        return self._broadcast(node, self._source(node))

    def _broadcast(self, node: Node, source: Value) -> Value:
        shape, lanes = self._shape(node)

        def at(index: Index) -> str:
            text = self._read(source, node, index, source.dtype)
            if lanes and not source.lanes:
                return f"mask({text})" if source.dtype == torch.bool else f"pack({text})"
            return text

        return Value(source.dtype, shape, lanes, at, source.known)

    def _axis(self, value: Value, axis: int) -> int:
        axis = axis + len(value.shape) + value.lanes if axis < 0 else axis
        if axis >= len(value.shape):
            raise Unsupported("an operation over the runs of a batch")
        return axis

    def _moved(self, node: Node, source: Value, change: Callable[[Index], Index]) -> Value:
        shape, lanes = self._shape(node)
        return Value(
            source.dtype, shape, lanes, lambda index: source.at(change(index)), source.known
        )

    def _select(self, node: Node) -> Value:
        source = self._source(node)
        _, axis, at = _arguments(node)
        axis = self._axis(source, axis)
        place = str(at % source.shape[axis])
        return self._moved(node, source, lambda index: (*index[:axis], place, *index[axis:]))

    def _slice(self, node: Node) -> Value:
        source = self._source(node)
        axis, start, stop, step = _bounds(_arguments(node)[1:])
        axis = self._axis(source, axis)
        first = slice(start, stop, step).indices(source.shape[axis])[0]

        def change(index: Index) -> Index:
            return (*index[:axis], shifted(index[axis], first, step), *index[axis + 1 :])

        return self._moved(node, source, change)

    def _slice_scatter(self, node: Node) -> Value:
        base, part = (self.values[a.name] for a in _arguments(node)[:2])
        axis, start, stop, step = _bounds(_arguments(node)[2:])
        axis = self._axis(base, axis)
        first, last, step = slice(start, stop, step).indices(base.shape[axis])

        def text(index: Index) -> str:
            place = index[axis]
            within = f"{place} >= {first} && {place} < {last}"
            if step != 1:
                within += f" && ({place} - {first}) % {step} == 0"
            inner = shifted(place, -first) if step == 1 else f"({place} - {first}) / {step}"
            there = part.at((*index[:axis], inner, *index[axis + 1 :]))
            return f"({within}) ? {there} : {base.at(index)}"

        return self._compute(node, base.dtype, base.lanes, text)

    def _flip(self, node: Node) -> Value:
        source = self._source(node)
        axes = {self._axis(source, axis) for axis in _arguments(node)[1]}

        def change(index: Index) -> Index:
            return tuple(
                shifted(at, source.shape[i] - 1, -1) if i in axes else at
                for i, at in enumerate(index)
            )

        return self._moved(node, source, change)

    def _cat(self, node: Node) -> Value:
        pieces, axis = (*_arguments(node), 0)[:2]
        parts = [self.values[piece.name] for piece in pieces]
        axis = self._axis(parts[0], axis)

        def text(index: Index) -> str:
            place, end, ends = index[axis], 0, []
            for part in parts:
                inner = shifted(place, -end)
                end += part.shape[axis]
                there = part.at(
                    (*index[:axis], "0" if part.shape[axis] == 1 else inner, *index[axis + 1 :])
                )
                ends.append((end, there))
            result = ends[-1][1]
            for end, there in reversed(ends[:-1]):
                result = f"({place} < {end}) ? {there} : ({result})"
            return result

        return self._compute(node, parts[0].dtype, parts[0].lanes, text)

    def _stack(self, node: Node) -> Value:
        pieces, axis = (*_arguments(node), 0)[:2]
        parts = [self.values[piece.name] for piece in pieces]
        axis = axis + len(parts[0].shape) + parts[0].lanes + 1 if axis < 0 else axis
        if axis > len(parts[0].shape):
            raise Unsupported("an operation over the runs of a batch")

        def text(index: Index) -> str:
            rest = (*index[:axis], *index[axis + 1 :])
            result = parts[-1].at(rest)
            for number, part in reversed(list(enumerate(parts[:-1]))):
                result = f"({index[axis]} == {number}) ? {part.at(rest)} : ({result})"
            return result

        return self._compute(node, parts[0].dtype, parts[0].lanes, text)

    def _sum(self, node: Node) -> Value:
        source = self._source(node)
        axes = (*_arguments(node), None)[1]
        if not source.lanes or axes is None or len(source.shape) != 1:
            raise Unsupported("an operation over the runs of a batch")
        self._axis(source, axes[0])
        terms = " + ".join(source.at((str(i),)) for i in range(source.places))
        return self._compute(node, source.dtype, True, lambda index: terms)


def _arguments(node: Node) -> list[Any]:
    return list(node.args)


def _bounds(given: list[Any]) -> tuple[int, int, int, int]:
    """Axis, start, stop and step of a slice."""
    filled: list[Any] = [*given, *(0, None, None, 1)[len(given) :]]
    axis, start, stop, step = filled
    return axis, start or 0, 2**62 if stop is None else stop, step
