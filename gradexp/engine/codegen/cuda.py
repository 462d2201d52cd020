"""Programs for CUDA: one thread advances one run through all steps of a block."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

import torch

from gradexp.engine.codegen.build import CannotCompile
from gradexp.engine.codegen.cache import (
    also_named,
    cache_folder,
    kept,
    own_source,
    place,
    program,
    whole,
)
from gradexp.engine.codegen.nvrtc import (
    OPTIONS,
    CudaError,
    DriverKernel,
    Kernel,
    architecture,
    machine_code,
    version,
)
from gradexp.engine.codegen.program import Text

HEADERS = {
    name: Path(__file__).with_name(name).read_text() for name in ("thread.hpp", "circle.hpp")
}
"""The headers that programs include, by name."""

_UNROLLED = 4
"""Steps in each pass of the unrolled loop, if a point is held in registers: the results of one step
are then already in the registers that the next one reads."""

_SIZES = {"bool": 1, "Mask": 1, "float": 4, "double": 8, "int32_t": 4, "int64_t": 8}


class CudaProgram:
    """A program compiled for CUDA."""

    in_place = True
    """arrays are used in the buffers: a thread's own copy would be in device memory, too"""

    def __init__(self, kernel: Kernel, scratch: int, device: str = "cuda") -> None:
        """
        Args:
            kernel: to be launched.
            scratch: bytes of scratch memory that each run needs besides the buffers.
            device: of that memory.
        """
        self._kernel, self._scratch, self._device = kernel, scratch, device

    @classmethod
    def recall(cls, signature: str) -> CudaProgram | None:
        """Returns the cached program with this signature, or None if it has not been built."""
        file = _place(signature + own_source())
        try:
            return _loaded(file) if whole(file) else None
        except (OSError, CudaError):  # it cannot be read, or not be loaded on this device
            return None

    @classmethod
    def build(cls, text: Text, tuple_of_coordinates: bool, signature: str | None) -> CudaProgram:
        """Compiles a program for the current device.

        Args:
            text: its pieces.
            tuple_of_coordinates: not used; see `CpuProgram.build`.
            signature: the name by which `recall` finds it in another process, or None.

        Raises:
            CannotCompile: if NVRTC is missing, it failed, or its output cannot be stored or loaded.
        """
        source, scratch = source_of(text)

        def make(result: Path) -> None:
            code = machine_code(source, HEADERS, architecture())
            result.write_bytes(scratch.to_bytes(8, "little") + code)

        try:
            file = kept(_place(source), make)
            if signature is not None:
                also_named(file, _place(signature + own_source()))
            return _loaded(file)
        except OSError as error:
            raise CannotCompile(f"{cache_folder()}: {error}") from error
        except CudaError as error:
            raise CannotCompile(str(error)) from error

    def run(self, work: int, pointers: Sequence[int | None], width: int, *numbers: Any) -> None:
        """Launches a block of steps on the current stream.

        Args:
            work: not used; see `CpuProgram.run`.
            pointers: to the buffers.
            width: of the buffers, in runs.
            numbers: first step, number of steps, last step, middle step, pointers to the recorded
                rows, distance between those rows, and recording stride.
        """
        room = torch.empty(self._scratch * width, dtype=torch.uint8, device=self._device)
        first, looks, last, middle, *rows, pitch, stride = numbers
        whole = [width, first, looks, last, middle, pitch, stride]
        self._kernel.launch(width, [*pointers, room.data_ptr(), *rows], whole)


def source_of(text: Text) -> tuple[str, int]:
    """Returns the source of a program, and the bytes of scratch memory that each run needs."""
    arrays = [
        f"const Column<{kind}> {name}{{{buffer} + int64_t({first}) * width + at, width}};"
        for name, kind, buffer, first in text.columns
    ]
    used = 0
    for name, kind, places, _ in text.rooms:
        there = f"({kind}*)(scratch + int64_t({used}) * width) + at"
        arrays.append(f"const Column<{kind}> {name}{{{there}, width}};")
        used += _size(kind) * places
    after = f"{text.parts['rest']}\n        {text.parts['following']}"
    known = {
        name: re.sub(rf"\b{text.parts['goes_on']}\b", f"Mask({value})", after)
        for name, value in (("moves", "true"), ("ends", "false"))
    }
    unrolled = 1 if text.columns else _UNROLLED
    named = {"arrays": "\n  ".join(arrays), "unrolled": unrolled}
    return _FRAME.substitute(text.parts, **named, **known), used


def _size(kind: str) -> int:
    """Returns the size in bytes of an element of a C++ type."""
    outer, _, inner = kind.rstrip(">").rpartition("<")
    return _SIZES[inner] * (2 if outer == "SinCos" else 1)


def _place(source: str) -> Path:
    return place(source, *HEADERS.values(), " ".join(OPTIONS), architecture(), version())


def _loaded(file: Path) -> CudaProgram:
    """Loads a cached program.

    The file holds the bytes of scratch memory a run, as 8 bytes, and then the machine code.
    """
    content = program(file)
    return CudaProgram(DriverKernel(content[8:]), int.from_bytes(content[:8], "little"))


_FRAME = Template("""\
using real = $real;
constexpr int GROUPS = 1;
#include "thread.hpp"
#define EACH_GROUP(...) { __VA_ARGS__ }

$constants

// Makes `iterations` looks, and a move after each, for one run of the buffers, whose rows are
// `width` long, until one has no move after it. Every `stride`-th step is written into the rows of
// the trace, `pitch` apart, where there are any; the best loss before the `middle` step goes into
// `before`. Arrays are columns of the buffers or of `scratch`.
extern "C" __global__ void run(real* reals, int32_t* counts, int64_t* wholes, real* before,
                               char* scratch, real* loss_rows, real* norm_rows, real* point_rows,
                               int64_t width, int64_t first, int64_t iterations, int64_t last_step,
                               int64_t middle, int64_t pitch, int64_t stride) {
  const int64_t at = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  constexpr int g = 0;
  if (at >= width) return;
  $arrays
    $packs
      $loads
      $before
    const uint32_t end = uint32_t(first + iterations), apart = uint32_t(stride);
    const Step last{int32_t(last_step)};
    const int64_t row = (first + stride - 1) / stride;
    const bool recorded = loss_rows, whole = norm_rows;
    uint32_t due = recorded ? uint32_t(row * stride) : end;
    loss_rows += row * pitch + at;
    norm_rows += row * pitch + at;
    point_rows += row * pitch * $dim + at;
    const auto record = [&](Pack<real> loss, Pack<real> square) {
      stream(loss_rows, loss);
      loss_rows += pitch;
      if (whole) {
        stream(norm_rows, sqrt(square));
        norm_rows += pitch;
        real* const to = point_rows;
        $points
        point_rows += pitch * $dim;
      }
      due += apart;
    };
#pragma unroll $unrolled
    for (int32_t now = int32_t(first); now != int32_t(end); ++now) {
        const Step step{now};
        if (now == int32_t(middle)) before[at] = $held_best;
        $every_second
        $step
        if (uint32_t(now) == due) record($loss, $square);
        if (!$goes_on.holds) {
        $ends
          break;
        }
        $moves
    }
    while (due < end) record($held_loss, $held_square);  // it rests where it is
      $saves
}
""")
