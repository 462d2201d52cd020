"""NVIDIA's compiler and driver, through the bindings that torch brings with its CUDA builds."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Protocol

import torch

OPTIONS = ("--std=c++17", "--fmad=false", "--device-as-default-execution-space")

_THREADS = 128
"""Threads of a block of the grid."""


class CudaError(RuntimeError):
    """The compiler or the driver is not there, or failed."""


class Kernel(Protocol):
    """A function of a device."""

    def launch(self, runs: int, pointers: Sequence[int | None], numbers: Sequence[int]) -> None:
        """Starts a thread a run on the current stream."""


class DriverKernel:
    """The function ``run`` of machine code, in the current device's memory.

    Raises:
        CudaError: it cannot be loaded.
    """

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


def machine_code(source: str, headers: Mapping[str, str], architecture: str) -> bytes:
    """The machine code of a source.

    Args:
        source: in CUDA C++.
        headers: what it may include, by name.
        architecture: what to compile for, such as ``sm_90``.

    Raises:
        CudaError: the compiler is not there, or it failed.
    """
    nvrtc = _bindings("nvrtc")
    texts, names = ([text.encode() for text in some] for some in (headers.values(), headers))
    given = (source.encode(), b"step.cu", len(names), texts, names)
    program = _done(nvrtc.nvrtcCreateProgram(*given))
    try:
        options = [option.encode() for option in (f"--gpu-architecture={architecture}", *OPTIONS)]
        (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        if status.value:
            told = bytes(_done(nvrtc.nvrtcGetProgramLogSize(program)))
            _done(nvrtc.nvrtcGetProgramLog(program, told))
            lines = told.decode().splitlines()
            errors = [line for line in lines if "error" in line] or [status.name]
            raise CudaError(f"NVRTC failed: {errors[0].strip()}")
        code = bytes(_done(nvrtc.nvrtcGetCUBINSize(program)))
        _done(nvrtc.nvrtcGetCUBIN(program, code))
        return code
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def architecture() -> str:
    """What the compiler calls the current device."""
    major, minor = torch.cuda.get_device_capability()
    return f"sm_{major}{minor}"


@cache
def version() -> str:
    """The compiler's."""
    status, major, minor = _bindings("nvrtc").nvrtcVersion()
    _done((status,))
    return f"NVRTC {major}.{minor}"


@cache
def _bindings(name: str) -> Any:
    try:
        return importlib.import_module(f"cuda.bindings.{name}")
    except ImportError as error:
        raise CudaError(f"there is no cuda.bindings ({error})") from error


def _done(answer: tuple[Any, ...]) -> Any:
    """What a call of the bindings gave."""
    status, *results = answer
    if status.value:
        raise CudaError(f"CUDA: {status.name}")
    return results[0] if results else None
