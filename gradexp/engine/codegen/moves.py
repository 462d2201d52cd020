"""Operations that rearrange or combine arrays, or make constants: mostly changes of index."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node

from gradexp.engine.codegen.operations import literal
from gradexp.engine.codegen.values import (
    C_TYPES,
    Index,
    Unsupported,
    Value,
    flat,
    shifted,
    unravelled,
)
from gradexp.engine.codegen.writer import Writer


class Moves(Writer):
    """Emits the operations that read their inputs at changed indices.

    They need no statement of their own, except where arrays are joined, summed or converted.
    """

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
        kind = C_TYPES[dtype]
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

    _alias = _clone = _detach = _lift_fresh_copy = _same

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

        def text(index: Index) -> str:  # `at` is called here, so that the reads are noted
            return " + ".join(source.at((str(i),)) for i in range(source.places))

        return self._compute(node, source.dtype, True, text)


def _arguments(node: Node) -> list[Any]:
    return list(node.args)


def _bounds(given: list[Any]) -> tuple[int, int, int, int]:
    """Returns axis, start, stop and step of a slice, with the defaults filled in."""
    filled: list[Any] = [*given, *(0, None, None, 1)[len(given) :]]
    axis, start, stop, step = filled
    return axis, start or 0, 2**62 if stop is None else stop, step
