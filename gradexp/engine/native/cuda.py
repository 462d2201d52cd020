"""Programs for CUDA: one thread advances one run through all steps of a block.

They are compiled by NVRTC and started through NVIDIA's own bindings, both of which torch brings
with its CUDA builds.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from string import Template
from typing import Any, Protocol

import torch
from torch import Tensor

from gradexp.engine.native.build import CannotCompile
from gradexp.engine.native.cache import also_named, cache_folder, kept, own_source, place
from gradexp.engine.native.program import Text

_HEADER = Path(__file__).with_name("thread.hpp")
_OPTIONS = ("--std=c++17", "--fmad=false", "--device-as-default-execution-space")

_THREADS = 128
"""Threads of a block of the grid."""

_SIZES = {"bool": 1, "Mask": 1, "float": 4, "double": 8, "int32_t": 4, "int64_t": 8}


class Kernel(Protocol):
    """A function of the device."""

    def launch(self, runs: int, pointers: Sequence[int | None], numbers: Sequence[int]) -> None:
        """Starts a thread a run on the current stream."""


class CudaProgram:
    """A compiled program."""

    in_place = True
    """an array of a thread would be in the device's memory anyway"""

    def __init__(self, kernel: Kernel, scratch: int) -> None:
        self._kernel, self._scratch = kernel, scratch
        self._room: Tensor | None = None

    @classmethod
    def recall(cls, signature: str) -> CudaProgram | None:
        """The one of this signature, if a process has built it before."""
        file = _place(signature + own_source())
        return _loaded(file) if file.exists() else None

    @classmethod
    def build(cls, text: Text, tuple_of_coordinates: bool, signature: str | None) -> CudaProgram:
        """Compiles it for the current device.

        Raises:
            CannotCompile: NVRTC is not there, it failed, or its result cannot be kept or loaded.
        """
        source, scratch = source_of(text)

        def make(result: Path) -> None:
            result.write_bytes(scratch.to_bytes(8, "little") + compile(source, architecture()))

        try:
            file = kept(_place(source), make)
        except OSError as error:
            raise CannotCompile(f"{cache_folder()}: {error}") from error
        if signature is not None:
            also_named(file, _place(signature + own_source()))
        return _loaded(file)

    def run(self, work: int, pointers: Sequence[int | None], width: int, *numbers: Any) -> None:
        """Starts a block; see the program for what it wants.

        Args:
            work: steps of a coordinate.
            pointers: to the buffers.
            width: of the buffers: how many runs.
            numbers: what follows.
        """
        size = self._scratch * width
        if size and (self._room is None or self._room.numel() < size):
            self._room = torch.empty(size, dtype=torch.uint8, device="cuda")
        scratch = self._room.data_ptr() if self._room is not None else None
        *rows, pitch, stride = numbers[3:]
        whole = [width, *numbers[:3], pitch, stride]
        self._kernel.launch(width, [*pointers, scratch, *rows], whole)


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


def architecture() -> str:
    """What NVRTC calls the current device."""
    major, minor = torch.cuda.get_device_capability()
    return f"sm_{major}{minor}"


def compile(source: str, architecture: str) -> bytes:
    """The machine code of a source.

    Raises:
        CannotCompile: NVRTC is not there, or it failed.
    """
    nvrtc = _bindings("nvrtc")
    header = _HEADER.read_text().encode()
    program = _done(
        nvrtc.nvrtcCreateProgram(source.encode(), b"step.cu", 1, [header], [b"thread.hpp"])
    )
    options = [option.encode() for option in (f"--gpu-architecture={architecture}", *_OPTIONS)]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    if status.value:
        told = bytes(_done(nvrtc.nvrtcGetProgramLogSize(program)))
        _done(nvrtc.nvrtcGetProgramLog(program, told))
        raise CannotCompile(f"NVRTC failed: {told.decode().strip()[:2000]}")
    code = bytes(_done(nvrtc.nvrtcGetCUBINSize(program)))
    _done(nvrtc.nvrtcGetCUBIN(program, code))
    return code


@cache
def _bindings(name: str) -> Any:
    """NVIDIA's module of that name.

    Raises:
        CannotCompile: it is not there.
    """
    try:
        import importlib

        return importlib.import_module(f"cuda.bindings.{name}")
    except ImportError as error:
        raise CannotCompile(f"there is no cuda.bindings ({error})") from error


def _done(answer: tuple[Any, ...]) -> Any:
    """What a call of the bindings gave.

    Raises:
        CannotCompile: an error.
    """
    status, *results = answer
    if status.value:
        raise CannotCompile(str(status.name))
    return results[0] if results else None


@cache
def _version() -> str:
    nvrtc = _bindings("nvrtc")
    _, major, minor = nvrtc.nvrtcVersion()
    return f"NVRTC {major}.{minor}"


def _place(source: str) -> Path:
    return place(source, _HEADER.read_text(), " ".join(_OPTIONS), architecture(), _version())


def _loaded(file: Path) -> CudaProgram:
    content = file.read_bytes()
    return CudaProgram(DriverKernel(content[8:]), int.from_bytes(content[:8], "little"))


class DriverKernel:
    """A function in the current device's memory."""

    def __init__(self, code: bytes) -> None:
        torch.cuda.current_stream()  # that there is a context
        self._driver = _bindings("driver")
        self._module = _done(self._driver.cuModuleLoadData(code))
        self._function = _done(self._driver.cuModuleGetFunction(self._module, b"run"))

    def launch(self, runs: int, pointers: Sequence[int | None], numbers: Sequence[int]) -> None:
        values = (*(pointer or 0 for pointer in pointers), *numbers)
        kinds = (*[ctypes.c_void_p] * len(pointers), *[ctypes.c_int64] * len(numbers))
        grid, stream = -(-runs // _THREADS), torch.cuda.current_stream().cuda_stream
        size = (grid, 1, 1, _THREADS, 1, 1)
        _done(self._driver.cuLaunchKernel(self._function, *size, 0, stream, (values, kinds), 0))


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
