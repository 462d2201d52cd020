"""Compiles C++ programs into shared libraries, with a cache on disk."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import signal
import subprocess
from functools import cache
from pathlib import Path

import torch

from gradexp.engine.codegen.cache import (
    SOURCE,
    also_named,
    cache_folder,
    kept,
    own_source,
    place,
    whole,
)
from gradexp.processes.environment import AT_START

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
    "-ffp-contract=off",  # which products are fused could depend on what is recorded
    "-fwrapv",  # integers wrap around, as in torch
    "-fno-math-errno",
    "-fno-trapping-math",
    "-Wno-psabi",
]


class CannotCompile(Exception):
    """There is no compiler, it failed, or its output cannot be stored or loaded."""


@cache
def compiler() -> str:
    """Returns the command of the C++ compiler: ``$CXX`` if set, otherwise g++, clang++ or c++.

    Raises:
        CannotCompile: if there is no compiler.
    """
    wanted = AT_START.get("CXX")
    for name in [wanted] if wanted else ["g++", "clang++", "c++"]:
        parts = shlex.split(name)
        if parts and shutil.which(parts[0], path=AT_START.get("PATH")):
            return name
    raise CannotCompile(f"there is no C++ compiler ({wanted or 'g++ or clang++'})")


@cache
def _command() -> list[str]:
    libraries = Path(torch.__file__).parent / "lib"
    vectors = _vectors()
    link = [f"-L{libraries}", "-ltorch_cpu"] if vectors and torch_has_sleef() else []
    return [*shlex.split(compiler()), *_FLAGS, *vectors, f"-I{_HEADERS[0].parent}", *link]


def _vectors() -> list[str]:
    """Returns the compiler flags for the vector instructions that torch uses on this CPU."""
    flags = _VECTORS.get(torch.backends.cpu.get_cpu_capability(), [])
    return [*flags, "-DLIBM"] if flags and not torch_has_sleef() else flags


@cache
def torch_has_sleef() -> bool:
    """Whether torch's library exports the vector functions of Sleef.

    torch does not guarantee that. Without them, libm is called for one lane at a time.
    """
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        return hasattr(library, f"Sleef_exp{'f16' if wide else 'f8'}_u10")
    except OSError:
        return False


@cache
def _version() -> str:
    return _run([*shlex.split(compiler()), "--version"]).stdout


def build(source: str, signature: str | None = None) -> ctypes.CDLL:
    """Returns the compiled program, from the cache if it has been compiled before.

    Args:
        source: in C++.
        signature: the name by which `recall` finds the program in another process, or None.

    Raises:
        CannotCompile: if there is no compiler, it failed, or its output cannot be stored or loaded.
    """
    try:
        program = kept(_place(source), lambda result: _compile(source, result))
        if signature is not None:
            also_named(program, _place_of_signature(signature))
        return ctypes.CDLL(str(program))
    except OSError as error:
        raise CannotCompile(f"{cache_folder()}: {error}") from error


def recall(signature: str) -> ctypes.CDLL | None:
    """Returns the program that this version of gradexp built with a signature, or None."""
    file = _place_of_signature(signature)
    try:
        return ctypes.CDLL(str(file)) if whole(file) else None
    except OSError:  # the library cannot be loaded
        return None


def _place(source: str) -> Path:
    headers = (header.read_text() for header in _HEADERS)
    return place(source, *headers, " ".join(_command()), _version())


def _place_of_signature(signature: str) -> Path:
    """Returns the cache file for a signature; unlike `_place`, it does not need the compiler."""
    headers = (header.read_text() for header in _HEADERS)
    chosen = [AT_START.get("CXX", ""), *_FLAGS, *_vectors()]
    return place(signature, own_source(), *headers, *chosen)


_PATIENCE = 120.0
"""Time limit of the compiler in seconds. The largest programs take about thirty."""


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs the compiler in the environment that gradexp was started with.

    Raises:
        CannotCompile: if it cannot be started, or exceeds the time limit.
    """
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            text=True,
            errors="replace",
            env=AT_START,
            start_new_session=True,  # so that its own subprocesses can be killed with it
        )
    except OSError as error:
        raise CannotCompile(f"{compiler()} cannot be started: {error.strerror}") from None
    try:
        out, err = process.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        reason = f"{compiler()} did not end within {_PATIENCE:.0f} seconds"
        raise CannotCompile(reason) from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _compile(source: str, result: Path) -> None:
    code = result.with_name(SOURCE)
    code.write_text(source)
    command = _command()
    where = command.index(f"-I{_HEADERS[0].parent}") + 1
    whole = [*command[:where], str(code), "-o", str(result), *command[where:]]
    told = _run(whole)
    if told.returncode:
        errors = [line for line in told.stderr.splitlines() if "error" in line] or [told.stderr]
        raise CannotCompile(f"{compiler()} failed: {errors[0].strip()}")
