"""Programs for the CPU: vectorized over runs, with the work shared among threads.

A *lane* is one run, and a *pack* holds the numbers of as many runs as fit one vector register. A
thread advances a group of packs through all steps of a block, then takes the next group.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from string import Template
from typing import Any

import torch

from gradexp.engine.codegen.build import build, recall
from gradexp.engine.codegen.program import Text

_GROUPS = 2
"""Packs in a group, advanced in turn. Measured: 1 takes 1.8 times as long as 2, 4 as long as 2."""

_THREAD_STEPS = 2**15
"""Coordinate updates (steps × runs × dimensions) that are worth one more thread."""


class CpuProgram:
    """A program compiled for the CPU."""

    in_place = False
    """arrays are copied out of the buffers once a block, not used there in every step"""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._run = library.run
        pointer, whole = ctypes.c_void_p, ctypes.c_int64
        self._run.argtypes = [whole, *[pointer] * 4, *[whole] * 5, *[pointer] * 3, *[whole] * 2]
        self._run.restype = None

    @classmethod
    def recall(cls, signature: str) -> CpuProgram | None:
        """Returns the cached program with this signature, or None if it has not been built."""
        library = recall(signature)
        return cls(library) if library else None

    @classmethod
    def build(cls, text: Text, tuple_of_coordinates: bool, signature: str | None) -> CpuProgram:
        """Compiles a program.

        Args:
            text: its pieces.
            tuple_of_coordinates: whether a point is held in registers, as a tuple.
            signature: the name by which `recall` finds it in another process, or None.

        Raises:
            CannotCompile: if there is no compiler, it failed, or its output cannot be stored or
                loaded.
        """
        rooms, views = [], []
        for name, kind, places, apart in text.rooms:
            whole = f"{name}_all" if apart else name
            size = f"GROUPS * {places}" if apart else places
            rooms.append(f"Room<{kind}> {name}_room({size});")
            rooms.append(f"{kind}* const {whole} = {name}_room.first.get();")
            if apart:
                views.append(f"{kind}* const {name} = {whole} + g * {places};")
        groups = _GROUPS if tuple_of_coordinates else 1
        parts = {"rooms": "\n  ".join(rooms), "views": " ".join(views)}
        source = _FRAME.substitute(text.parts, groups=groups, **parts)
        return cls(build(source, signature))

    def run(self, work: int, pointers: Sequence[int | None], *numbers: Any) -> None:
        """Runs a block of steps.

        Args:
            work: coordinate updates: steps × runs × dimensions.
            pointers: to the buffers.
            numbers: the arguments of the program's ``run`` that follow those.
        """
        threads = min(torch.get_num_threads(), 1 + work // _THREAD_STEPS)
        self._run(threads, *pointers, *numbers)


_FRAME = Template("""\
using real = $real;
constexpr int GROUPS = $groups;
#include "lanes.hpp"
#include <atomic>

#define EACH_GROUP(...) \\
  _Pragma("GCC unroll $groups") for (int g = 0; g < GROUPS; ++g) { $views __VA_ARGS__ }

$constants

// Makes `iterations` looks, and a move after each, for groups of runs as long as there are any left
// in the buffers, whose rows are `width` long. Every `stride`-th step is written into the rows of
// the trace, `pitch` apart, where there are any; the best loss before the `middle` step goes into
// `before`. The packs of a group are advanced in turn: one's chain of arithmetic does not wait for
// another's, which hides the latency of each.
static void run_some(std::atomic<int64_t>& next, real* reals, int32_t* counts, int64_t* wholes,
                     real* before, int64_t width, int64_t first, int64_t iterations, int64_t last,
                     int64_t middle, real* loss_rows, real* norm_rows, real* point_rows,
                     int64_t pitch, int64_t stride) {
  $rooms
  $shared
  $tables
  for (int64_t lane; (lane = next.fetch_add(GROUPS * LANES)) < width;) {
    $packs
#pragma GCC unroll $groups
    for (int g = 0; g < GROUPS; ++g) {
      const int64_t at = lane + g * LANES;
      $views
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
      if (step == middle)
        for (int g = 0; g < GROUPS; ++g) store(before + lane + g * LANES, $held_best);
      $every_second
#pragma GCC unroll $groups
      for (int g = 0; g < GROUPS; ++g) {
        $views
        $step
        if (recorded) record(g, $loss, $square);
        $rest
        if (look) moved |= any($goes_on);
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
  if (loss_rows) fence();
}

extern "C" void run(int64_t threads, real* reals, int32_t* counts, int64_t* wholes, real* before,
                    int64_t width, int64_t first, int64_t iterations, int64_t last, int64_t middle,
                    real* loss_rows, real* norm_rows, real* point_rows, int64_t pitch,
                    int64_t stride) {
  std::atomic<int64_t> next{0};
  // The team of torch's own operations: a second one would have to wait while that one spins.
#pragma omp parallel num_threads(int(threads)) if (threads > 1)
  run_some(next, reals, counts, wholes, before, width, first, iterations, last, middle, loss_rows,
           norm_rows, point_rows, pitch, stride);
}
""")
