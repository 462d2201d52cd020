"""Steps compiled for the CPU's vector units, and for CUDA."""

from gradexp.engine.native.block import Block, block_for
from gradexp.engine.native.build import CannotCompile
from gradexp.engine.native.chunk import NativeChunk
from gradexp.engine.native.values import Unsupported

__all__ = ["Block", "CannotCompile", "NativeChunk", "Unsupported", "block_for"]
