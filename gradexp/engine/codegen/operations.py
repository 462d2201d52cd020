"""The C++ forms of torch's pointwise operations on packs: see ``lanes.hpp``."""

from __future__ import annotations

from collections.abc import Callable

# Operands have the type of the result already (in a comparison: their common type).
INFIX = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "bitwise_and": "&",
    "bitwise_or": "|",
    "bitwise_xor": "^",
    "__and__": "&",
    "__or__": "|",
    "__xor__": "^",
    "__rshift__": ">>",
    "__lshift__": "<<",
    "bitwise_right_shift": ">>",
    "bitwise_left_shift": "<<",
}
COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
LOGIC = {"logical_and": "&", "logical_or": "|", "logical_xor": "^"}

_FUNCTIONS = (
    *("sqrt", "floor", "ceil", "trunc", "exp", "exp2", "expm1", "erf", "lgamma"),
    *("tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh"),
    *("log", "log2", "log10", "log1p"),
)

CALLS: dict[str, Callable[..., str]] = {
    "neg": lambda x: f"-({x})",
    "abs": lambda x: f"abs({x})",
    "sign": lambda x: f"sign({x})",
    "reciprocal": lambda x: f"1 / ({x})",
    "rsqrt": lambda x: f"1 / sqrt({x})",
    "sigmoid": lambda x: f"1 / (1 + exp(-({x})))",
    "maximum": lambda x, y: f"maximum({x}, {y})",
    "minimum": lambda x, y: f"minimum({x}, {y})",
    "atan2": lambda x, y: f"atan2({x}, {y})",
    "hypot": lambda x, y: f"hypot({x}, {y})",
    **{name: lambda x, name=name: f"{name}({x})" for name in _FUNCTIONS},
    "round": lambda x: f"nearbyint({x})",
}


def power(base: str, exponent: float) -> str:
    """Returns the expression of a power with a known exponent.

    Exponents that are whole and at most 16 in size become products, as torch does for 2 and 3.
    """
    size = abs(exponent)
    if exponent == 0.5:
        return f"sqrt({base})"
    if size != int(size) or not 1 <= size <= 16:
        return f"pow({base}, real({literal(exponent)}))"
    product, square, rest = "", f"({base})", int(size)
    while rest:
        if rest & 1:
            product = f"({product} * {square})" if product else square
        rest >>= 1
        square = f"({square} * {square})" if rest else square
    return product if exponent > 0 else f"1 / {product}"


def literal(value: float | int | bool) -> str:
    """Returns a number as an exact C++ literal."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"INT64_C({value})"
    if value != value:
        return "NAN"
    if value in (float("inf"), float("-inf")):
        return "INFINITY" if value > 0 else "-INFINITY"
    return value.hex()
