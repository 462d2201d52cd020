"""The C++ program of a step: its leaves as rows of buffers, and the loop around it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule

from gradexp.engine.native.emit import Emitter
from gradexp.engine.native.values import C_TYPES, Index, Section, Unsupported, Value, unravelled

_BUFFERS = {
    torch.float32: "reals",
    torch.float64: "reals",
    torch.int32: "counts",
    torch.int64: "wholes",
}
_LOOK = 16
"""Steps between two looks at whether any run of a pack goes on."""


@dataclass(frozen=True)
class Leaf:
    """One tensor of the state or of the numbers: rows of a buffer."""

    dtype: torch.dtype
    rows: int
    first: int
    """its first row in the buffer of its type"""

    @property
    def buffer(self) -> str:
        return _BUFFERS[self.dtype]

    @property
    def numpy_type(self) -> np.dtype[Any]:
        return np.dtype(str(self.dtype).removeprefix("torch."))


def lay_out(leaves: Sequence[Tensor]) -> list[Leaf]:
    """Where each leaf, ``(B,)`` or ``(n, B)``, stands among the rows of the buffers."""
    used: dict[str, int] = {}
    placed = []
    for leaf in leaves:
        buffer, rows = _BUFFERS[leaf.dtype], leaf.shape[0] if leaf.dim() == 2 else 1
        placed.append(Leaf(leaf.dtype, rows, used.get(buffer, 0)))
        used[buffer] = used.get(buffer, 0) + rows
    return placed


def trace(function: Callable[..., Any], arguments: Sequence[Tensor]) -> GraphModule:
    """The graph of a function in torch's core operations."""
    from torch._decomp import core_aten_decompositions
    from torch.fx.experimental.proxy_tensor import make_fx

    table: Any = core_aten_decompositions()
    table.pop(torch.ops.aten.stack.default, None)  # which would lay runs end to end
    try:
        module = make_fx(function, decomposition_table=table)(*arguments)
    except RuntimeError as error:
        if "data-dependent" not in str(error):
            raise
        reason = "a choice in Python that depends on the numbers (torch.where makes one of all)"
        raise Unsupported(reason) from error
    graph = module.graph
    for node in graph.nodes:
        # The ones that a gradient starts from are made like a sum over the batch; they need none.
        if node.target is torch.ops.aten.full_like.default:
            like = node.meta["val"]
            with graph.inserting_before(node):
                full = graph.call_function(
                    torch.ops.aten.full.default, (list(like.shape), node.args[1])
                )
            full.meta["val"] = like
            node.replace_all_uses_with(full)
    graph.eliminate_dead_code()
    return module


def write(
    module: GraphModule,
    leaves: Sequence[Leaf],
    state: int,
    seen: dict[str, int],
    dim: int,
    lanes: int,
    groups: int,
) -> str:
    """The program's source.

    Args:
        module: maps ``(state leaves, step, last step, number leaves)`` to state leaves.
        leaves: of the state, then of the numbers.
        state: how many leaves are the state's.
        seen: which leaf of the state is the first of ``point``, and which are ``loss``,
            ``gradient_square`` and ``steps``.
        dim: coordinates of a point.
        lanes: the length of the example's last axis.
        groups: packs that are advanced in turn.

    Raises:
        Unsupported: something in the graph has no form over packs.
    """
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    held = [*inputs[:state], *inputs[state + 2 :]]
    emitter = Emitter(module, lanes, {node.name for node in inputs[state + 1 :]})
    state_packs: list[str] = []
    loads: list[str] = []
    saves: list[str] = []
    for i, (node, leaf) in enumerate(zip(held, leaves, strict=True)):
        name, kind = f"s{i}" if i < state else f"n{i}", C_TYPES[leaf.dtype]
        shape = (leaf.rows,) if node.meta["val"].dim() == 2 else ()
        where = f"{leaf.buffer} + ({leaf.first}"
        if not shape:
            state_packs.append(f"Pack<{kind}> {name}[GROUPS];")
            loads.append(f"{name}[g] = load({where}) * width + at);")
            saves.append(f"store({where}) * width + at, {name}[g]);")
            at = _named(f"{name}[g]")
        else:
            loop = f"for (int r = 0; r < {leaf.rows}; ++r)"
            loads.append(f"{loop} {name}[r] = load({where} + r) * width + at);")
            saves.append(f"{loop} store({where} + r) * width + at, {name}[r]);")
            at = emitter.array(name, f"Pack<{kind}>", shape)
            emitter.stored.add(name)
        emitter.place(node, Value(leaf.dtype, shape, True, at))
    for name, node in zip(("step", "last"), inputs[state : state + 2], strict=True):
        emitter.place(node, Value(torch.int64, (), False, _named(name)))
    emitter.walk(module.graph)

    (output,) = (node for node in module.graph.nodes if node.op == "output")
    results = [emitter.values[node.name] for node in output.args[0]]
    following = _following(results, leaves, emitter)
    point, loss, square, steps = (
        seen[name] for name in ("point", "loss", "gradient_square", "steps")
    )
    return _FRAME.substitute(
        real=C_TYPES[leaves[loss].dtype],
        groups=groups,
        dim=dim,
        constants="\n".join(emitter.constants),
        rooms="\n  ".join(_rooms(emitter)),
        packs="\n    ".join([*state_packs, *emitter.kept]),
        loads="\n      ".join(loads),
        before=_text(emitter.before, emitter.stored, 6),
        step=_text(emitter.step, emitter.stored, 8),
        loss=results[loss].at(()),
        square=results[square].at(()),
        held_loss=f"s{loss}[g]",
        held_square=f"s{square}[g]",
        points="\n        ".join(_points(leaves, point, dim)),
        steps=f"s{steps}[g]",
        following_steps=results[steps].at(()),
        following="\n        ".join(following),
        look=_LOOK - 1,
        saves="\n      ".join(saves[:state]),
    )


def _named(name: str) -> Callable[[Index], str]:
    return lambda index: name


def _text(section: Section, stored: set[str], indent: int) -> str:
    """The statements, without those that fill an array that nobody reads."""
    kept = (line for line, array in section.lines if not array or array in stored)
    return ("\n" + " " * indent).join(kept)


def _points(leaves: Sequence[Leaf], first: int, dim: int) -> list[str]:
    """Statements that write the point into its rows of the trace."""
    if leaves[first].rows > 1:
        return [f"for (int r = 0; r < {dim}; ++r) stream(to + r * pitch, s{first}[r]);"]
    return [f"stream(to + {i} * pitch, s{first + i}[g]);" for i in range(dim)]


def _rooms(emitter: Emitter) -> list[str]:
    """Room for the arrays that are read outside of the loop that fills them."""
    kept = {name: found for name, found in emitter.arrays.items() if name in emitter.stored}
    return [
        f"Room<{kind}> {name}_room({places}); {kind}* const {name} = {name}_room.first.get();"
        for name, (kind, places) in kept.items()
    ]


def _following(results: list[Value], leaves: Sequence[Leaf], emitter: Emitter) -> list[str]:
    """The state after the step; all of it is read before any of it is changed."""
    reads, writes = [], []
    for i, (value, leaf) in enumerate(zip(results, leaves, strict=False)):
        kind = f"Pack<{C_TYPES[leaf.dtype]}>"
        if not value.shape:
            reads.append(f"const {kind} next{i} = {value.at(())};")
            writes.append(f"s{i}[g] = next{i};")
            continue
        loop, at = f"for (int r = 0; r < {leaf.rows}; ++r)", value.at(unravelled(value.shape, "r"))
        if at == f"s{i}[r]":
            continue
        if not re.fullmatch(r"(?!s\d)\w+\[r\]", at):  # not an array of this step alone
            room = emitter.array(f"next{i}", kind, (leaf.rows,))(("r",))
            reads.append(f"{loop} {room} = {at};")
            at = room
        writes.append(f"{loop} s{i}[r] = {at};")
    return [*reads, *writes]


_FRAME = Template("""\
using real = $real;
constexpr int GROUPS = $groups;
#include "lanes.hpp"
#include <atomic>

$constants

// Makes `iterations` looks, and a move after each, for groups of runs as long as there are any left
// in the buffers, whose rows are `width` long. Every `stride`-th step is written into the rows of
// the trace, `pitch` apart, where there are any. The packs of a group are advanced in turn: one's
// chain of arithmetic does not wait for another's, which hides the latency of each.
static void run_some(std::atomic<int64_t>& next, real* reals, int32_t* counts, int64_t* wholes,
                     int64_t width, int64_t first, int64_t iterations, int64_t last,
                     real* loss_rows, real* norm_rows, real* point_rows, int64_t pitch,
                     int64_t stride) {
  $rooms
  for (int64_t lane; (lane = next.fetch_add(GROUPS * LANES)) < width;) {
    $packs
#pragma GCC unroll $groups
    for (int g = 0; g < GROUPS; ++g) {
      const int64_t at = lane + g * LANES;
      $loads
      $before
    }
    int64_t row = (first + stride - 1) / stride, due = row * stride;
    const auto record = [&](int g, Pack<real> loss, Pack<real> square) {
      const int64_t at = lane + g * LANES;
      if (loss_rows) stream(loss_rows + row * pitch + at, loss);
      if (norm_rows) stream(norm_rows + row * pitch + at, sqrt(square));
      if (point_rows) {
        real* const to = point_rows + row * pitch * $dim + at;
        $points
      }
    };
    bool moving = true;
    for (int64_t step = first; moving && step < first + iterations; ++step) {
      const bool recorded = step == due, look = (step & $look) == $look;
      bool moved = !look;
#pragma GCC unroll $groups
      for (int g = 0; g < GROUPS; ++g) {
        $step
        if (recorded) record(g, $loss, $square);
        if (look) moved |= any($following_steps != $steps);
        $following
      }
      moving = moved;
      if (recorded) { ++row; due += stride; }
    }
    for (; loss_rows && due < first + iterations; ++row, due += stride)  // all rest where they are
      for (int g = 0; g < GROUPS; ++g) record(g, $held_loss, $held_square);
    for (int g = 0; g < GROUPS; ++g) {
      const int64_t at = lane + g * LANES;
      $saves
    }
  }
}

extern "C" void run(int64_t threads, real* reals, int32_t* counts, int64_t* wholes, int64_t width,
                    int64_t first, int64_t iterations, int64_t last, real* loss_rows,
                    real* norm_rows, real* point_rows, int64_t pitch, int64_t stride) {
  std::atomic<int64_t> next{0};
  // The team of torch's own operations: a second one would have to wait while that one spins.
#pragma omp parallel num_threads(int(threads)) if (threads > 1)
  run_some(next, reals, counts, wholes, width, first, iterations, last, loss_rows, norm_rows,
           point_rows, pitch, stride);
}
""")
