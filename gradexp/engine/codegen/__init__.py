"""Compiles optimization steps for the CPU's vector units and for CUDA."""

from gradexp.engine.codegen.block import Block, block_for
from gradexp.engine.codegen.build import CannotCompile
from gradexp.engine.codegen.chunk import NativeChunk
from gradexp.engine.codegen.values import Unsupported

__all__ = ["Block", "CannotCompile", "NativeChunk", "Unsupported", "block_for"]
