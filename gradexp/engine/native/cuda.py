"""Programs for CUDA: one thread advances one run through all steps of a block."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

import torch

from gradexp.engine.native.build import CannotCompile
from gradexp.engine.native.cache import also_named, cache_folder, kept, own_source, place
from gradexp.engine.native.nvrtc import (
    OPTIONS,
    CudaError,
    DriverKernel,
    Kernel,
    architecture,
    machine_code,
    version,
)
from gradexp.engine.native.program import Text

HEADER = Path(__file__).with_name("thread.hpp")

_SIZES = {"bool": 1, "Mask": 1, "float": 4, "double": 8, "int32_t": 4, "int64_t": 8}


class CudaProgram:
    """A compiled program."""

    in_place = True
    """an array of a thread would be in the device's memory anyway"""

    def __init__(self, kernel: Kernel, scratch: int, device: str = "cuda") -> None:
        """
        Args:
            kernel: what is started.
            scratch: bytes of memory that each run needs besides the buffers.
            device: where that is.
        """
        self._kernel, self._scratch, self._device = kernel, scratch, device

    @classmethod
    def recall(cls, signature: str) -> CudaProgram | None:
        """The one of this signature, if a process has built it before."""
        try:
            return _loaded(_place(signature + own_source()))
        except (OSError, CudaError):  # it is not there, or of no use here
            return None

    @classmethod
    def build(cls, text: Text, tuple_of_coordinates: bool, signature: str | None) -> CudaProgram:
        """Compiles it for the current device.

        Raises:
            CannotCompile: NVRTC is not there, it failed, or its result cannot be kept or loaded.
        """
        source, scratch = source_of(text)

        def make(result: Path) -> None:
            code = machine_code(source, HEADER.read_text(), architecture())
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
        """Starts a block; see the program for what it wants.

        Args:
            work: steps of a coordinate.
            pointers: to the buffers.
            width: of the buffers: how many runs.
            numbers: what follows.
        """
        room = torch.empty(self._scratch * width, dtype=torch.uint8, device=self._device)
        first, looks, last, *rows, pitch, stride = numbers
        whole = [width, first, looks, last, pitch, stride]
        self._kernel.launch(width, [*pointers, room.data_ptr(), *rows], whole)


def source_of(text: Text) -> tuple[str, int]:
    """The program's source, and the bytes of scratch memory that each run needs."""
    arrays = [
        f"const Column<{kind}> {name}{{{buffer} + int64_t({first}) * width + at, width}};"
        for name, kind, buffer, first in text.columns
    ]
    used = 0
    for name, kind, places in text.rooms:
        there = f"({kind}*)(scratch + int64_t({used}) * width) + at"
        arrays.append(f"const Column<{kind}> {name}{{{there}, width}};")
        used += _size(kind) * places
    return _FRAME.substitute(text.parts, arrays="\n  ".join(arrays)), used


def _size(kind: str) -> int:
    """The bytes of an element of this type."""
    outer, _, inner = kind.rstrip(">").rpartition("<")
    return _SIZES[inner] * (2 if outer == "SinCos" else 1)


def _place(source: str) -> Path:
    return place(source, HEADER.read_text(), " ".join(OPTIONS), architecture(), version())


def _loaded(file: Path) -> CudaProgram:
    """The program in a file: the bytes of its scratch memory, and its machine code."""
    content = file.read_bytes()
    return CudaProgram(DriverKernel(content[8:]), int.from_bytes(content[:8], "little"))


_FRAME = Template("""\
using real = $real;
constexpr int GROUPS = 1;
#include "thread.hpp"

$constants

// Makes `iterations` looks, and a move after each, for one run of the buffers, whose rows are
// `width` long. Every `stride`-th step is written into the rows of the trace, `pitch` apart, where
// there are any. Arrays are columns of the buffers, or of `scratch`.
extern "C" __global__ void run(real* reals, int32_t* counts, int64_t* wholes, char* scratch,
                               real* loss_rows, real* norm_rows, real* point_rows, int64_t width,
                               int64_t first, int64_t iterations, int64_t last, int64_t pitch,
                               int64_t stride) {
  const int64_t at = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  constexpr int g = 0;
  if (at >= width) return;
  $arrays
    $packs
      $loads
      $before
    int64_t row = (first + stride - 1) / stride, due = row * stride;
    const auto record = [&](Pack<real> loss, Pack<real> square) {
      if (loss_rows) stream(loss_rows + row * pitch + at, loss);
      if (norm_rows) stream(norm_rows + row * pitch + at, sqrt(square));
      if (point_rows) {
        real* const to = point_rows + row * pitch * $dim + at;
        $points
      }
    };
    bool moving = true;
    for (int64_t step = first; moving && step < first + iterations; ++step) {
        $step
        if (step == due) {
          record($loss, $square);
          ++row;
          due += stride;
        }
        $rest
        if ((step & $look) == $look) moving = $following_steps != $steps;
        $following
    }
    for (; loss_rows && due < first + iterations; ++row, due += stride)  // it rests where it is
      record($held_loss, $held_square);
      $saves
}
""")
