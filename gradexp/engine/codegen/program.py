"""Writes the text of a step, for C++ and CUDA C++, from its traced graph.

The *leaves*, the tensors of a batch's state and numbers, are rows of buffers of their type.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from gradexp.engine.codegen.emit import Emitter
from gradexp.engine.codegen.tables import Tables, wanted
from gradexp.engine.codegen.values import C_TYPES, Index, Unsupported, Value, unravelled

_BUFFERS = {
    torch.float32: "reals",
    torch.float64: "reals",
    torch.int32: "counts",
    torch.int64: "wholes",
}
_LOOK = 16
"""Steps between checks whether any run of a group is still active, on the CPU."""


@dataclass(frozen=True)
class Leaf:
    """The rows of a buffer that hold one tensor of the state or of the numbers."""

    dtype: torch.dtype
    rows: int
    first: int
    """the first row, in the buffer of its type"""

    @property
    def buffer(self) -> str:
        return _BUFFERS[self.dtype]


def lay_out(leaves: Sequence[Tensor]) -> list[Leaf]:
    """Assigns rows of the buffers to tensors ``(B,)`` or ``(n, B)``, one after the other."""
    used: dict[str, int] = {}
    placed = []
    for leaf in leaves:
        buffer, rows = _BUFFERS[leaf.dtype], leaf.shape[0] if leaf.dim() == 2 else 1
        placed.append(Leaf(leaf.dtype, rows, used.get(buffer, 0)))
        used[buffer] = used.get(buffer, 0) + rows
    return placed


def trace(function: Callable[..., Any], arguments: Sequence[Tensor]) -> GraphModule:
    """Returns the graph of a function, in torch's core operations.

    Args:
        function: to be traced.
        arguments: examples of its arguments.

    Raises:
        Unsupported: if the function fails while it is traced.
    """
    from torch._decomp import core_aten_decompositions
    from torch.fx.experimental.proxy_tensor import make_fx

    table: Any = core_aten_decompositions()
    table.pop(torch.ops.aten.stack.default, None)  # it concatenates along the axis of the runs
    try:
        module = make_fx(function, decomposition_table=table)(*arguments)
    except Exception as error:  # user code may raise anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        if "data-dependent" in str(error):
            reason = "a choice in Python that depends on the numbers (torch.where makes one of all)"
        elif "'tuple'" in str(error):
            reason += " (the point of a compiled step is a tuple of coordinates)"
        raise Unsupported(reason) from error
    graph = module.graph
    for node in graph.nodes:
        # Backpropagation starts from `full_like` of a sum over the batch, which no node needs:
        # with `full` in its place, that sum is removed as dead code.
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


@dataclass(frozen=True)
class Text:
    """The pieces of a program, which the templates of the CPU and of CUDA put together."""

    parts: dict[str, Any]
    """the values of the template's placeholders"""
    rooms: list[Room]
    """the arrays that need memory, as they are read outside the loop that fills them"""
    columns: list[Column]
    """the arrays of the state and the numbers that are used in the buffers, not copied"""


class Room(NamedTuple):
    """An array that a program needs memory for."""

    name: str
    kind: str
    """the C++ type of its elements"""
    places: int
    """its length"""
    apart: bool
    """whether each pack of a group needs its own copy, as the values outlive a step"""


class Column(NamedTuple):
    """An array of one run that lies in the rows of a buffer."""

    name: str
    kind: str
    buffer: str
    first: int


def write(
    module: GraphModule,
    leaves: Sequence[Leaf],
    state: int,
    seen: dict[str, int],
    dim: int,
    lanes: int,
    in_place: bool,
    shared: Container[int] = (),
) -> Text:
    """Writes a program.

    Args:
        module: the graph; maps ``(state leaves, step, last step, number leaves)`` to state leaves.
        leaves: those of the state, then those of the numbers.
        state: the number of leaves of the state.
        seen: the indices of the leaves ``point`` (its first one), ``loss``, ``gradient_square``,
            ``best_loss`` and ``steps``.
        dim: the number of coordinates of a point.
        lanes: the number of runs in the traced example, the length of its last axis.
        in_place: whether arrays are used in the buffers, instead of being loaded and saved.
        shared: the indices of the leaves that are numbers with the same value for all runs.

    Raises:
        Unsupported: if an operation of the graph has no compiled form.
    """
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    held = [*inputs[:state], *inputs[state + 2 :]]
    emitter = Emitter(module, lanes, {node.name for node in inputs[state + 1 :]})
    emitter.clock = inputs[state]
    common: dict[Node, Value] = {}
    packs: list[str] = []
    splats: list[str] = []
    loads: list[str] = []
    saves: list[str] = []
    columns: list[Column] = []
    for i, (node, leaf) in enumerate(zip(held, leaves, strict=True)):
        name, kind = f"s{i}" if i < state else f"n{i}", C_TYPES[leaf.dtype]
        if i in shared:
            number = f"{leaf.buffer}[{leaf.first} * width]"
            splats.append(f"const Pack<{kind}> {name} = splat({number});")
            common[node] = Value(leaf.dtype, (), True, _named(name))
            emitter.place(node, common[node])
            continue
        shape = (leaf.rows,) if node.meta["val"].dim() == 2 else ()
        where = f"{leaf.buffer} + ({leaf.first}"
        if shape:
            at = emitter.array(name, f"Pack<{kind}>", shape)
            emitter.stored.add(name)
        else:
            packs.append(f"Pack<{kind}> {name}[GROUPS];")
            at = _named(f"{name}[g]")
        if shape and in_place:
            columns.append(Column(name, kind, leaf.buffer, leaf.first))
        else:
            loop, row, to = "", ")", f"{name}[g]"
            if shape:
                loop, row, to = f"for (int r = 0; r < {leaf.rows}; ++r) ", " + r)", f"{name}[r]"
            loads.append(f"{loop}{to} = load({where}{row} * width + at);")
            if i < state:
                saves.append(f"{loop}store({where}{row} * width + at, {to});")
        emitter.place(node, Value(leaf.dtype, shape, True, at))
    for name, node in zip(("step", "last"), inputs[state : state + 2], strict=True):
        emitter.place(node, Value(torch.int64, (), False, _named(name)))
    tables = Tables(module, lanes, inputs[state : state + 2], common)
    for i, node in enumerate(tables.nodes):
        emitter.place(node, tables.value(i))
    (output,) = (node for node in module.graph.nodes if node.op == "output")
    emitter.walk(module.graph, wanted([output], tables.nodes))

    results = [emitter.values[node.name] for node in output.args[0]]
    point, loss, square, steps = (
        seen[name] for name in ("point", "loss", "gradient_square", "steps")
    )
    shown = [name for place in (loss, square) for name, _ in emitter.read_by(results[place].at, ())]
    goes_on = emitter.values[_condition(output.args[0][steps]).name].at(())
    taken, following = _following(results, leaves, emitter, {f"s{point}": shown})
    own = {column.name for column in columns} | taken.keys()
    rooms = [
        Room(name, *emitter.arrays[name], name in emitter.apart)
        for name in emitter.arrays
        if name in emitter.stored and name not in own
    ]
    stored = {name: name for name in emitter.stored} | taken
    before, _ = emitter.before.lines(stored)
    step, rest = emitter.step.lines(stored, [*shown, goes_on] if in_place else shown)
    read = [name for result in results for name, _ in _reads(emitter, result)]
    slow, held_slow = _every_second_step(emitter, stored, read)
    parts = {
        "real": C_TYPES[leaves[loss].dtype],
        "constants": "\n".join(dict.fromkeys([*emitter.constants, *tables.constants])),
        "shared": "\n  ".join(splats),
        "tables": tables.text(),
        "packs": "\n    ".join([*packs, *emitter.kept, *held_slow]),
        "loads": "\n      ".join(loads),
        "before": before,
        "every_second": slow,
        "step": _renamed(step, taken),
        "rest": _renamed(rest, taken),
        "loss": _renamed(results[loss].at(()), taken),
        "square": _renamed(results[square].at(()), taken),
        "held_loss": f"s{loss}[g]",
        "held_square": f"s{square}[g]",
        "held_best": f"s{seen['best_loss']}[g]",
        "goes_on": goes_on,
        "following": _renamed("\n        ".join(following), taken),
        "saves": "\n      ".join(saves),
        "dim": dim,
        "points": _points(leaves, point, dim),
        "look": _LOOK - 1,
    }
    return Text(parts, rooms, columns)


def _reads(emitter: Emitter, value: Value) -> list[tuple[str, str]]:
    """Returns the values that a result reads, each with the index of the element."""
    return emitter.read_by(value.at, unravelled(value.shape, "r"))


def _every_second_step(
    emitter: Emitter, stored: dict[str, str], results: Sequence[str]
) -> tuple[str, list[str]]:
    """Writes the computation of the values that change at every second step only.

    The statements run in even steps and in the first step of a block. Each statement is executed
    for all packs of a group before the next one: noise is a long chain of dependent operations, and
    the chains of different packs can overlap.

    Args:
        emitter: of the step.
        stored: the arrays that are read outside their loop, with the name of their memory.
        results: the names of the values that the step's results read.

    Returns:
        The statements, and the declarations of the values that are read outside them.
    """
    lines, _ = emitter.slow.lines(stored, each="EACH_GROUP")
    if not lines:
        return "", []
    read = {name for statement in emitter.step.statements for name, _ in statement.reads}
    declared = {name: f"{kind} {name}[GROUPS];" for name, kind in emitter.kinds.items()}
    held = [name for name in declared if name in read or name in results]
    passing = "\n        ".join(declared[name] for name in declared if name not in held)
    made = f"if (step == first || !(step & 1)) {{\n        {passing}\n        {lines}\n        }}"
    return made, [declared[name] for name in held]


def _condition(steps: Node) -> Node:
    """Returns the condition for a run to continue: the boolean on which its step count depends."""
    waiting = [steps]
    while waiting[0].meta["val"].dtype != torch.bool:
        waiting = [*waiting[1:], *waiting[0].all_input_nodes]
    return waiting[0]


def _named(name: str) -> Callable[[Index], str]:
    return lambda index: name


def _renamed(text: str, taken: dict[str, str]) -> str:
    """Returns a text in which arrays are read from the memory that they were written to."""
    return re.sub(r"\bv_\w+(?=\[)", lambda found: taken.get(found[0], found[0]), text)


def _points(leaves: Sequence[Leaf], first: int, dim: int) -> str:
    """Writes the statements that store the point in its rows of the trace."""
    if leaves[first].rows > 1:
        return f"for (int r = 0; r < {dim}; ++r) stream(to + r * pitch, s{first}[r]);"
    rows = (f"stream(to + {i} * pitch, s{first + i}[g]);" for i in range(dim))
    return "\n        ".join(rows)


def _following(
    results: list[Value], leaves: Sequence[Leaf], emitter: Emitter, needed: dict[str, list[str]]
) -> tuple[dict[str, str], list[str]]:
    """Writes the statements that replace the state by that after the step.

    They read all new values before they change the state. An array may be computed directly in the
    memory of the old one, if nothing reads that afterwards.

    Args:
        results: the state after the step.
        leaves: the rows that hold the state.
        emitter: of the step.
        needed: for arrays of the state, the values that must be known before the array is changed.

    Returns:
        The arrays that are computed in the memory of the state's, each with the name of that, and
        the statements for all others.
    """
    reads: list[str] = []
    writes: list[str] = []
    taken: dict[str, str] = {}
    read = {name for value in results for name, _ in _reads(emitter, value)}
    for i, (value, leaf) in enumerate(zip(results, leaves, strict=False)):
        kind = f"Pack<{C_TYPES[leaf.dtype]}>"
        if not value.shape:
            reads.append(f"const {kind} next{i} = {value.at(())};")
            writes.append(f"s{i}[g] = next{i};")
            continue
        loop, at = f"for (int r = 0; r < {leaf.rows}; ++r)", value.at(unravelled(value.shape, "r"))
        if at == f"s{i}[r]":
            continue
        name = at.removesuffix("[r]")
        if not re.fullmatch(r"(?!s\d)\w+\[r\]", at):  # an expression, or another array of the state
            room = emitter.array(f"next{i}", kind, (leaf.rows,))(("r",))
            reads.append(f"{loop} {room} = {at};")
            at = room
        elif (
            name not in taken
            and f"s{i}" not in read
            and emitter.step.may_take_the_place_of(name, f"s{i}", needed.get(f"s{i}", ()))
        ):
            taken[name] = f"s{i}"
            continue
        writes.append(f"{loop} s{i}[r] = {at};")
    return taken, [*reads, *writes]
