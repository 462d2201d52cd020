"""Statements of a program, in as few loops as may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Statement(NamedTuple):
    """The computation of a named value."""

    phase: int
    places: int
    text: str
    reads: list[tuple[str, str]]
    """of which values, and at which places"""
    name: str


class LoopSchedule:
    """The statements before the first step, or those of every step.

    A loop over places computes all arrays of a phase that have so many. A statement goes into the
    first phase in which what it reads is there: numbers are computed before the loops of their
    phase, and what other places of an array are read for comes in the phase after it.
    """

    def __init__(self) -> None:
        self.statements: list[Statement] = []
        self._made: dict[str, Statement] = {}
        self.inside: set[str] = set()
        """the arrays of the loop that a text is written for"""

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
            kind: its type.
            places: of an array, or 1.
            text: writes its expression.
            reads: what that reads.
            to: what it is assigned to where it is no constant of the step.
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
        """The text, in two parts.

        Args:
            stored: where the arrays are that are read outside of their loop.
            needed: values; they are known after the first part, which is as short as that allows.
            each: a macro that every statement, and every loop, is handed to.
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
        """The values that are read for those that are needed, and in loops of phases before
        `last`."""
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
        """Whether nothing reads an array after another one is written over it, place by place.

        Args:
            name: of the new array.
            old: of the one that it may be written over.
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
        """The phase before whose loops a value is known."""
        made = self._made.get(name)
        return made.phase + (made.places > 1) if made else 0
