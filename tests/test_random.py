"""The counter-based random numbers against their published vectors, and their distribution."""

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from gradexp.numbers import normals, normals_of_step, philox, uniforms
from gradexp.numbers.philox import Stream

# Random123's file kat_vectors, philox4x32: counter, key, rounds and their results.
KNOWN_ANSWERS = [
    (
        "00000000 00000000 00000000 00000000",
        "00000000 00000000",
        {
            7: "5f6fb709 0d893f64 4f121f81 4f730a48",
            10: "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
        },
    ),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        {
            7: "5207ddc2 45165e59 4d8ee751 8c52f662",
            10: "408f276d 41c83b0e a20bc7c6 6d5451fd",
        },
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        {
            7: "4dfccaba 190a87f0 c47362ba b6b5242a",
            10: "d16cfe09 94fdcceb 5001e420 24126ea1",
        },
    ),
]


def words(text: str) -> tuple[Tensor, ...]:
    return tuple(torch.tensor([int(word, 16)]) for word in text.split())


@pytest.mark.parametrize(("counter", "key", "results"), KNOWN_ANSWERS)
def test_philox_gives_the_published_words(counter: str, key: str, results: dict[int, str]) -> None:
    for rounds, result in results.items():
        found = philox(words(counter), words(key), rounds)  # type: ignore[arg-type]
        assert " ".join(f"{int(word):08x}" for word in found) == result


@pytest.mark.parametrize("draw", [uniforms, normals])
def test_draws_do_not_depend_on_who_else_draws(draw: object) -> None:
    assert callable(draw)
    seeds = torch.arange(1000, dtype=torch.int64) * 7919
    padded = draw(seeds[:992], Stream.START, 5)
    order = torch.randperm(992, generator=torch.Generator().manual_seed(0))
    assert torch.equal(draw(seeds[order], Stream.START, 5), padded[:, order])
    assert torch.equal(draw(seeds[:32], Stream.START, 5), padded[:, :32])
    assert torch.equal(draw(seeds[:32], Stream.START, 3), padded[:3, :32])


def test_seeds_steps_streams_and_coordinates_have_numbers_of_their_own() -> None:
    seeds = torch.tensor([0, 1, 2**32, 2**63 - 1])
    drawn = [uniforms(seeds, stream, 4) for stream in (Stream.START, Stream.NOISE)]
    drawn += [
        normals_of_step(seeds, stream, 4, step, torch.float64)
        for stream in (Stream.START, Stream.NOISE)
        for step in (0, 1, 2, 3, 2**31, 2**32 - 1)
    ]
    values = torch.stack(drawn).flatten().tolist()
    assert len(set(values)) == len(values)


def test_distributions() -> None:
    seeds = torch.arange(20000)
    uniform = uniforms(seeds, Stream.START, 3)
    assert bool(((uniform >= 0) & (uniform < 1)).all())
    for row in uniform:
        assert stats.kstest(row.numpy(), "uniform").pvalue > 1e-3
    normal = [normals(seeds, Stream.NOISE, 3)]
    for step, dtype in ((6, torch.float64), (7, torch.float64), (8, torch.float32)):
        normal.append(normals_of_step(seeds, Stream.NOISE, 3, step, dtype).double())
    for row in torch.cat(normal):
        assert stats.kstest(row.numpy(), "norm").pvalue > 1e-3
    correlation = torch.corrcoef(torch.cat([uniform, *normal])).fill_diagonal_(0)
    assert float(correlation.abs().max()) < 5 / math.sqrt(len(seeds))
