"""Random numbers from a counter: any of them can be had without the ones before it.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011)
maps a 64-bit key and a 128-bit counter to 128 random bits. Here the key is a run's seed, and the
counter is made of the step, the block of coordinates and the stream, so that a run draws the same
numbers whoever shares its batch, and no two uses of a seed overlap.
"""

from __future__ import annotations

import math
from enum import IntEnum

import torch
from torch import Tensor

from gradexp.numbers.coordinates import like
from gradexp.numbers.fields import Number

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10

Words = tuple[Tensor, Tensor, Tensor, Tensor]


class Stream(IntEnum):
    """What random numbers are for; each use of a seed has a stream of its own."""

    START = 0
    NOISE = 1


def philox(counter: Words, key: tuple[Tensor, Tensor]) -> Words:
    """Four random 32-bit words (in int64 tensors) from four counter words and two key words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
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


def uniforms(
    seed: Tensor,
    stream: Stream,
    dim: int,
    step: Tensor | int = 0,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Uniform random numbers in [0, 1), multiples of 2^-53; in float32 the same cut to multiples
    of 2^-24.

    Args:
        seed: int64, of shape ``(B,)``.
        stream: what they are for.
        dim: how many for each run.
        step: the step they are for, 0 to 2^32 - 1.
        dtype: of the numbers.

    Returns:
        of shape ``(dim, B)``.
    """
    pairs = _pairs(seed, stream, (dim + 1) // 2, step, dtype)
    return torch.stack(pairs, dim=1).flatten(0, 1)[:dim]


def _pairs(
    seed: Tensor,
    stream: Stream,
    blocks: int,
    step: Tensor | int,
    dtype: torch.dtype,
    turn: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Two uniform random numbers a block, in [0, 1) and in [0, turn), each ``(blocks, B)``; see
    `uniforms`."""
    step = like(step, (seed,))
    block = torch.arange(blocks, device=seed.device).reshape(-1, *[1] * seed.dim())
    use, rest = torch.full_like(step, int(stream)), torch.zeros_like(step)
    words = philox((step, block, use, rest), (seed & _MASK, (seed >> 32) & _MASK))

    def uniform(high: Tensor, low: Tensor, end: float) -> Tensor:
        if dtype == torch.float32:
            return (high >> 8).to(dtype) * (end * 2.0**-24)
        return ((high >> 5) * 2**26 + (low >> 6)).to(dtype) * (end * 2.0**-53)

    return uniform(*words[:2], 1.0), uniform(*words[2:], turn)


def normals(
    seed: Tensor,
    stream: Stream,
    dim: int,
    step: Tensor | int = 0,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Standard normal random numbers, from pairs of `uniforms` (Box and Muller, 1958).

    Args and returns as `uniforms`; the batch should be padded, for `log` and `cos` have a vector
    and a scalar form.
    """
    first, angle = _pairs(seed, stream, (dim + 1) // 2, step, dtype, 2.0 * math.pi)
    radius = (-2.0 * (1.0 - first).log()).sqrt()
    pairs = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    return pairs.flatten(0, 1)[:dim]


def students(
    degrees_of_freedom: Number,
    seed: Tensor,
    stream: Stream,
    dim: int,
    step: Tensor | int = 0,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Random numbers of Student's distribution with ν degrees of freedom, from pairs of uniform
    ones: √(ν (u^(-2/ν) - 1)) cos 2πv (Bailey, "Polar generation of random variates with the
    t-distribution", 1994).

    Args:
        degrees_of_freedom: ν, positive.
        seed, stream, dim, step, dtype: as for `normals`.
    """
    first, angle = _pairs(seed, stream, dim, step, dtype, 2.0 * math.pi)
    log = (1.0 - first).log()
    square = degrees_of_freedom * (-2.0 / degrees_of_freedom * log).expm1()
    return square.sqrt() * angle.cos()
