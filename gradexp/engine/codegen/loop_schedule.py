"""Arranges the statements of a program in as few loops as possible."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Statement(NamedTuple):
    """A statement that computes a named value."""

    phase: int
    places: int
    """the length of an array, or 1"""
    text: str
    reads: list[tuple[str, str]]
    """the values that it reads, each with the index of the element"""
    name: str


class LoopSchedule:
    """The statements of one section of a program (see `Writer`), ordered in phases.

    A phase computes first single values, then arrays, with one loop for all arrays of the same
    length. A statement goes into the first phase in which all that it reads is available: the same
    element of an array of that length is available in the phase that computes the array, other
    elements only in the next one.
    """

    def __init__(self) -> None:
        self.statements: list[Statement] = []
        self._made: dict[str, Statement] = {}
        self.inside: set[str] = set()
        """the arrays that are computed in the loop for which an expression is being written"""

    def add(
        self,
        name: str,
        kind: str,
        places: int,
        text: Callable[[], str],
        reads: list[tuple[str, str]],
        to: str = "",
    ) -> None:
        """Adds a statement.

        Args:
            name: of the value.
            kind: its C++ type.
            places: the length of an array, or 1.
            text: returns the expression.
            reads: the values that the expression reads, each with the index of the element.
            to: the variable that a single value is assigned to; if empty, it becomes a constant.
        """
        phase = 0
        for other, at in reads:
            made = self._made.get(other)
            if made:
                together = made.places == 1 or (made.places == places > 1 and at == "r")
                phase = max(phase, made.phase if together else made.phase + 1)
        self.inside = {
            other
            for other, made in self._made.items()
            if places > 1 and (made.phase, made.places) == (phase, places)
        }
        expression = text()
        self.inside = set()
        if places > 1:
            line = f"const {kind} {name}_r = {expression};"
        else:
            line = f"{to} = {expression};" if to else f"const {kind} {name} = {expression};"
        statement = Statement(phase, places, line, reads, name)
        self.statements.append(statement)
        self._made[name] = statement

    def lines(
        self, stored: Mapping[str, str], needed: Sequence[str] = (), each: str = ""
    ) -> tuple[str, str]:
        """Returns the C++ text in two parts.

        Args:
            stored: the arrays that are read outside their loop, with the name of their memory.
            needed: values that must be known after the first part, which is as short as possible;
                if empty, all statements are in the first part.
            each: a macro that wraps each statement and each loop, if not empty.
        """
        found: tuple[list[str], list[str]] = ([], [])
        phases = sorted({statement.phase for statement in self.statements})
        last = max(phases, default=0) + 1
        if needed:
            last = max(self._known(name) for name in needed)
        early = self._sources(needed, last) if needed else self._made.keys()
        for phase in phases:
            now = [statement for statement in self.statements if statement.phase == phase]
            for statement in now:
                if statement.places == 1:
                    text = f"{each}({statement.text})" if each else statement.text
                    found[statement.name not in early].append(text)
            for places in dict.fromkeys(s.places for s in now if s.places > 1):
                together = [statement for statement in now if statement.places == places]
                kept = (s for s in together if s.name in stored)
                loop = [
                    f"for (int r = 0; r < {places}; ++r) {{",
                    *(s.text for s in together),
                    *(f"{stored[s.name]}[r] = {s.name}_r;" for s in kept),
                    "}",
                ]
                found[phase >= last].extend([f"{each}(", *loop, ")"] if each else loop)
        first, second = ("\n        ".join(part) for part in found)
        return first, second

    def _sources(self, needed: Sequence[str], last: int) -> set[str]:
        """Returns the values that the needed ones and the loops of phases before `last` depend on.

        Those values themselves are included.
        """
        loops = (s.name for s in self.statements if s.places > 1 and s.phase < last)
        found: set[str] = set()
        waiting = [*needed, *loops]
        while waiting:
            name = waiting.pop()
            if name not in found and name in self._made:
                found.add(name)
                waiting += [other for other, _ in self._made[name].reads]
        return found

    def may_take_the_place_of(self, name: str, old: str, needed: Sequence[str]) -> bool:
        """Whether a new array may overwrite an old one, element by element.

        That requires that nothing reads an element of the old array after it is overwritten.

        Args:
            name: of the new array.
            old: of the array to be overwritten.
            needed: values that must be known before.
        """
        new = self._made.get(name)
        if new is None or new.places == 1:
            return False
        if any(self._known(name) > new.phase for name in needed):
            return False
        return all(
            other != old
            or statement.phase < new.phase
            or (statement.phase, statement.places, at) == (new.phase, new.places, "r")
            for statement in self.statements
            for other, at in statement.reads
        )

    def _known(self, name: str) -> int:
        """Returns the first phase before whose loops a value is known."""
        made = self._made.get(name)
        return made.phase + (made.places > 1) if made else 0
