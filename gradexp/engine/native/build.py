"""Compiles C++."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path

import torch

from gradexp.engine.native.cache import also_named, cache_folder, kept, own_source, place, whole

_HEADERS = sorted(Path(__file__).parent.glob("*.hpp"))

_VECTORS = {
    "AVX512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx2", "-mfma"],
    "AVX2": ["-mavx2", "-mfma"],
}
_FLAGS = [
    "-std=c++17",
    "-O3",
    "-shared",
    "-fPIC",
    "-fopenmp",
    "-ffp-contract=off",  # what is recorded must not change which products are fused
    "-fwrapv",  # as torch's whole numbers do
    "-fno-math-errno",
    "-fno-trapping-math",
    "-Wno-psabi",
]


class CannotCompile(Exception):
    """There is no compiler, it failed, or what it made cannot be kept or loaded."""


@cache
def compiler() -> str:
    """The C++ compiler: ``$CXX``, or g++ or clang++.

    Raises:
        CannotCompile: there is none.
    """
    wanted = os.environ.get("CXX")
    for name in [wanted] if wanted else ["g++", "clang++", "c++"]:
        if shutil.which(shlex.split(name)[0]):
            return name
    raise CannotCompile(f"there is no C++ compiler ({wanted or 'g++ or clang++'})")


@cache
def _command() -> list[str]:
    libraries = Path(torch.__file__).parent / "lib"
    vectors = _VECTORS.get(torch.backends.cpu.get_cpu_capability(), [])
    link = [f"-L{libraries}", "-ltorch_cpu"] if vectors else []
    return [*shlex.split(compiler()), *_FLAGS, *vectors, f"-I{_HEADERS[0].parent}", *link]


@cache
def _version() -> str:
    told = subprocess.run([*shlex.split(compiler()), "--version"], capture_output=True, text=True)
    return told.stdout


def build(source: str, signature: str | None = None) -> ctypes.CDLL:
    """The program of a source, from the cache if it is there.

    Args:
        source: in C++.
        signature: what `recall` is to find it by in another process, if anything.

    Raises:
        CannotCompile: there is no compiler, it failed, or its result cannot be kept or loaded.
    """
    try:
        program = kept(_place(source), lambda result: _compile(source, result))
        if signature is not None:
            also_named(program, _place(signature + own_source()))
        return ctypes.CDLL(str(program))
    except OSError as error:
        raise CannotCompile(f"{cache_folder()}: {error}") from error


def recall(signature: str) -> ctypes.CDLL | None:
    """The program that was built under a signature by this version of gradexp, if any was."""
    file = _place(signature + own_source())
    try:
        return ctypes.CDLL(str(file)) if whole(file) else None
    except OSError:  # it cannot be loaded
        return None


def _place(source: str) -> Path:
    headers = (header.read_text() for header in _HEADERS)
    return place(source, *headers, " ".join(_command()), _version())


def _compile(source: str, result: Path) -> None:
    code = result.with_name("step.cpp")
    code.write_text(source)
    command = _command()
    where = command.index(f"-I{_HEADERS[0].parent}") + 1
    whole = [*command[:where], str(code), "-o", str(result), *command[where:]]
    told = subprocess.run(whole, capture_output=True, text=True)
    if told.returncode:
        errors = [line for line in told.stderr.splitlines() if "error" in line] or [told.stderr]
        raise CannotCompile(f"{compiler()} failed: {errors[0].strip()}")
