"""What lets g++ compile the tests' programs in half the time: the standard headers, precompiled.

The machine code is the same: g++ reads the header itself where it cannot use what was made of it.
Everything lies outside the checkout, for the next run of the tests.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gradexp-tests"
_HEADER = CACHE / "headers" / "standard.hpp"
_TEXT = """\
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <type_traits>
#if defined(__AVX2__)
#include <immintrin.h>
#endif
"""


def compiler() -> str | None:
    """What ``$CXX`` should be, or None to leave it: with another compiler, or a person's choice."""
    if "CXX" in os.environ or sys.platform != "linux" or shutil.which("g++") is None:
        return None
    _HEADER.parent.mkdir(parents=True, exist_ok=True)
    if not _HEADER.exists() or _HEADER.read_text() != _TEXT:
        _replace(_HEADER, _TEXT.encode())
    return f"g++ -include {_HEADER}"


def precompile(command: list[str]) -> None:
    """Precompiles the header for a compiler's command, if that was not done before.

    Args:
        command: as programs are compiled with, without their source and output.
    """
    if "-include" not in command:
        return
    place = command.index("-include")
    flags = [
        flag
        for flag in (*command[:place], *command[place + 2 :])
        if flag != "-shared" and not flag.startswith(("-L", "-l", "-I"))
    ]
    version = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True)
    made_from = "\n".join([*flags, version.stdout, _TEXT])
    stamp = _HEADER.with_suffix(".made_from")
    made = _HEADER.with_suffix(".hpp.gch")
    if made.exists() and stamp.exists() and stamp.read_text() == made_from:
        return
    with tempfile.TemporaryDirectory(dir=_HEADER.parent) as folder:
        result = Path(folder) / "gch"
        arguments = [*flags, "-x", "c++-header", str(_HEADER), "-o", str(result)]
        subprocess.run(arguments, check=True)
        os.replace(result, made)
    _replace(stamp, made_from.encode())


def _replace(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all: several runs of the tests may do it at once."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    os.replace(file.name, path)
