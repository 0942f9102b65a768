"""Principal components by one algorithm after the other, in NumPy alone. docs/ladder/pca.md tells their story.

Each step takes X (rows, columns) and k, and returns the k largest variances, descending, and their directions as rows
(k, columns). Nothing is validated, and signs are what they happen to be: `fastml.pca` is for use, these are to be read.

>>> import numpy as np
>>> from fastml.learn.ladders import pca
>>> X = np.array([[6.0, 8.0], [-6.0, -8.0], [4.0, -3.0], [-4.0, 3.0]]) + 1e6
>>> for step in pca.STEPS:
...     variances, directions = step(X, 1)
...     print(step.__name__, variances.round(6), abs(directions).round(6))
full_svd [66.666667] [[0.6 0.8]]
covariance_eigh [66.666667] [[0.6 0.8]]
partial_eigh [66.666667] [[0.6 0.8]]
dual [66.666667] [[0.6 0.8]]
qr_svd [66.666667] [[0.6 0.8]]
randomized [66.666667] [[0.6 0.8]]
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

RESIDUAL = 1e-6  # of the largest eigenvalue, where iterations end: eigenvalues are right to its square over the gap


def centred(X: Array) -> Array:
    """A copy of X without its mean, which is subtracted before anything is rounded."""
    deviation: Array = (X - X.mean(axis=0, dtype=np.float64)).astype(X.dtype)
    return deviation


def full_svd(X: Array, k: int) -> tuple[Array, Array]:
    """The definition: of the singular value decomposition U S V' of the centred data, S and V."""
    _, values, directions = np.linalg.svd(centred(X), full_matrices=False)
    return values[:k] ** 2 / (len(X) - 1), directions[:k]


def covariance_eigh(X: Array, k: int) -> tuple[Array, Array]:
    """V and S^2 are eigenvectors and eigenvalues of the scatter matrix, which has no more rows than X has columns."""
    deviation = centred(X)
    values, vectors = np.linalg.eigh(deviation.T @ deviation)
    return values[::-1][:k] / (len(X) - 1), vectors.T[::-1][:k]


def partial_eigh(X: Array, k: int) -> tuple[Array, Array]:
    """k of its eigenvectors are enough: those that products with the matrix turn every vector to."""
    deviation = centred(X)
    values, vectors = largest(deviation.T @ deviation, k)
    return values / (len(X) - 1), vectors.T


def largest(matrix: Array, k: int) -> tuple[Array, Array]:
    """The k largest eigenvalues of a symmetric matrix and their eigenvectors, as columns: Lanczos' method, in blocks.

    The space spanned by some random vectors, their products with the matrix, the products of those, and so on, soon
    holds good approximations, which are the eigenvectors of the small matrix basis' * matrix * basis.
    """
    block = np.linalg.qr(np.random.default_rng(0).standard_normal((len(matrix), k)).astype(matrix.dtype))[0]
    basis, images = block, matrix @ block
    while True:
        values, turns = np.linalg.eigh(basis.T @ images)
        values, turns = values[::-1][:k], turns[:, ::-1][:, :k]
        vectors = basis @ turns
        residual = np.linalg.norm(images @ turns - vectors * values, axis=0)
        room = len(matrix) - basis.shape[1]
        if residual.max() <= RESIDUAL * values[0] or not room:
            return values, vectors
        block = images[:, -block.shape[1] :][:, :room]
        for _ in range(2):  # once leaves what rounding makes of parts that cancel
            block = block - basis @ (basis.T @ block)
        block = np.linalg.qr(block)[0]
        basis, images = np.hstack([basis, block]), np.hstack([images, matrix @ block])


def dual(X: Array, k: int) -> tuple[Array, Array]:
    """The same squares from the products of rows: for X with fewer rows than columns the smaller matrix."""
    deviation = centred(X)
    values, vectors = np.linalg.eigh(deviation @ deviation.T)
    directions = vectors.T[::-1][:k] @ deviation
    return values[::-1][:k] / (len(X) - 1), directions / np.linalg.norm(directions, axis=1, keepdims=True)


def qr_svd(X: Array, k: int) -> tuple[Array, Array]:
    """No squares: X = QR, and as Q only turns, R has the singular values and V of X. U is never formed."""
    _, values, directions = np.linalg.svd(np.linalg.qr(centred(X), mode="r"), full_matrices=False)
    return values[:k] ** 2 / (len(X) - 1), directions[:k]


def randomized(X: Array, k: int, extra: int = 10, steps: int = 4) -> tuple[Array, Array]:
    """Neither: products with X turn random vectors towards V, and among what they went through V is found, nearly.

    N. Halko, P.-G. Martinsson, J. Tropp, Finding structure with randomness (2011), keep the last of these vectors; C.
    Musco, C. Musco, Randomized block Krylov methods (2015), all of them.
    """
    deviation = centred(X)
    size = min(k + extra, *X.shape)
    block, space = np.random.default_rng(0).standard_normal((X.shape[1], size)).astype(X.dtype), []
    for _ in range(min(steps, min(X.shape) // size)):
        block = np.linalg.qr(deviation.T @ (deviation @ block))[0]
        space.append(block)
    basis = np.linalg.qr(np.hstack(space))[0]
    _, values, turns = np.linalg.svd(np.linalg.qr(deviation @ basis, mode="r"), full_matrices=False)
    return values[:k] ** 2 / (len(X) - 1), turns[:k] @ basis.T


STEPS = (full_svd, covariance_eigh, partial_eigh, dual, qr_svd, randomized)
