"""A block of steps as a compiled program, for any chunk of runs of one structure."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from gradexp.engine.native.build import build
from gradexp.engine.native.program import Leaf, lay_out, trace, write
from gradexp.engine.problem import PARTS, Problem, Record
from gradexp.engine.rows import Recording
from gradexp.engine.runs import Runs, begin, step_once
from gradexp.numbers import map_numbers, numbers

COORDINATES = 16
"""Points of up to so many dimensions are held as a tuple of coordinates, in registers."""

_EXAMPLE = 131
"""Runs in the example that is traced: a size that no other axis is likely to have."""

_GROUPS = 2
"""Packs that are advanced in turn: measured, 1 takes 1.8 times as long, 4 as long as 2."""


@dataclass(frozen=True)
class Block:
    """A compiled program, and where it wants its numbers."""

    function: Callable[..., None]
    leaves: tuple[Leaf, ...]
    """of the state, then of the numbers"""
    state: TreeSpec
    tuple_of_coordinates: bool

    def buffers(self, width: int) -> dict[str, Tensor]:
        """Room for `width` runs."""
        rows: dict[str, tuple[int, torch.dtype]] = {}
        for leaf in self.leaves:
            rows[leaf.buffer] = (leaf.first + leaf.rows, leaf.dtype)
        return {
            name: torch.empty(count, width, dtype=dtype) for name, (count, dtype) in rows.items()
        }

    def fill(self, buffers: dict[str, Tensor], problem: Problem) -> None:
        """Puts the starts of a problem in lanes, and its numbers, into buffers."""
        point: Any = problem.start
        runs = begin(
            tuple(point) if self.tuple_of_coordinates else point,
            problem.batched,
            len(problem.record.tolerances),
            bool(problem.least.value),
        )
        values = [*tree_flatten(runs)[0], *_lanes(problem)]
        for leaf, value in zip(self.leaves, values, strict=True):
            rows = buffers[leaf.buffer][leaf.first : leaf.first + leaf.rows]
            rows[:, : value.shape[-1]] = value

    def runs(self, buffers: dict[str, Tensor]) -> Runs:
        """The runs in the buffers; their points ``(dim, B)``."""
        leaves = [
            buffers[leaf.buffer][leaf.first : leaf.first + leaf.rows]
            for leaf in self.leaves[: self.state.num_leaves]
        ]
        runs: Runs = tree_unflatten([leaf.squeeze(0) for leaf in leaves], self.state)
        if self.tuple_of_coordinates:
            first = self.leaves[0].first
            point = buffers["reals"][first : first + len(runs.point)]
            runs = runs._replace(point=point)
        return runs

    def advance(
        self,
        buffers: dict[str, Tensor],
        first: int,
        looks: int,
        last: int,
        recording: Recording | None,
        column: int,
    ) -> None:
        """Makes `looks` looks from step `first` on, each but the one at `last` with a move after.

        Other Python threads go on meanwhile.

        Args:
            buffers: changed in place; as wide as a multiple of `LANES`.
            first: the step of the first look.
            looks: how many.
            last: the last step.
            recording: what takes the rows, if anything.
            column: of the first run in it.
        """
        width = buffers["reals"].shape[1]
        rows = recording.pointers(column) if recording else (None, None, None, 0, 1)
        self.function(
            *(
                buffers[name].data_ptr() if name in buffers else None
                for name in ("reals", "counts", "wholes")
            ),
            *(width, 0, width, first, looks, last),
            *rows,
        )


def _lanes(problem: Problem) -> Iterator[Tensor]:
    """The numbers of a problem that are tensors, in order."""
    for name in PARTS:
        for number in numbers(getattr(problem, name)).values():
            if isinstance(number, Tensor):
                yield number


def block_for(problem: Problem) -> Block:
    """The compiled program of a problem, whose numbers are in lanes or plain zeros.

    Raises:
        Unsupported: it does something that has no form in a program.
        CannotCompile: there is no compiler, or it failed.
    """
    parts = tuple(_marked(getattr(problem, name)) for name in PARTS)
    dim, dtype = problem.start.shape[0], problem.start.dtype
    key = _Key(parts, problem.record.tolerances, dtype, dim)
    try:
        hash(key)
    except TypeError:  # a person's component with, say, a list in it
        return _block.__wrapped__(key)
    return _block(key)


@dataclass(frozen=True)
class _Key:
    """What a program depends on."""

    parts: tuple[Any, ...]
    tolerances: tuple[Any, ...]
    dtype: torch.dtype
    dim: int


def _marked(component: Any) -> Any:
    """The component with, for each number, whether it is there or a plain zero."""

    def mark(number: Any, name: str) -> Any:
        if not isinstance(number, Tensor):
            return 0.0
        return "whole" if number.dtype == torch.int64 else "real"

    return map_numbers(component, mark)


@lru_cache(maxsize=256)
def _block(key: _Key) -> Block:
    parts = {name: _example(part, key.dtype) for name, part in zip(PARTS, key.parts, strict=True)}
    start = torch.ones(key.dim, _EXAMPLE, dtype=key.dtype)
    record = Record(what="metrics", tolerances=key.tolerances)
    problem = Problem(**parts, start=start, steps=1, record=record)
    small = key.dim <= COORDINATES
    runs = begin(
        tuple(start) if small else start,
        problem.batched,
        len(key.tolerances),
        bool(problem.least.value),
    )
    leaves, spec = tree_flatten(runs)
    leaves = [leaf.clone() for leaf in leaves]  # one tensor twice would be traced as one input
    lanes = list(_lanes(problem))
    held = len(leaves)

    def step(*flat: Tensor) -> list[Tensor]:
        given = iter(flat[held + 2 :])

        def take(number: Any, name: str) -> Any:
            return next(given) if isinstance(number, Tensor) else number

        parts: dict[str, Any] = {name: map_numbers(getattr(problem, name), take) for name in PARTS}
        parts["steps"] = flat[held + 1]
        now = dataclasses.replace(problem, **parts)
        after = step_once(now, tree_unflatten(list(flat[:held]), spec), flat[held])
        results: list[Tensor] = tree_flatten(after)[0]
        return results

    module = trace(step, [*leaves, torch.tensor(0), torch.tensor(1), *lanes])
    layout = lay_out([*leaves, *lanes])
    numbered = tree_unflatten(list(range(held)), spec)
    seen = {
        "point": tree_flatten(numbered.point)[0][0],
        "loss": numbered.loss,
        "gradient_square": numbered.gradient_square,
        "steps": numbered.steps,
    }
    source = write(module, layout, held, seen, key.dim, _EXAMPLE, _GROUPS if small else 1)
    function = build(source).run
    pointer, whole = ctypes.c_void_p, ctypes.c_int64
    function.argtypes = [pointer] * 3 + [whole] * 6 + [pointer] * 3 + [whole] * 2
    function.restype = None
    return Block(function, tuple(layout), spec, small)


def _example(part: Any, dtype: torch.dtype) -> Any:
    def lanes(mark: Any, name: str) -> Any:
        if mark == 0.0:
            return mark
        return torch.ones(_EXAMPLE, dtype=torch.int64 if mark == "whole" else dtype)

    return map_numbers(part, lanes)
