"""The expression language of ``--where``.

An expression consists of names, numbers, strings, comparisons, ``and``, ``or``, ``not`` and ``in``.
Python's parser reads it, and everything else is refused, so that an expression cannot call
anything.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

_MAX_LENGTH = 2_000
"""Maximum length of an expression, in characters."""

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


class UnknownName(Exception):
    """An expression contains a name that is not a column."""


class InvalidExpression(Exception):
    """An expression is not valid in the language."""


def select_rows(runs: pd.DataFrame, expression: str, names: Mapping[str, str]) -> pd.Series:
    """Evaluates an expression for each row.

    Args:
        runs: one row for each run.
        expression: such as ``optimizer.lr < 0.01 and outcome in ['converged', 'saddle']``.
        names: the column that each name stands for.

    Returns:
        ``(rows,)`` booleans.

    Raises:
        UnknownName: If the expression contains a name that is not in `names`.
        InvalidExpression: If the expression is not valid, or is not true or false for each row.
    """
    if len(expression) > _MAX_LENGTH:
        raise InvalidExpression(f"is longer than {_MAX_LENGTH} characters")
    columns: list[str] = []
    known = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    pattern = re.compile(rf"'[^']*'|\"[^\"]*\"|(?<![\w.])(?P<name>{known or '(?!)'})(?![\w.])")

    def substituted(match: re.Match[str]) -> str:
        if match["name"] is None:
            return match[0]
        columns.append(names[match["name"]])
        return f"_{len(columns) - 1}_"

    try:
        tree = ast.parse(pattern.sub(substituted, expression).strip(), mode="eval")
        found = _Evaluation(runs, columns).evaluate(tree.body)
    except (
        SyntaxError,
        TypeError,
        ValueError,
        ArithmeticError,
        RecursionError,
        MemoryError,
    ) as error:
        raise InvalidExpression("cannot be read") from error
    if not isinstance(found, pd.Series) or not pd.api.types.is_bool_dtype(found):
        raise InvalidExpression("is not true or false for each run")
    return found.fillna(False).astype(bool)


class _Evaluation:
    """Evaluates a parsed expression.

    Args:
        runs: one row for each run.
        columns: the columns that the names ``_0_``, ``_1_``, … stand for.
    """

    def __init__(self, runs: pd.DataFrame, columns: list[str]) -> None:
        self._runs = runs
        self._columns = {f"_{number}_": name for number, name in enumerate(columns)}

    def evaluate(self, node: ast.expr) -> Any:
        """Returns the value of a part of the expression: a column or a constant."""
        match node:
            case ast.Constant(value=bool() | int() | float() | str() as value):
                return value
            case ast.Name(id=name) if name in self._columns:
                return self._runs[self._columns[name]]
            case ast.Name(id="true" | "false" as word):
                return word == "true"
            case ast.Name() | ast.Attribute():
                raise UnknownName(self._written(node))
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -value
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                return ~self._truth(inner)
            case ast.BoolOp(op=joint, values=parts):
                truths = [self._truth(part) for part in parts]
                both = operator.and_ if isinstance(joint, ast.And) else operator.or_
                found = truths[0]
                for truth in truths[1:]:
                    found = both(found, truth)
                return found
            case ast.Compare(left=left, ops=kinds, comparators=rights):
                return self._comparison(left, kinds, rights)
        raise ValueError(type(node).__name__)

    def _truth(self, node: ast.expr) -> Any:
        found = self.evaluate(node)
        if not isinstance(found, pd.Series) or not pd.api.types.is_bool_dtype(found):
            raise ValueError("neither true nor false")
        return found

    def _comparison(self, left: ast.expr, kinds: list[ast.cmpop], rights: list[ast.expr]) -> Any:
        found: Any = True
        value = self.evaluate(left)
        for kind, right in zip(kinds, rights, strict=True):
            if isinstance(kind, ast.In | ast.NotIn):
                if not isinstance(right, ast.List | ast.Tuple) or not isinstance(value, pd.Series):
                    raise ValueError("in takes a key and a list")
                one = value.isin([self.evaluate(item) for item in right.elts])
                found = found & (one if isinstance(kind, ast.In) else ~one)
                continue
            other = self.evaluate(right)
            compare = _COMPARISONS.get(type(kind))
            if compare is None:
                raise ValueError(type(kind).__name__)
            found = found & compare(value, other)
            value = other
        return found

    def _written(self, node: ast.AST) -> str:
        """Returns a name with placeholders replaced by columns."""
        text = ast.unparse(node)
        for name, column in self._columns.items():
            text = text.replace(name, column)
        return text
