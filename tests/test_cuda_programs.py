"""Programs for CUDA and blocks of its graphs, as far as they can be checked without a device."""

import ctypes
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from gradexp.clips import ByNorm, ByValue, Unclipped
from gradexp.engine import Record, Trace
from gradexp.engine.chunks import run_in_chunks
from gradexp.engine.codegen import NativeChunk, block_for, cuda
from gradexp.engine.codegen import block as native_block
from gradexp.engine.codegen.build import build
from gradexp.engine.codegen.nvrtc import CudaError, machine_code
from gradexp.engine.codegen.program import Text
from gradexp.engine.eager import EagerChunk
from gradexp.engine.graphed import block
from gradexp.engine.limits import Limits, Stop
from gradexp.engine.problem import PARTS, Problem
from gradexp.noises import Gaussian, Noiseless, StudentT
from gradexp.numbers import numbers
from gradexp.optimizers import ASGD, SGD, Adam, NAdam, Polyak, RAdam, Rprop
from gradexp.schedules import (
    Constant,
    Cosine,
    Exponential,
    InverseSquareRoot,
    OneCycle,
    Piecewise,
    Step,
    Together,
    WarmRestarts,
    WarmupCosine,
)
from gradexp.surfaces import Surface, get, names
from tests.conftest import COVERING, in_tiers, same

_AS_ON_A_DEVICE = """
#include <cmath>
#include <cstdint>
#include <cstring>
using std::abs, std::sqrt, std::sin, std::cos, std::tan, std::exp, std::exp2, std::expm1, std::log,
    std::log2, std::log10, std::log1p, std::pow, std::atan2, std::atan, std::asin, std::acos,
    std::sinh, std::cosh, std::tanh, std::asinh, std::acosh, std::atanh, std::erf, std::lgamma,
    std::fma, std::floor, std::ceil, std::trunc, std::nearbyint, std::hypot;
#define __global__
#define __noinline__ __attribute__((noinline))
struct Place { int64_t x; };
static thread_local Place blockIdx, blockDim, threadIdx;
"""
_ALL_THREADS = """
extern "C" void all(int64_t threads, void** p, int64_t* n) {
  blockDim.x = 32;
  for (int64_t t = 0; t < threads; ++t) {
    blockIdx.x = t / 32;
    threadIdx.x = t % 32;
    run((real*)p[0], (int32_t*)p[1], (int64_t*)p[2], (real*)p[3], (char*)p[4], (real*)p[5],
        (real*)p[6], (real*)p[7], n[0], n[1], n[2], n[3], n[4], n[5], n[6]);
  }
}
"""


class NoKernel:
    """One that is not started."""

    def launch(self, runs: int, pointers: Sequence[int | None], numbers: Sequence[int]) -> None:
        raise NotImplementedError


class HostKernel:
    """The source of a CUDA program, compiled as C++: one thread after the other."""

    def __init__(self, source: str) -> None:
        for name, text in cuda.HEADERS.items():
            source = source.replace(f'#include "{name}"\n', text)
        self._all = build(_AS_ON_A_DEVICE + source + _ALL_THREADS).all

    def launch(self, runs: int, pointers: Sequence[int | None], numbers: Sequence[int]) -> None:
        places = (ctypes.c_void_p * len(pointers))(*pointers)
        self._all(ctypes.c_int64(runs), places, (ctypes.c_int64 * len(numbers))(*numbers))


def problem(surface: Surface, record: str = "trace", noisy: bool = True) -> Problem:
    """Forty runs, with noise and a schedule, or without and some of them too fast."""
    start = torch.tensor(surface.start, dtype=torch.float64)[:, None].expand(-1, 40)
    noise = Gaussian(std=1e-9, seed=torch.arange(40)) if noisy else Noiseless()
    rates = torch.logspace(-8, -5 if noisy else 0, 40, dtype=torch.float64)
    return Problem(
        surface=surface,
        start=start.contiguous(),
        optimizer=SGD(lr=rates, momentum=0.9, dampening=0.1, weight_decay=1e-4),
        steps=100,
        schedule=Exponential(gamma=0.9999) if noisy else Constant(),
        noise=noise,
        clip=Unclipped(),
        record=Record(what=record, tolerances=(1.0, 1e-3)),  # type: ignore[arg-type]
        limits=Limits.of(surface, start, noise, Stop()),
    ).plain()


@pytest.fixture(autouse=True)
def no_program_of_another_test() -> Iterator[None]:
    yield
    native_block._block.cache_clear()


@pytest.fixture
def on_host(monkeypatch: pytest.MonkeyPatch) -> Callable[[Problem], Trace]:
    """Runs the program for CUDA of a problem on the host."""

    def built(text: Text, tuple_of_coordinates: bool, signature: str | None) -> cuda.CudaProgram:
        source, scratch = cuda.source_of(text)
        return cuda.CudaProgram(HostKernel(source), scratch, device="cpu")

    def run(given: Problem) -> Trace:
        block = block_for(given, torch.device("cuda", 0))
        here = replace(block, device=torch.device("cpu"))
        return run_in_chunks(given, partial(NativeChunk, here, {}), 64, "compiled")

    monkeypatch.setattr(cuda.CudaProgram, "recall", lambda signature: None)
    monkeypatch.setattr(cuda.CudaProgram, "build", built)
    return run


def on_cpu(given: Problem) -> Trace:
    return run_in_chunks(given, partial(NativeChunk, block_for(given), {}), 64, "compiled")


EVERY = [get(name) for name in names()]
LARGE = [get("rosenbrock", dim=30), get("ackley", dim=30), get("quadratic", dim=100)]
IN_TIERS = in_tiers([*EVERY, *LARGE], lambda surface: surface.label() in COVERING)


def functions(surface: Surface, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What the program of a surface calls."""
    texts: list[Text] = []

    def build(text: Text, *rest: Any) -> Any:
        texts.append(text)

    with monkeypatch.context() as patch:
        patch.setattr(cuda.CudaProgram, "recall", lambda signature: None)
        patch.setattr(cuda.CudaProgram, "build", build)
        block_for(problem(surface), torch.device("cuda", 0))
    native_block._block.cache_clear()
    (text,) = texts
    return set(re.findall(r"\b\w+(?=(?:<[\w<>]*>)?\()", " ".join(map(str, text.parts.values()))))


@pytest.mark.slow  # traces every surface
def test_the_covering_surfaces_have_every_function(monkeypatch: pytest.MonkeyPatch) -> None:
    called = {surface.label(): functions(surface, monkeypatch) for surface in EVERY}
    covered = set().union(*(called[name] for name in CALLING))
    assert set(CALLING) <= set(COVERING)
    assert covered == set().union(*called.values())
    assert {"exp", "expm1", "log1p", "sign", "sincos", "sqrt"} <= covered


@pytest.mark.parametrize("surface", IN_TIERS, ids=lambda surface: surface.label())
def test_programs_for_cuda_make_the_steps_of_those_for_the_cpu(
    surface: Surface, on_host: Callable[[Problem], Trace]
) -> None:
    given = problem(surface)
    expected, found = on_cpu(given), on_host(given)
    for part in ("loss", "gradient_norm", "point", "best_loss", "path_length"):
        one, other = getattr(expected, part), getattr(found, part)
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11, equal_nan=True)
    for part in ("steps", "end", "best_step", "gradient_steps", "gap_steps"):
        assert same(getattr(expected, part), getattr(found, part)), part


RATES = torch.logspace(-4, -2, 40, dtype=torch.float64)
SEEDS = torch.arange(40)
OTHERS: list[dict[str, Any]] = [
    {
        "optimizer": Adam(lr=RATES, amsgrad=True, weight_decay=0.01),
        "schedule": WarmupCosine(100.0),
        "noise": StudentT(0.1, seed=SEEDS),
        "clip": ByNorm(5.0),
    },
    {
        "optimizer": RAdam(lr=RATES),
        "schedule": Together(Cosine(50.0), Step(20.0, of="momentum")),
        "noise": Gaussian(0.1, 0.1, seed=SEEDS),
        "clip": ByValue(3.0),
    },
    {"optimizer": NAdam(lr=RATES), "schedule": OneCycle(100.0)},
    {"optimizer": Rprop(lr=RATES), "schedule": WarmRestarts(10.0, 2.0)},
    {"optimizer": ASGD(lr=RATES / 10), "schedule": InverseSquareRoot(10.0)},
    {"optimizer": Polyak(lr=RATES), "schedule": Piecewise((10.0,), (0.1, 1.0))},
]


@pytest.mark.parametrize("dim", in_tiers([2, 5, 30], [5, 30].__contains__))
@pytest.mark.parametrize("others", OTHERS, ids=lambda others: others["optimizer"].label())
def test_rules_schedules_noise_and_clips_are_on_cuda_what_they_are_on_the_cpu(
    others: dict[str, Any], dim: int, on_host: Callable[[Problem], Trace]
) -> None:
    given = replace(problem(get("rosenbrock", dim=dim), noisy=False), **others).plain()
    expected, found = on_cpu(given), on_host(given)
    assert bool((expected.displacement > 0).all())
    for part in ("loss", "gradient_norm", "point", "path_length"):
        one, other = getattr(expected, part), getattr(found, part)
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("dim", [2, 30])
def test_to_the_bit_where_arithmetic_is_exact(
    dim: int, dtype: torch.dtype, on_host: Callable[[Problem], Trace]
) -> None:
    for record in ("trace", "loss", "metrics"):  # one program
        given = problem(get("rosenbrock", dim=dim), record, noisy=False)
        given = replace(given, start=given.start.to(dtype))
        expected, found = on_cpu(given), on_host(given)
        assert len(torch.unique(expected.steps)) > 3  # some have ended early
        for field in fields(Trace):
            one, other = getattr(expected, field.name), getattr(found, field.name)
            assert same(one, other) if isinstance(one, Tensor) else one == other, field.name


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="without vector registers the CPU takes the library's sines",
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_sines_are_those_of_the_cpu_to_the_bit(
    dtype: torch.dtype, on_host: Callable[[Problem], Trace]
) -> None:
    given = problem(get("rastrigin"), noisy=False)
    slow = SGD(lr=torch.logspace(-8, -2, 40, dtype=torch.float64), momentum=0.9)
    given = replace(given, start=given.start.to(dtype), optimizer=slow).plain()
    expected, found = on_cpu(given), on_host(given)
    assert expected.point is not None
    assert len(torch.unique(expected.final_loss)) == 40
    assert expected.point.abs().max() < 100
    for field in fields(Trace):
        one, other = getattr(expected, field.name), getattr(found, field.name)
        assert same(one, other) if isinstance(one, Tensor) else one == other, field.name


CALLING = ("ackley", "cross_in_tray", "log_cosh")
"""Those of the covering surfaces that have every function between them."""


@pytest.mark.parametrize(
    "surface",
    in_tiers([*EVERY, *LARGE], lambda surface: surface.label() in CALLING),
    ids=lambda surface: surface.label(),
)
def test_nvrtc_compiles_them(surface: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    # It needs no device.
    pytest.importorskip("cuda.bindings.nvrtc", reason="NVIDIA's compiler is not installed")
    sources = []

    def built(text: Text, tuple_of_coordinates: bool, signature: str | None) -> cuda.CudaProgram:
        source, scratch = cuda.source_of(text)
        sources.append(source)
        return cuda.CudaProgram(NoKernel(), scratch)

    monkeypatch.setattr(cuda.CudaProgram, "recall", lambda signature: None)
    monkeypatch.setattr(cuda.CudaProgram, "build", built)
    given = problem(surface)
    single = replace(given, start=given.start.float())
    for one in (given, single) if surface.label() == "rastrigin" else (given,):
        block_for(one, torch.device("cuda", 0))
    assert sources
    for source in sources:
        code = machine_code(source, cuda.HEADERS, "sm_90")
        assert code[:4] == b"\x7fELF"


def test_what_nvrtc_does_not_compile_is_said() -> None:
    pytest.importorskip("cuda.bindings.nvrtc", reason="NVIDIA's compiler is not installed")
    with pytest.raises(CudaError, match=r"NVRTC failed: step.cu\(1\): error"):
        machine_code("nonsense", {}, "sm_90")


def test_a_block_of_a_cuda_graph_is_an_eager_block() -> None:
    given = problem(get("rosenbrock"), noisy=False).lanes(0, 40)
    chunk = EagerChunk(given, slice(0, 40))
    whole = torch.full((), 0)
    own = tree_map(torch.clone, chunk._runs)
    for _ in range(2):
        chunk.advance(int(whole), 32, None, slice(0, 40))
        block(given, own, whole, 32)
        assert int(chunk._runs.steps.max()) == int(whole)
        assert len(torch.unique(chunk._runs.steps)) > 3  # some have ended
        for one, other in zip(tree_leaves(chunk._runs), tree_leaves(own), strict=True):
            assert same(one, other)


@pytest.mark.parametrize(
    "surface",
    in_tiers([*EVERY, *LARGE], lambda surface: surface.label() in CALLING),
    ids=lambda surface: surface.label(),
)
def test_nothing_in_it_waits_for_the_device_or_copies_to_it(surface: Surface) -> None:
    given = problem(surface).lanes(0, 40)
    chunk = EagerChunk(given, slice(0, 40))
    leaves, spec = tree_flatten(chunk._runs)

    def advanced(step: Tensor, *leaves: Tensor) -> Tensor:
        return block(given, tree_unflatten([*leaves], spec), step, 2).loss

    # A number that is looked at would raise; one that is copied would be a constant of the graph.
    graph = make_fx(advanced)(torch.full((), 0), *(leaf.clone() for leaf in leaves)).graph
    own = {id(number) for part in PARTS for number in numbers(getattr(given, part)).values()}
    for node in graph.nodes:
        assert "nonzero" not in str(node.target)
        if node.op == "get_attr":
            constant = getattr(graph.owning_module, str(node.target))
            assert id(constant) in own, constant
