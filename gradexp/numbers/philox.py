"""Random numbers from a counter: any of them can be had without the ones before it.

Philox4x32 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011) maps
a 64-bit key and a 128-bit counter to 128 random bits. Here the key is a run's seed, and the counter
is made of the step, the block of coordinates and the stream, so that a run draws the same numbers
whoever shares its batch, and no two uses of a seed overlap. Seven rounds are the fewest that passed
all the tests of randomness of its authors, ten what they advise for a margin: what is made once a
run takes ten, what is made every step seven.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import IntEnum

import torch
from torch import Tensor

from gradexp.numbers.coordinates import like
from gradexp.numbers.fields import Number

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS_OF_RUN, _ROUNDS_OF_STEP = 10, 7

Uint32x4 = tuple[Tensor, Tensor, Tensor, Tensor]


class Stream(IntEnum):
    """What random numbers are for; each use of a seed has a stream of its own."""

    START = 0
    NOISE = 1


def philox(counter: Uint32x4, key: tuple[Tensor, Tensor], rounds: int) -> Uint32x4:
    """Four random 32-bit words (in int64 tensors) from four counter words and two key words, by so
    many rounds."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(rounds):
        # An int64 product wraps modulo 2^64, so its bits are those of the unsigned product.
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((second >> 32) & _MASK) ^ c1 ^ k0,
            second & _MASK,
            ((first >> 32) & _MASK) ^ c3 ^ k1,
            first & _MASK,
        )
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def uniforms(seed: Tensor, stream: Stream, dim: int) -> Tensor:
    """Uniform random numbers in [0, 1), multiples of 2^-53.

    Args:
        seed: int64, of shape ``(B,)``.
        stream: what they are for.
        dim: how many for each run.

    Returns:
        float64, of shape ``(dim, B)``.
    """
    words = _words(seed, stream, (dim + 1) // 2, 0, _ROUNDS_OF_RUN)
    draws = [
        ((high >> 5) * 2**26 + (low >> 6)).double() * 2.0**-53
        for high, low in (words[:2], words[2:])
    ]
    return torch.stack(draws, dim=1).flatten(0, 1)[:dim]


def normals(seed: Tensor, stream: Stream, dim: int) -> Tensor:
    """Standard normal random numbers, from pairs of `uniforms` (Box and Muller, 1958).

    Args and returns as `uniforms`; the batch should be padded, for `log` and `cos` have a vector
    and a scalar form.
    """
    draws = uniforms(seed, stream, 2 * ((dim + 1) // 2))
    return _normals(draws[0::2], 2.0 * math.pi * draws[1::2], dim)


def normals_of_step(
    seed: Tensor, stream: Stream, dim: int, step: Tensor | int, dtype: torch.dtype
) -> Tensor:
    """Standard normal random numbers for a step, from pairs of uniform ones of 32 bits, or 24 in
    float32: none is larger than 6.7 in size.

    Args:
        seed, stream, dim: as for `normals`.
        step: which, 0 to 2^32 - 1.
        dtype: of the numbers.

    Returns:
        of shape ``(dim, B)``.
    """
    return _of_step(lambda u, v: _normals(u, v, dim), seed, stream, (dim + 1) // 2, step, dtype)


def students_of_step(
    degrees_of_freedom: Number,
    seed: Tensor,
    stream: Stream,
    dim: int,
    step: Tensor | int,
    dtype: torch.dtype,
) -> Tensor:
    """Random numbers of Student's distribution with ν degrees of freedom, from pairs of uniform
    ones: √(ν (u^(-2/ν) - 1)) cos 2πv (Bailey, "Polar generation of random variates with the
    t-distribution", 1994).

    Args:
        degrees_of_freedom: ν, positive.
        seed, stream, dim, step, dtype: as for `normals_of_step`.
    """

    def student(first: Tensor, angle: Tensor) -> Tensor:
        log = (1.0 - first).log()
        square = degrees_of_freedom * (-2.0 / degrees_of_freedom * log).expm1()
        return square.sqrt() * angle.cos()

    return _of_step(student, seed, stream, dim, step, dtype)


def _normals(first: Tensor, angle: Tensor, dim: int) -> Tensor:
    """From uniform numbers in [0, 1), and in [0, 2π), each ``(blocks, B)``."""
    radius = (-2.0 * (1.0 - first).log()).sqrt()
    pairs = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    return pairs.flatten(0, 1)[:dim]


def _words(seed: Tensor, stream: Stream, blocks: int, count: Tensor | int, rounds: int) -> Uint32x4:
    """Four words a block, each ``(blocks, B)``, for the first word of the counter."""
    count = like(count, (seed,))
    block = torch.arange(blocks, device=seed.device).reshape(-1, *[1] * seed.dim())
    use, rest = torch.full_like(count, int(stream)), torch.zeros_like(count)
    return philox((count, block, use, rest), (seed & _MASK, (seed >> 32) & _MASK), rounds)


def _of_step(
    made: Callable[[Tensor, Tensor], Tensor],
    seed: Tensor,
    stream: Stream,
    blocks: int,
    step: Tensor | int,
    dtype: torch.dtype,
) -> Tensor:
    """What is made of two uniform random numbers a block, in [0, 1) and in [0, 2π), each
    ``(blocks, B)``.

    A step takes two of the four words that are made for it and the one beside it. A compiled
    program makes them, and what is made of them, every second step: in two halves that it need not
    wait for one after the other.
    """
    count = step if isinstance(step, int) else like(step, (seed,))
    words = _words(seed, stream, blocks, count >> 1, _ROUNDS_OF_STEP)

    def uniform(word: Tensor, end: float) -> Tensor:
        if dtype == torch.float32:
            return (word >> 8).to(dtype) * (end * 2.0**-24)
        return word.to(dtype) * (end * 2.0**-32)

    def half(odd: int) -> Tensor:
        first, second = words[2 * odd : 2 * odd + 2]
        return made(uniform(first, 1.0), uniform(second, 2.0 * math.pi))

    if isinstance(count, int):
        return half(count & 1)
    return torch.where((count & 1) == 0, half(0), half(1))
