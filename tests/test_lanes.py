"""The arithmetic over packs that compiled programs are written in."""

import ctypes

import numpy as np
import pytest

from gradexp.engine.codegen.build import build

_PROGRAM = """
using real = {real};
constexpr int GROUPS = 1;
#include "lanes.hpp"
extern "C" void run(const real* angle, real* sine, real* cosine, int64_t count) {{
  for (int64_t at = 0; at < count; at += LANES) {{
    const auto both = sincos(load(angle + at));
    store(sine + at, both.sin);
    store(cosine + at, both.cos);
  }}
}}
"""
_LOGARITHM = """
using real = {real};
constexpr int GROUPS = 1;
#include "lanes.hpp"
extern "C" void run(const real* number, real* logarithm, int64_t count) {{
  for (int64_t at = 0; at < count; at += LANES) store(logarithm + at, log(load(number + at)));
}}
"""
_REALS = {"float32": "float", "float64": "double"}


def sine_and_cosine(angle: np.ndarray) -> list[np.ndarray]:
    run = build(_PROGRAM.format(real=_REALS[str(angle.dtype)])).run
    run.argtypes, run.restype = [*[ctypes.c_void_p] * 3, ctypes.c_int64], None
    both = [np.empty_like(angle), np.empty_like(angle)]
    run(angle.ctypes.data, *(part.ctypes.data for part in both), len(angle))
    return both


def angles(dtype: str, largest: float) -> np.ndarray:
    """Of every size up to the largest, and next to whole quarter turns."""
    random = np.random.default_rng(1)
    sizes = np.exp(random.uniform(np.log(1e-30), np.log(largest), 2**16))
    counts = np.concatenate([np.arange(1, 2**14), np.geomspace(1, largest, 2**14).round()])
    quarters = counts * (np.pi / 2)
    near = np.concatenate([quarters * (1 + k * np.finfo(dtype).eps) for k in (-1, 0, 1)])
    near = near[near < largest]
    both = np.concatenate([sizes, near, [0.0]])
    both = np.concatenate([both, -both]).astype(dtype)
    return np.concatenate([both, np.zeros(-len(both) % 64, dtype)])


@pytest.mark.parametrize(
    ("dtype", "largest", "units"),
    [
        ("float64", 1e14, 1.5),
        ("float32", 39000, 1.5),
        ("float64", 1e300, 1.5),
        ("float32", 1e38, 3.5),
    ],
)
def test_sine_and_cosine_are_right_to_units_in_the_last_place(
    dtype: str, largest: float, units: float
) -> None:
    angle = angles(dtype, largest)
    for found, function in zip(sine_and_cosine(angle), (np.sin, np.cos), strict=True):
        exact = function(angle.astype(np.longdouble))
        unit = np.spacing(np.abs(exact).astype(dtype)).astype(np.longdouble)
        assert float(np.max(np.abs(found - exact) / unit)) <= units


@pytest.mark.parametrize("dtype", _REALS)
def test_an_angle_is_not_changed_by_those_beside_it(dtype: str) -> None:
    angle = np.array([0.5, -7.0, 3e4, 1e5, 1e13, 1e15, 1e30, np.inf, np.nan, -0.0] * 32, dtype)
    angle = angle[np.random.default_rng(1).permutation(len(angle))]
    together = sine_and_cosine(angle)
    for size in np.unique(np.abs(angle)):
        for sign in (1, -1):
            alone = sine_and_cosine(np.full(64, sign * size, dtype))
            for one, many in zip(alone, together, strict=True):
                np.testing.assert_array_equal(one[0], many[angle == sign * size])
    assert np.isnan(together[0][~np.isfinite(angle)]).all()


def logarithm(number: np.ndarray) -> np.ndarray:
    run = build(_LOGARITHM.format(real=_REALS[str(number.dtype)])).run
    run.argtypes, run.restype = [*[ctypes.c_void_p] * 2, ctypes.c_int64], None
    found = np.empty_like(number)
    run(number.ctypes.data, found.ctypes.data, len(number))
    return found


@pytest.mark.parametrize("dtype", _REALS)
def test_logarithms_are_right_to_a_unit_in_the_last_place(dtype: str) -> None:
    limits = np.finfo(dtype)
    random = np.random.default_rng(1)
    exponents = random.uniform(np.log2(limits.smallest_subnormal), np.log2(limits.max), 2**17)
    near = 1 + random.uniform(-0.5, 1.0, 2**17)
    closest = 1 + limits.eps * np.arange(-1024, 1024) / 2
    number = np.concatenate([2.0**exponents, near, closest]).astype(dtype)
    exact = np.log(number.astype(np.longdouble))
    unit = np.spacing(np.abs(exact).astype(dtype)).astype(np.longdouble)
    assert float(np.max(np.abs(logarithm(number) - exact) / unit)) <= 1.0


@pytest.mark.parametrize("dtype", _REALS)
def test_logarithms_of_what_has_none(dtype: str) -> None:
    number = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -1.0, -1e-40, 1.0] * 8, dtype)
    expected = [-np.inf, -np.inf, np.inf, np.nan, np.nan, np.nan, np.nan, 0.0] * 8
    np.testing.assert_array_equal(logarithm(number), np.array(expected, dtype))
