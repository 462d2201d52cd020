"""Compiled programs that advance runs by a block of steps, one program for each structure."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from gradexp.engine.codegen.cpu import CpuProgram
from gradexp.engine.codegen.cuda import CudaProgram
from gradexp.engine.codegen.program import Leaf, lay_out, trace, write
from gradexp.engine.codegen.values import Unsupported
from gradexp.engine.problem import PARTS, Problem, Record
from gradexp.engine.recording import Recorder
from gradexp.engine.runs import NEVER, Notes, begin, step_once
from gradexp.numbers import in_lanes, map_numbers, numbers, with_parts

COORDINATES = 16
"""Points of up to this many dimensions are held in registers, as a tuple of coordinates."""

MOST_COORDINATES = 10_000
"""Points of more dimensions are not compiled: the traced example would take too much memory."""


@dataclass(frozen=True)
class Block:
    """A compiled program and the layout of the buffers that it works on."""

    program: CpuProgram | CudaProgram
    device: torch.device
    sizes: dict[str, tuple[int, torch.dtype]]
    """the number of rows and dtype of each buffer; the last row of ``reals`` is `Notes.before`"""
    places: Any
    """a `Runs` with a `Leaf` in place of each tensor: a single one for `point`, and a flat tuple of
    them for `memory`"""
    fields: tuple[tuple[Leaf, ...], ...]
    """the leaves of each field of the optimizer's state"""
    numbers: tuple[Leaf, ...]
    """the leaves of the problem's numbers"""
    tuple_of_coordinates: bool

    def buffers(self, width: int) -> dict[str, Tensor]:
        """Allocates buffers for `width` runs."""
        return {
            name: torch.empty(rows, width, dtype=dtype, device=self.device)
            for name, (rows, dtype) in self.sizes.items()
        }

    def fill(self, buffers: dict[str, Tensor], problem: Problem, columns: slice) -> None:
        """Fills the buffers with the initial state and the numbers of some runs of a problem.

        The last run is repeated up to the width of the buffers.

        Args:
            buffers: filled in place.
            problem: the problem whose runs they are.
            columns: the range of those runs in the problem.
        """
        count = columns.stop - columns.start
        shared: dict[str, list[float]] = {name: [0] * len(rows) for name, rows in buffers.items()}
        own = [(self.places.point, problem.start)]
        for leaf in (self.places.best_loss, self.places.move_square):
            shared["reals"][leaf.first] = torch.inf
        for leaf in (*self.places.gradient_steps, *self.places.gap_steps):
            shared[leaf.buffer][leaf.first] = NEVER
        for leaf, number in zip(self.numbers, _present(problem), strict=True):
            if isinstance(number, Tensor):
                own.append((leaf, number.reshape(-1)))
            else:
                shared[leaf.buffer][leaf.first] = number
        for name, rows in buffers.items():
            rows.copy_(torch.tensor(shared[name], dtype=rows.dtype, device=rows.device)[:, None])
        for leaf, value in own:
            rows = self._rows(buffers, leaf)
            rows[:, :count] = value[..., columns] if value.shape[-1] > 1 else value
            if count < rows.shape[1]:
                rows[:, count:] = rows[:, count - 1 : count]
        point: Any = self._rows(buffers, self.places.point)
        start = problem.start
        rule = in_lanes(problem.batched, count, start.dtype, start.device, columns.start)
        memory = rule.init(tuple(point) if self.tuple_of_coordinates else point)
        for leaf, state in zip(self.places.memory, tree_leaves(memory), strict=True):
            self._rows(buffers, leaf).copy_(state)

    def _rows(self, buffers: dict[str, Tensor], leaf: Leaf) -> Tensor:
        return buffers[leaf.buffer][leaf.first : leaf.first + leaf.rows]

    def steps(self, buffers: dict[str, Tensor]) -> Tensor:
        """Returns the number of moves that each run in the buffers has made."""
        leaf: Any = self.places.steps
        return buffers[leaf.buffer][leaf.first]

    def notes(self, buffers: dict[str, Tensor]) -> Notes:
        """Returns the notes on the runs in the buffers, as views of their rows."""
        places = self.places
        real = (places.move_square, *places.left)[-1]
        last = (places.best_step, *places.gradient_steps, *places.gap_steps)[-1]
        rows = buffers["reals"]
        return Notes(rows[: real.first + 1], buffers[last.buffer][: last.first + 1], rows[-1])

    def state(self, buffers: dict[str, Tensor]) -> list[Tensor]:
        """Returns copies of the points ``(dim, width)`` and of the optimizer's state, by field."""
        fields = [[self.places.point], *self.fields]
        return [torch.cat([self._rows(buffers, leaf) for leaf in field]) for field in fields]

    def advance(
        self,
        buffers: dict[str, Tensor],
        first: int,
        looks: int,
        last: int,
        recorder: Recorder | None,
        column: int,
    ) -> None:
        """Advances the runs by `looks` steps, starting at step `first`.

        At each step the program looks at the loss and the gradient, then makes a move, except at
        the step `last`.

        Args:
            buffers: changed in place; their width is a multiple of `LANES`.
            first: the first step.
            looks: how many steps to look at.
            last: the last step of the problem.
            recorder: takes the recorded rows, or None.
            column: the column of the first run in the recorder.
        """
        dim, width = self.places.point.rows, buffers["reals"].shape[1]
        pointers = [
            buffers[name].data_ptr() if name in buffers else None
            for name in ("reals", "counts", "wholes")
        ]
        rows = recorder.pointers(column) if recorder else (None, None, None, 0, 1)
        pointers.append(buffers["reals"][-1].data_ptr())
        numbers = width, first, looks, last, last // 2
        self.program.run(looks * width * dim, pointers, *numbers, *rows)


def _present(problem: Problem) -> Iterator[Any]:
    """Yields the numbers of a problem, except plain zeros, in the order of `PARTS`."""
    for name in PARTS:
        for number in numbers(getattr(problem, name)).values():
            if _mark(number) != 0.0:
                yield number


def _mark(number: Any, timed: bool = False) -> Any:
    """Returns what stands for a number in the key of a program.

    Args:
        number: a tensor or a plain number.
        timed: whether a plain number is combined only with the step (`Problem.is_timed`).

    Returns:
        ``("real" or "whole", whether all runs share one value)``, or 0.0 for the plain number 0.0,
        which the program leaves out.
    """
    if isinstance(number, Tensor):
        return ("real" if number.is_floating_point() else "whole"), False
    if isinstance(number, int):
        return "whole", timed
    return ("real", timed) if number else 0.0


def block_for(problem: Problem, device: torch.device | None = None) -> Block:
    """Returns the compiled program for a problem.

    Args:
        problem: to be compiled. Numbers that are 0 for every run should be plain zeros
            (`Problem.plain`), as those are left out of the program; the values of all other
            numbers do not affect it.
        device: to compile for; the problem's own if None. A CUDA device must be the current one.

    Raises:
        Unsupported: if a component uses an operation that cannot be compiled.
        CannotCompile: if there is no compiler, or it failed.
    """
    start, device = problem.start, device or problem.start.device

    def marked(part: str) -> Any:
        def mark(number: Any, name: str) -> Any:
            return _mark(number, device.type == "cpu" and problem.is_timed(part, name))

        return map_numbers(getattr(problem, part), mark)

    parts = tuple(marked(name) for name in PARTS)
    key = _Key(parts, problem.record.tolerances, start.dtype, start.shape[0], device)
    try:
        hash(key)
    except TypeError:  # a user-defined component holds, say, a list
        return _block.__wrapped__(key)
    return _block(key)


@dataclass(frozen=True)
class _Key:
    """Everything that the text of a program depends on."""

    parts: tuple[Any, ...]
    tolerances: tuple[Any, ...]
    dtype: torch.dtype
    dim: int
    device: torch.device


def _signature(key: _Key) -> str | None:
    """Returns a name for the program that is the same in every process.

    None if a component is not defined in gradexp: its code may have changed since the program was
    compiled.
    """
    components = [one for part in key.parts for _, one in with_parts(part)]
    for component in components:
        module = sys.modules[type(component).__module__]
        if not module.__name__.startswith("gradexp."):
            return None
        if getattr(module, type(component).__qualname__, None) is not type(component):
            return None
    names = [type(component).__module__ for component in components]
    return f"{names} {key}"


@lru_cache(maxsize=256)
def _block(key: _Key) -> Block:
    if key.dim > MOST_COORDINATES:
        raise Unsupported(f"a point of more than {MOST_COORDINATES} dimensions")
    runs_traced = _runs_traced(key.dim)
    examples = (_example(part, runs_traced, key.dtype) for part in key.parts)
    parts = dict(zip(PARTS, examples, strict=True))
    start = torch.ones(key.dim, runs_traced, dtype=key.dtype)
    record = Record(what="metrics", tolerances=key.tolerances)
    problem = Problem(**parts, start=start, steps=1, record=record)
    small = key.dim <= COORDINATES
    runs = begin(problem, tuple(start) if small else start, problem.batched)
    leaves, spec = tree_flatten(runs)
    leaves = [leaf.clone() for leaf in leaves]  # one tensor twice would be traced as one input
    lanes: list[Tensor] = list(_present(problem))
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

    layout = lay_out([*leaves, *lanes])
    places = tree_unflatten(layout[:held], spec)
    seen = {
        name: layout.index(tree_leaves(getattr(places, name))[0])
        for name in ("point", "loss", "gradient_square", "best_loss", "steps")
    }
    kind = CpuProgram if key.device.type == "cpu" else CudaProgram
    signature = _signature(key)
    program = kind.recall(signature) if signature else None
    if program is None:
        module = trace(step, [*leaves, torch.tensor(0), torch.tensor(1), *lanes])
        marks = [mark for part in key.parts for mark in numbers(part).values() if mark != 0.0]
        shared = [held + place for place, mark in enumerate(marks) if mark[1]]
        text = write(module, layout, held, seen, key.dim, runs_traced, kind.in_place, shared)
        program = kind.build(text, small, signature)
    sizes = {leaf.buffer: (leaf.first + leaf.rows, leaf.dtype) for leaf in layout}
    sizes["reals"] = sizes["reals"][0] + 1, key.dtype
    whole_point = dataclasses.replace(tree_leaves(places.point)[0], rows=key.dim)
    fields = tuple(tuple(leaves) for leaves in map(tree_leaves, places.memory) if leaves)
    places = places._replace(point=whole_point, memory=tuple(tree_leaves(places.memory)))
    return Block(program, key.device, sizes, places, fields, tuple(layout[held:]), small)


def _runs_traced(dim: int) -> int:
    """Returns how many runs the traced example has: a size by which their axis is recognized.

    No other axis may have that size. Those are as long as a point, or as its repeated halves.
    """
    taken = {(dim >> halvings) + more for halvings in range(16) for more in range(-2, 3)}
    return next(size for size in range(131, 1000) if size not in taken)


def _example(part: Any, runs_traced: int, dtype: torch.dtype) -> Any:
    def lanes(mark: Any, name: str) -> Any:
        if mark == 0.0:
            return mark
        return torch.ones(runs_traced, dtype=torch.int64 if mark[0] == "whole" else dtype)

    return map_numbers(part, lanes)
