"""What theory says of a run near a stationary point, where the surface is its quadratic.

Along an eigenvector of the Hessian with eigenvalue λ a linear rule maps (x, state) to M(λ) (x,
state). For heavy ball in torch's convention, v ← βv + λx, x ← x - αv, with state v::

    M(λ) = [[1 - αλ, -αβ], [λ, β]]

The largest spectral radius over all λ is the rate: the factor that the distance shrinks by in a
step. M comes from the rule's own `update`, so that it holds for every rule with
`gradexp.optimizers.Optimizer.linear`.

Sources: Polyak, "Some methods of speeding up the convergence of iteration methods" (1964); Lessard,
Recht, Packard, "Analysis and design of optimization algorithms via integral quadratic constraints"
(2016), for Nesterov's; O'Neill and Wright, "Behavior of accelerated gradient methods near critical
points of nonconvex functions" (2019), for the escape from saddles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from scipy.special import chdtri
from torch import Tensor

from gradexp.numbers import columns, norm, substitute
from gradexp.optimizers import Optimizer
from gradexp.surfaces import StationaryPoint, Surface, hessian

UNCURVED = 1e-10
"""Eigenvalues smaller than this times the largest in size are zero: along a curve of minimizers
nothing moves."""

MOST_DIMENSIONS = 64
"""Dimensions up to which escapes are predicted: the Hessian of more takes longer than the run."""

ESCAPE = 0.05
"""A saddle is left where the distance from it is this times the shortest side of the domain."""


def iteration_matrix(optimizer: Optimizer, eigenvalues: Tensor) -> Tensor:
    """M(λ) of a linear rule with the numbers of one run, after its first step.

    Args:
        optimizer: linear.
        eigenvalues: ``(N,)``, of the Hessian.

    Returns:
        ``(N, K, K)``: rows and columns are the point, then the parts of the state.
    """
    size = 1 + len(optimizer.init(torch.zeros(1, 1, dtype=torch.float64)))
    basis = torch.eye(size, dtype=torch.float64)[:, None, :].expand(size, len(eigenvalues), size)
    state = type(optimizer.init(basis[:1]))(*(part[None] for part in basis[1:]))
    point, gradient = basis[:1], basis[:1] * eigenvalues.double()[:, None]
    moved, state = optimizer.update(point, gradient, state, step=1)
    return torch.cat([moved, *state]).movedim(0, 1)


def draws_to_the_origin(optimizer: Optimizer) -> bool:
    """Whether a linear rule moves a point without a gradient, as weight decay does: then it rests
    elsewhere than at the surface's stationary points.

    Args:
        optimizer: linear, of one run.
    """
    flat = iteration_matrix(optimizer, torch.zeros(1, dtype=torch.float64))[0, :, 0]
    return bool(flat[0] != 1) or bool(flat[1:].any())


def rate(optimizer: Optimizer, eigenvalues: Sequence[float]) -> float | None:
    """The factor by which the distance to a minimum shrinks in a step, in the long run.

    Args:
        optimizer: of one run.
        eigenvalues: of the Hessian there, ascending.

    Returns:
        The largest spectral radius of M(λ) over all λ that are not zero; above 1 where the minimum
        repels. None where the rule is not linear, or nothing is curved.
    """
    largest = max(map(abs, eigenvalues), default=0.0)
    curved = [value for value in eigenvalues if abs(value) > UNCURVED * largest]
    if not optimizer.linear or not curved:
        return None
    matrices = iteration_matrix(optimizer, torch.tensor(curved, dtype=torch.float64))
    return float(torch.linalg.eigvals(matrices).abs().max())


def stability_edge(optimizer: Optimizer, sharpness: float) -> float | None:
    """The learning rate above which a minimum repels, with all else as it is.

    An eigenvalue of M leaves the unit circle through -1. Where M, and det(I + M), are linear in the
    learning rate α, the edge is where that determinant is 0. For heavy ball it is 2(1 + β)/λ, for
    Nesterov's momentum 2(1 + β)/(λ(1 + 2β)).

    Args:
        optimizer: of one run.
        sharpness: λ, the largest eigenvalue of the Hessian.

    Returns:
        None where the rule, or M in α, is not linear, or nothing is curved.
    """
    if not optimizer.linear or not sharpness > 0:
        return None
    curvature, lr = torch.tensor([sharpness], dtype=torch.float64), 1 / sharpness
    near, far, farther = (
        float(torch.linalg.det(torch.eye(len(matrix), dtype=torch.float64) + matrix))
        for matrix in (
            iteration_matrix(substitute(optimizer, lr=times * lr), curvature)[0]
            for times in (1.0, 2.0, 3.0)
        )
    )
    straight = math.isclose(near + farther, 2 * far, rel_tol=1e-9, abs_tol=1e-9 * abs(near))
    return lr * (2 * near - far) / (near - far) if near > far and straight else None


def saddle_left(surface: Surface, start: Tensor) -> StationaryPoint | None:
    """The declared saddle or maximum that a run starts at so near that it must be left: the
    nearest.

    Args:
        surface: of the run.
        start: ``(dim,)``.
    """
    near = [
        (float(norm(start - columns(stationary.point))), index, stationary)
        for index, stationary in enumerate(surface.stationary_points)
        if stationary.kind != "minimum"
    ]
    distance, _, nearest = min(near, default=(math.inf, 0, None))
    return nearest if distance < escape_radius(surface) else None


def escape_radius(surface: Surface) -> float:
    """How far from a saddle it is left."""
    return ESCAPE * min(high - low for low, high in surface.domain)


def escape_steps(
    optimizer: Optimizer, surface: Surface, saddle: StationaryPoint, start: Tensor
) -> float | None:
    """The steps from a start near a saddle to `escape_radius`, r.

    Along the eigenvector of an eigenvalue λ < 0 the distance grows as c ε σᵗ from the start's
    offset ε along it, σ > 1 the largest eigenvalue of M(λ): where there is one way down, r is
    reached after log(r/(c ε))/log σ steps; where there are several, when their squares add up to
    r². c, which is 1 for gradient descent, is what of ε goes into σ's eigenvector.

    Args:
        optimizer: of one run.
        surface: of it.
        saddle: declared.
        start: ``(dim,)``.

    Returns:
        None where the rule is not linear, or `draws_to_the_origin`, there is no way down, the start
        has no part of one, or there are more than `MOST_DIMENSIONS` dimensions.
    """
    if not optimizer.linear or surface.dim > MOST_DIMENSIONS or draws_to_the_origin(optimizer):
        return None
    place = columns(saddle.point)
    curvatures, directions = torch.linalg.eigh(hessian(surface, place))
    offsets = (directions.T @ (start.double() - place)).abs()
    growths, modes = torch.linalg.eig(iteration_matrix(optimizer, curvatures))
    at, which = growths.abs().argmax(dim=1), torch.arange(len(curvatures))
    growth = growths.abs()[which, at]
    shares = (modes[which, 0, at] * torch.linalg.pinv(modes)[which, at, 0]).abs()
    down = (curvatures < 0) & (growth > 1) & (shares * offsets > 0)
    if not bool(down.any()):
        return None
    # In units of r, by logarithms: the least t at which the squares add up to 1.
    begun = (shares * offsets)[down].log() - math.log(escape_radius(surface))
    speed = growth[down].log()
    low, high = 0.0, float((-begun / speed).min())  # one alone has come to r there
    if high <= 0 or float(torch.logsumexp(2 * begun, 0)) >= 0:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        outside = float(torch.logsumexp(2 * (begun + speed * middle), 0)) >= 0
        low, high = (low, middle) if outside else (middle, high)
    return high


def stationary_variance(
    optimizer: Optimizer, eigenvalues: Sequence[float], std: float
) -> Tensor | None:
    """How far noise keeps a run from a minimum: the variance of the point along each eigenvector.

    The state, (x, velocity), follows z ← M(λ) z + s ξ b, where b is what a gradient of 1 adds to
    it and ξ is standard normal, so that its covariance P solves the discrete Lyapunov equation
    P = M P Mᵀ + s² b bᵀ. For heavy ball that is α s² (1 + β) / (λ (1 - β) (2 (1 + β) - αλ)).

    Args:
        optimizer: of one run.
        eigenvalues: of the Hessian at the minimum, all positive.
        std: s, the standard deviation of the noise in every coordinate.

    Returns:
        ``(N,)``; None where the rule is not linear, or `draws_to_the_origin`, or the minimum
        repels.
    """
    growth = rate(optimizer, eigenvalues)
    if growth is None or growth >= 1 or draws_to_the_origin(optimizer):
        return None
    matrices = iteration_matrix(optimizer, torch.tensor(eigenvalues, dtype=torch.float64))
    size = matrices.shape[-1]
    zero, one = torch.zeros(size, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    state = type(optimizer.init(zero[:1]))(*(part[None] for part in zero[1:]))
    moved, state = optimizer.update(zero[:1], one, state, step=1)
    added = torch.cat([moved, *state])
    source = std**2 * (added @ added.T).reshape(-1)
    products = torch.einsum("nij,nkl->nikjl", matrices, matrices).reshape(-1, size**2, size**2)
    covariance: Tensor = torch.linalg.solve(
        torch.eye(size**2, dtype=torch.float64) - products, source
    )
    return covariance[:, 0]


def noise_floor(optimizer: Optimizer, eigenvalues: Sequence[float], std: float) -> float | None:
    """The median gap of the loss of a run at its noise floor, where the surface is its quadratic.

    The gap is Σ ½ λ x² with x normal (`stationary_variance`): a sum of χ² of one degree of freedom,
    with weights. Its median is that of a gamma distribution with the same mean, variance and
    skewness, which is exact where the weights are the same, and off by some per cent at most.

    Args:
        optimizer: of one run.
        eigenvalues: of the Hessian at the minimum; those that are all but zero do not count.
        std: the standard deviation of the noise in every coordinate.

    Returns:
        None where the rule is not linear, or `draws_to_the_origin`, or the minimum repels, or is
        none.

    Source: Buckley and Eagleson, "An approximation to the distribution of quadratic forms in normal
    random variables" (1988).
    """
    largest = max(map(abs, eigenvalues), default=0.0)
    curved = [value for value in eigenvalues if abs(value) > UNCURVED * largest]
    if not curved or min(curved) < 0:
        return None
    variance = stationary_variance(optimizer, curved, std)
    if variance is None:
        return None
    weights = torch.tensor(curved, dtype=torch.float64) * variance / 2
    first, second, third = (float((weights**n).sum()) for n in (1, 2, 3))
    degrees = second**3 / third**2
    median = float(chdtri(degrees, 0.5))
    return first + float((second / degrees) ** 0.5 * (median - degrees))


PREDICTIONS = ("rate", "edge", "escape_steps", "noise_floor")
"""What is predicted of a run; None where there is no theory of it."""


def predictions(
    optimizer: Optimizer,
    surface: Surface,
    start: Tensor | None,
    curvatures: Sequence[float] | None,
    std: float = 0.0,
) -> dict[str, float | None]:
    """What theory says of one run, with a constant learning rate.

    Args:
        optimizer: of the run.
        surface: of it.
        start: ``(dim,)``; None where its way was not recorded, and no escape can be seen.
        curvatures: eigenvalues of the Hessian at the minimum that it came to rest at, or moves
            about, ascending; None where it does neither.
        std: the standard deviation of the noise in every coordinate.

    Returns:
        ``edge`` (`stability_edge`) at that minimum; without noise ``rate`` there, and
        ``escape_steps`` from the saddle it started at; with noise `noise_floor`; what does not
        apply is None.
    """
    if std > 0:
        floor = edge = None
        if curvatures is not None:
            floor = noise_floor(optimizer, curvatures, std)
            edge = stability_edge(optimizer, curvatures[-1])
        return dict(zip(PREDICTIONS, (None, edge, None, floor), strict=True))
    leaving = None
    if start is not None and (saddle := saddle_left(surface, start)) is not None:
        leaving = escape_steps(optimizer, surface, saddle, start)
    at_rest = None if curvatures is None else rate(optimizer, curvatures)
    edge = None if curvatures is None else stability_edge(optimizer, curvatures[-1])
    return dict(zip(PREDICTIONS, (at_rest, edge, leaving, None), strict=True))
