"""The text of a step, for C++ and CUDA C++: its leaves as rows of buffers, its arithmetic."""

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
    """The graph of a function in torch's core operations.

    Raises:
        Unsupported: it fails on arguments that are traced.
    """
    from torch._decomp import core_aten_decompositions
    from torch.fx.experimental.proxy_tensor import make_fx

    table: Any = core_aten_decompositions()
    table.pop(torch.ops.aten.stack.default, None)  # which would lay runs end to end
    try:
        module = make_fx(function, decomposition_table=table)(*arguments)
    except Exception as error:  # of a person's code, which may do anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        if "data-dependent" in str(error):
            reason = "a choice in Python that depends on the numbers (torch.where makes one of all)"
        elif "'tuple'" in str(error):
            reason += " (the point of a compiled step is a tuple of coordinates)"
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


@dataclass(frozen=True)
class Text:
    """A program in pieces, for the frame of a kind of machine."""

    parts: dict[str, Any]
    """what its template wants"""
    rooms: list[Room]
    """the arrays that are read outside of the loop that fills them"""
    columns: list[Column]
    """the arrays of state and numbers, where they are read in the buffers themselves"""


class Room(NamedTuple):
    """An array of a program."""

    name: str
    kind: str
    """of its elements"""
    places: int
    apart: bool
    """whether each group of runs has one of its own, to the end of its steps"""


class Column(NamedTuple):
    """Rows of a buffer as an array of one run."""

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
    """The program's text.

    Args:
        module: maps ``(state leaves, step, last step, number leaves)`` to state leaves.
        leaves: of the state, then of the numbers.
        state: how many leaves are the state's.
        seen: which leaf of the state is the first of ``point``, and which are ``loss``,
            ``gradient_square``, ``best_loss`` and ``steps``.
        dim: coordinates of a point.
        lanes: the length of the example's last axis.
        in_place: whether arrays stay in the buffers, instead of being loaded and saved.
        shared: which leaves are numbers that are the same for all runs.

    Raises:
        Unsupported: something in the graph has no form over packs.
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
    """What a result reads."""
    return emitter.read_by(value.at, unravelled(value.shape, "r"))


def _every_second_step(
    emitter: Emitter, stored: dict[str, str], results: Sequence[str]
) -> tuple[str, list[str]]:
    """Statements that make the values of every second step, at the beginning of a block and in
    those steps, and the declarations of those that the others read.

    They are made for all groups of runs in turn, statement by statement: noise is one long chain of
    arithmetic, and another group's does not wait for it.

    Args:
        emitter: of the step.
        stored: the arrays that are read outside of their loop.
        results: the values that the step's results read.
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
    """Whether a run goes on, by which the number of its steps grows."""
    waiting = [steps]
    while waiting[0].meta["val"].dtype != torch.bool:
        waiting = [*waiting[1:], *waiting[0].all_input_nodes]
    return waiting[0]


def _named(name: str) -> Callable[[Index], str]:
    return lambda index: name


def _renamed(text: str, taken: dict[str, str]) -> str:
    """The text, with arrays read where they are."""
    return re.sub(r"\bv_\w+(?=\[)", lambda found: taken.get(found[0], found[0]), text)


def _points(leaves: Sequence[Leaf], first: int, dim: int) -> str:
    """Statements that write the point into its rows of the trace."""
    if leaves[first].rows > 1:
        return f"for (int r = 0; r < {dim}; ++r) stream(to + r * pitch, s{first}[r]);"
    rows = (f"stream(to + {i} * pitch, s{first + i}[g]);" for i in range(dim))
    return "\n        ".join(rows)


def _following(
    results: list[Value], leaves: Sequence[Leaf], emitter: Emitter, needed: dict[str, list[str]]
) -> tuple[dict[str, str], list[str]]:
    """The state after the step; all of it is read before any of it is changed.

    Args:
        results: what it will be.
        leaves: what it is kept in.
        emitter: of the step.
        needed: values that must be known before an array of the state is changed.

    Returns:
        The arrays that are written over the state's at once, each with that, and the statements
        that write the rest.
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
        if not re.fullmatch(r"(?!s\d)\w+\[r\]", at):  # not an array of this step alone
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
