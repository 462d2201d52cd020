"""NVIDIA's compiler and driver, through the bindings that come with torch's CUDA builds."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Protocol

import torch

OPTIONS = ("--std=c++17", "--fmad=false", "--device-as-default-execution-space")

_THREADS = 128
"""Threads in each block of the grid."""


class CudaError(RuntimeError):
    """The compiler or the driver is missing, or failed."""


class Kernel(Protocol):
    """A function that runs on a CUDA device."""

    def launch(self, runs: int, pointers: Sequence[int | None], numbers: Sequence[int]) -> None:
        """Launches one thread for each run on the current stream.

        Args:
            runs: how many.
            pointers: the first arguments of the function, None for a null pointer.
            numbers: the other arguments.
        """


class DriverKernel:
    """The function ``run`` of a compiled program, loaded onto the current device.

    Raises:
        CudaError: if it cannot be loaded.
    """

    def __init__(self, code: bytes) -> None:
        torch.cuda.current_stream()  # creates a CUDA context if there is none
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
    """Compiles a program and returns its machine code.

    Args:
        source: in CUDA C++.
        headers: the texts of the headers that it may include, by name.
        architecture: to compile for, such as ``sm_90``.

    Raises:
        CudaError: if the compiler is missing, or it failed.
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
    """Returns the compiler's name for the architecture of the current device."""
    major, minor = torch.cuda.get_device_capability()
    return f"sm_{major}{minor}"


@cache
def version() -> str:
    """Returns the name and version of the compiler."""
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
    """Returns the first result of a call of the bindings, or None if it has none.

    Raises:
        CudaError: if the call failed.
    """
    status, *results = answer
    if status.value:
        raise CudaError(f"CUDA: {status.name}")
    return results[0] if results else None
