"""Compiles programs, and keeps them on disk for the next process."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch

_HEADER = Path(__file__).with_name("lanes.hpp")

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
    """There is no compiler, or it failed."""


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


def cache_folder() -> Path:
    """Where compiled programs are kept: ``$GRADEXP_CACHE``, or ``gradexp`` in the user's cache."""
    chosen = os.environ.get("GRADEXP_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gradexp"


@cache
def _command() -> list[str]:
    libraries = Path(torch.__file__).parent / "lib"
    vectors = _VECTORS.get(torch.backends.cpu.get_cpu_capability(), [])
    link = [f"-L{libraries}", "-ltorch_cpu"] if vectors else []
    return [*shlex.split(compiler()), *_FLAGS, *vectors, f"-I{_HEADER.parent}", *link]


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
        place = _built(source)
        if signature is not None:
            with contextlib.suppress(OSError):  # it is there, or this disk has no links
                os.link(place, _recalled(signature))
        return ctypes.CDLL(str(place))
    except OSError as error:
        raise CannotCompile(f"{cache_folder()}: {error}") from error


def recall(signature: str) -> ctypes.CDLL | None:
    """The program that was built under a signature by this version of gradexp, if any was."""
    try:
        return ctypes.CDLL(str(_recalled(signature)))
    except OSError:  # it is not there
        return None


def _recalled(signature: str) -> Path:
    return _place(signature + _own_source())


@cache
def _own_source() -> str:
    """A digest of gradexp itself: what it traces may have changed."""
    package = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _place(source: str) -> Path:
    parts = (source, _HEADER.read_text(), " ".join(_command()), _version(), torch.__version__)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    return cache_folder() / f"{key}.so"


def _built(source: str) -> Path:
    place = _place(source)
    if place.exists():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix="building-") as folder:
        code, result = Path(folder) / "step.cpp", Path(folder) / "step.so"
        code.write_text(source)
        command = _command()
        where = command.index(f"-I{_HEADER.parent}") + 1
        whole = [*command[:where], str(code), "-o", str(result), *command[where:]]
        told = subprocess.run(whole, capture_output=True, text=True)
        if told.returncode:
            raise CannotCompile(f"{compiler()} failed: {told.stderr.strip()[:2000]}")
        os.replace(result, place)  # another process may have been quicker: the same program
    return place
