"""Lower bounds for the engine's benchmark: the time to write what is recorded, and to do the
arithmetic."""

from __future__ import annotations

import ctypes
import statistics
import time
from typing import Any

import torch
from torch.fx import Node
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from benchmarks.work import Work
from gradexp.engine.codegen.build import build
from gradexp.engine.codegen.nvrtc import DriverKernel, architecture, machine_code
from gradexp.engine.codegen.program import trace
from gradexp.surfaces import value_and_gradient

aten = torch.ops.aten

SINE_AND_COSINE = {"float32": 14, "float64": 20}
"""multiply-adds for sine and cosine of one angle: the reduction of the angle, and a polynomial for
each"""


def copy_rate(device: str) -> float:
    """Returns how many bytes per nanosecond a large copy writes."""
    source = torch.ones(2**26, device=device)
    target = source.clone()

    def once() -> float:
        begun = time.perf_counter()
        target.copy_(source)
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begun

    return source.nbytes / statistics.median(once() for _ in range(9)) / 1e9


_MULTIPLY_ADD = """
using real = {real};
constexpr int GROUPS = 1;
#include "lanes.hpp"
static real chains(int64_t count) {{
  real x[16 * LANES];
  for (auto& one : x) one = real(0.5);
  for (int64_t i = 0; i < count; ++i)
    for (auto& one : x) one = std::fma(one, real(0.999), real(0.001));
  real sum = 0;
  for (auto one : x) sum += one;
  return sum;
}}
extern "C" double run(int64_t count, int64_t threads) {{
  double sum = 0;
#pragma omp parallel num_threads(int(threads)) reduction(+ : sum)
  sum += chains(count);
  return sum + LANES * 0.0;
}}
extern "C" int64_t numbers() {{ return 16 * LANES; }}
"""


_MULTIPLY_ADD_CUDA = """
extern "C" __global__ void run({real}* sums, long long count) {{
  const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  {real} x[16];
  for (auto& one : x) one = {real}(at);
  for (long long i = 0; i < count; ++i)
#pragma unroll
    for (auto& one : x) one = fma(one, {real}(0.999), {real}(0.001));
  for (int i = 1; i < 16; ++i) x[0] += x[i];
  sums[at] = x[0];
}}
"""


def multiply_add_rate_of_cuda(dtype: str) -> float:
    """Returns the same for a CUDA device, with enough threads to hide the latency of each."""
    source = _MULTIPLY_ADD_CUDA.format(real={"float32": "float", "float64": "double"}[dtype])
    kernel = DriverKernel(machine_code(source, {}, architecture()))
    threads, count = 2**20, 10**4
    sums = torch.empty(threads, dtype=getattr(torch, dtype), device="cuda")

    def once() -> float:
        begun = time.perf_counter()
        kernel.launch(threads, [sums.data_ptr()], [count])
        torch.cuda.synchronize()
        return time.perf_counter() - begun

    once()
    return 16.0 * threads * count / min(once() for _ in range(5)) / 1e9


def multiply_add_rate(dtype: str) -> float:
    """Returns the fused multiply-adds per nanosecond, on all threads, of chains that fill the
    registers."""
    library = build(_MULTIPLY_ADD.format(real={"float32": "float", "float64": "double"}[dtype]))
    library.run.restype, library.run.argtypes = ctypes.c_double, [ctypes.c_int64] * 2
    count, threads = 10**7, torch.get_num_threads()

    def once() -> float:
        begun = time.perf_counter()
        library.run(count, threads)
        return time.perf_counter() - begun

    once()
    best = min(once() for _ in range(5))
    return float(library.numbers()) * count * threads / best / 1e9


def arithmetic(work: Work) -> float:
    """Returns the multiply-adds in a step of one run: loss, gradient and update.

    A division or a root counts as one. It takes longer, but the result is still a lower bound.
    """
    surface, rule = work.torch_surface, work.rule(1e-3)
    start = torch.ones(work.dim, 131, dtype=torch.float64)
    arrays, form = tree_flatten((start, rule.init(start)))

    def step(*arrays: torch.Tensor) -> Any:
        points, state = tree_unflatten([tuple(array.unbind(0)) for array in arrays], form)
        loss, gradient = value_and_gradient(surface, points)
        return loss, *tree_leaves(rule.update(points, gradient, state, 1))

    counted, moving, sums = 0.0, set(), set()
    for node in trace(step, arrays).graph.nodes:
        if node.op == "placeholder":
            moving.add(node)
        elif node.op == "call_function" and not moving.isdisjoint(node.all_input_nodes):
            moving.add(node)
            cost, into = _multiply_adds(node, work.dtype), _sum_of(node)
            if cost and into is not None and into not in sums:
                sums.add(into)
            else:
                counted += cost
    return counted


def _multiply_adds(node: Node, dtype: str) -> float:
    """Returns the multiply-adds of a node: none for a change of sign, for an operation that leaves
    its operand unchanged, and for one that is not pointwise."""
    operation = _packet(node)
    if torch.Tag.pointwise not in getattr(node.target, "tags", ()) or operation == aten.neg:
        return 0.0
    if operation in (aten.sin, aten.cos):  # gradients need both of the same angle
        return SINE_AND_COSINE[dtype] / 2
    unchanged = operation == aten.pow and node.args[1] == 1
    unchanged = unchanged or (operation == aten.mul and any(map(_is_one, node.args)))
    return 0.0 if unchanged else 1.0


def _sum_of(node: Node) -> Node | None:
    """Returns the sum that is the only user of a product; None if there is none.

    One multiply-add does both, for one product of each sum.
    """
    users = list(node.users)
    summed = len(users) == 1 and _packet(users[0]) in (aten.add, aten.sub)
    return users[0] if summed and _packet(node) == aten.mul else None


def _packet(node: Node) -> Any:
    """Returns the operation of a node, whatever the types of its arguments."""
    return getattr(node.target, "overloadpacket", None)


def _is_one(operand: Any) -> bool:
    """Returns whether an operand is the number one in every element."""
    while isinstance(operand, Node) and operand.target == aten.expand.default:
        operand = operand.args[0]
    if isinstance(operand, Node) and operand.target == aten.full.default:
        operand = operand.args[1]
    return not isinstance(operand, Node) and operand == 1


def floor(work: Work, copied: float, multiplied: dict[str, float]) -> float:
    """Returns the lower bound, in nanoseconds per run and step.

    Args:
        work: the case.
        copied: bytes per nanosecond, from `copy_rate`.
        multiplied: multiply-adds per nanosecond, by dtype.
    """
    written = work.size / copied if work.record == "loss" else 0.0
    return max(written, arithmetic(work) / multiplied[work.dtype])
