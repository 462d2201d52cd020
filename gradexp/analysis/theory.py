"""Predicts runs near a stationary point, where the surface is close to its quadratic approximation.

Along an eigenvector of the Hessian with eigenvalue λ, a linear update rule maps (x, state) to
M(λ) (x, state). For heavy ball in torch's convention, v ← βv + λx, x ← x - αv, with state v::

    M(λ) = [[1 - αλ, -αβ], [λ, β]]

The largest spectral radius over all λ is the rate, the factor by which the distance shrinks per
step. M is computed with the rule's own `update`, and is therefore available for every rule with
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
"""An eigenvalue counts as zero if its absolute value is at most this times the largest one. Runs do
not move in such directions, such as along a curve of minimizers."""

MOST_DIMENSIONS = 64
"""The largest dimension for which escapes are predicted. Above it, computing the Hessian takes
longer than the run."""

ESCAPE = 0.05
"""The distance at which a run has left a saddle, as a fraction of the domain's shortest side."""


def iteration_matrix(optimizer: Optimizer, eigenvalues: Tensor) -> Tensor:
    """Returns M(λ) of a linear update rule for eigenvalues λ, as it is after the first step.

    Args:
        optimizer: a linear optimizer, with the numbers of one run.
        eigenvalues: ``(N,)``, eigenvalues of the Hessian.

    Returns:
        ``(N, K, K)``. The rows and columns are the point, followed by the parts of the state.
    """
    size = 1 + len(optimizer.init(torch.zeros(1, 1, dtype=torch.float64)))
    basis = torch.eye(size, dtype=torch.float64)[:, None, :].expand(size, len(eigenvalues), size)
    state = type(optimizer.init(basis[:1]))(*(part[None] for part in basis[1:]))
    point, gradient = basis[:1], basis[:1] * eigenvalues.double()[:, None]
    moved, state = optimizer.update(point, gradient, state, step=1)
    return torch.cat([moved, *state]).movedim(0, 1)


def draws_to_the_origin(optimizer: Optimizer) -> bool:
    """Whether a linear rule moves a point at which the gradient is zero, as weight decay does.

    If so, its runs do not rest at the surface's stationary points.

    Args:
        optimizer: a linear optimizer, with the numbers of one run.
    """
    flat = iteration_matrix(optimizer, torch.zeros(1, dtype=torch.float64))[0, :, 0]
    return bool(flat[0] != 1) or bool(flat[1:].any())


def rate(optimizer: Optimizer, eigenvalues: Sequence[float]) -> float | None:
    """Returns the factor by which the distance to a minimum shrinks per step in the long run.

    Args:
        optimizer: the optimizer, with the numbers of one run.
        eigenvalues: the eigenvalues of the Hessian at the minimum, ascending.

    Returns:
        The largest spectral radius of M(λ) over all λ that are not zero. It is above 1 if the
        minimum repels. None if the rule is not linear or all eigenvalues are zero.
    """
    largest = max(map(abs, eigenvalues), default=0.0)
    curved = [value for value in eigenvalues if abs(value) > UNCURVED * largest]
    if not optimizer.linear or not curved:
        return None
    matrices = iteration_matrix(optimizer, torch.tensor(curved, dtype=torch.float64))
    return float(torch.linalg.eigvals(matrices).abs().max())


def stability_edge(optimizer: Optimizer, sharpness: float) -> float | None:
    """Returns the learning rate above which a minimum repels, with all other settings unchanged.

    At this learning rate, an eigenvalue of M leaves the unit circle through -1. If det(I + M) is
    linear in the learning rate α, the edge is the α for which that determinant is 0. For heavy ball
    it is 2(1 + β)/λ, for Nesterov momentum 2(1 + β)/(λ(1 + 2β)).

    Args:
        optimizer: the optimizer, with the numbers of one run.
        sharpness: λ, the largest eigenvalue of the Hessian.

    Returns:
        The learning rate; None if the rule is not linear, det(I + M) is not linear in α, or λ is
        not positive.
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
    """Returns the nearest declared saddle or maximum, if a run starts within its escape radius.

    Args:
        surface: the surface, with the numbers of that run.
        start: ``(dim,)``, the start of the run.

    Returns:
        None if the run starts outside the escape radius of all of them.
    """
    near = [
        (float(norm(start - columns(stationary.point))), index, stationary)
        for index, stationary in enumerate(surface.stationary_points)
        if stationary.kind != "minimum"
    ]
    distance, _, nearest = min(near, default=(math.inf, 0, None))
    return nearest if distance < escape_radius(surface) else None


def escape_radius(surface: Surface) -> float:
    """Returns the distance from a saddle at which a run has left it."""
    return ESCAPE * min(high - low for low, high in surface.domain)


def escape_steps(
    optimizer: Optimizer, surface: Surface, saddle: StationaryPoint, start: Tensor
) -> float | None:
    """Returns the number of steps from a start near a saddle to the escape radius r.

    Along the eigenvector of an eigenvalue λ < 0, the distance after t steps is c ε σᵗ. Here ε is
    the start's offset along the eigenvector, σ > 1 is the largest absolute eigenvalue of M(λ), and
    c is the fraction of ε that goes into the eigenvector of σ, which is 1 for gradient descent. If
    one direction goes down, r is reached after log(r/(c ε))/log σ steps. If several do, it is
    reached when the squares of their distances add up to r².

    Args:
        optimizer: the optimizer, with the numbers of one run.
        surface: the surface, with the numbers of that run.
        saddle: a declared saddle or maximum.
        start: ``(dim,)``, the start of the run.

    Returns:
        The number of steps, not rounded. None if the rule is not linear or `draws_to_the_origin`,
        no direction goes down, the start has no offset along one, or there are more than
        `MOST_DIMENSIONS` dimensions.
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
    # Find the least t at which the squares add up to 1, in units of r and with logarithms.
    begun = (shares * offsets)[down].log() - math.log(escape_radius(surface))
    speed = growth[down].log()
    low, high = 0.0, float((-begun / speed).min())  # here one direction alone has reached r
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
    """Returns the variance that noise gives the point around a minimum, along each eigenvector.

    The vector z of the point and the state follows z ← M(λ) z + s ξ b, where b is the change of z
    due to a gradient of 1, and ξ is standard normal. The covariance P of z therefore solves the
    discrete Lyapunov equation P = M P Mᵀ + s² b bᵀ. For heavy ball, the variance of the point is
    α s² (1 + β) / (λ (1 - β) (2 (1 + β) - αλ)).

    Args:
        optimizer: the optimizer, with the numbers of one run.
        eigenvalues: the N eigenvalues of the Hessian at the minimum, all positive.
        std: s, the standard deviation of the noise in each coordinate.

    Returns:
        ``(N,)``. None if the rule is not linear or `draws_to_the_origin`, or the minimum repels.
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
    """Returns the median loss gap of a run at its noise floor on a quadratic surface.

    The gap is Σ ½ λ x² with x normal (`stationary_variance`), a weighted sum of χ² variables with
    one degree of freedom. Its median is approximated by that of a gamma distribution with the same
    mean, variance and skewness. This is exact if all weights are equal, and otherwise wrong by a
    few percent at most.

    Args:
        optimizer: the optimizer, with the numbers of one run.
        eigenvalues: the eigenvalues of the Hessian at the minimum. Those that are almost zero are
            ignored.
        std: the standard deviation of the noise in each coordinate.

    Returns:
        The median gap. None if the rule is not linear or `draws_to_the_origin`, the minimum repels,
        or the eigenvalues are not those of a minimum.

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
"""the names of the predictions; a prediction is None if there is no theory for it"""


def predictions(
    optimizer: Optimizer,
    surface: Surface,
    start: Tensor | None,
    curvatures: Sequence[float] | None,
    std: float = 0.0,
) -> dict[str, float | None]:
    """Returns what theory predicts for one run with a constant learning rate.

    Args:
        optimizer: the optimizer, with the numbers of that run.
        surface: the surface, with the numbers of that run.
        start: ``(dim,)``, the start of the run; None if its path was not recorded, so that an
            escape could not be observed.
        curvatures: the ascending eigenvalues of the Hessian at the minimum at which the run came to
            rest or around which it moves; None if there is no such minimum.
        std: the standard deviation of the noise in each coordinate; 0 without noise.

    Returns:
        The predictions, by the names in `PREDICTIONS`; None for those that do not apply. ``edge``
        (`stability_edge`) is for that minimum. Without noise, there are also ``rate`` at that
        minimum, and ``escape_steps`` from the saddle at which the run started. With noise, there is
        ``noise_floor``.
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
