"""Counter-based random numbers, each of which can be computed without those before it.

Philox4x32 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011) maps
a 64-bit key and a 128-bit counter to 128 random bits. Here the key is a run's seed, and the counter
consists of the step, the block of coordinates and the stream. A run therefore draws the same
numbers whatever the other runs in its batch are, and no two uses of a seed overlap.

Seven rounds are the fewest that passed all of the authors' tests of randomness, and ten are what
they recommend for a safety margin. Numbers that are made once per run take ten rounds, those that
are made at every step seven.
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
    """The purpose of random numbers; each use of a seed has a stream of its own."""

    START = 0
    NOISE = 1


def philox(counter: Uint32x4, key: tuple[Tensor, Tensor], rounds: int) -> Uint32x4:
    """Computes random words by Philox4x32.

    All words have 32 bits and are held in int64 tensors.

    Args:
        counter: the four words of the counter.
        key: the two words of the key.
        rounds: the number of rounds.

    Returns:
        Four random words.
    """
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
    """Returns uniform random numbers in [0, 1), which are multiples of 2^-53.

    Args:
        seed: the seeds of the runs, int64, ``(B,)``.
        stream: what the numbers are for.
        dim: how many numbers each run needs.

    Returns:
        The numbers, float64, ``(dim, B)``.
    """
    words = _words(seed, stream, (dim + 1) // 2, 0, _ROUNDS_OF_RUN)
    draws = [
        ((high >> 5) * 2**26 + (low >> 6)).double() * 2.0**-53
        for high, low in (words[:2], words[2:])
    ]
    return torch.stack(draws, dim=1).flatten(0, 1)[:dim]


def normals(seed: Tensor, stream: Stream, dim: int) -> Tensor:
    """Returns standard normal random numbers, made of pairs of `uniforms` (Box and Muller, 1958).

    Arguments and shapes are those of `uniforms`. The batch should be padded (see `LANES`), because
    the vector and scalar implementations of `log` and `cos` differ in the last bit.
    """
    draws = uniforms(seed, stream, 2 * ((dim + 1) // 2))
    return _normals(draws[0::2], 2.0 * math.pi * draws[1::2], dim)


def normals_of_step(
    seed: Tensor, stream: Stream, dim: int, step: Tensor | int, dtype: torch.dtype
) -> Tensor:
    """Returns standard normal random numbers for one step.

    They are made of pairs of uniform numbers of 32 bits, or of 24 bits in float32, so that their
    absolute values are at most 6.7.

    Args:
        seed, stream, dim: as for `normals`.
        step: the step, from 0 to 2^32 - 1.
        dtype: the dtype of the numbers.

    Returns:
        The numbers, ``(dim, B)``.
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
    """Returns random numbers for one step of Student's t-distribution with ν degrees of freedom.

    They are made of pairs of uniform numbers u and v as √(ν (u^(-2/ν) - 1)) cos 2πv (Bailey, "Polar
    generation of random variates with the t-distribution", 1994).

    Args:
        degrees_of_freedom: ν, positive.
        seed, stream, dim, step, dtype: as for `normals_of_step`.

    Returns:
        The numbers, ``(dim, B)``.
    """

    def student(first: Tensor, angle: Tensor) -> Tensor:
        log = (1.0 - first).log()
        square = degrees_of_freedom * (-2.0 / degrees_of_freedom * log).expm1()
        return square.sqrt() * angle.cos()

    return _of_step(student, seed, stream, dim, step, dtype)


def _normals(first: Tensor, angle: Tensor, dim: int) -> Tensor:
    """Makes `dim` normal numbers of uniform ones in [0, 1) and in [0, 2π), ``(blocks, B)`` each."""
    radius = (-2.0 * (1.0 - first).log()).sqrt()
    pairs = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    return pairs.flatten(0, 1)[:dim]


def _words(seed: Tensor, stream: Stream, blocks: int, count: Tensor | int, rounds: int) -> Uint32x4:
    """Returns four random words for each block, ``(blocks, B)`` each.

    Args:
        seed: the seeds of the runs, ``(B,)``.
        stream: what the numbers are for.
        blocks: the number of blocks of coordinates.
        count: the first word of the counter.
        rounds: the number of rounds.
    """
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
    """Returns `made` of two uniform random numbers for each block, in [0, 1) and in [0, 2π).

    The steps 2k and 2k + 1 share the four words of the counter k, of which each uses two. A
    compiled program therefore computes the words and both results at every second step, and neither
    result has to wait for the other.
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
