"""Convolutions with 3 x 3 kernels and stride 1 by Winograd's algorithm: fewer multiplications, more additions.

S. Winograd (1980), Arithmetic Complexity of Computations; for neural networks A. Lavin, S. Gray (2016), Fast Algorithms
for Convolutional Neural Networks, whose letters are used here: y = A' [(G g) * (B' d)], ' being the transpose.

The multiplications left are independent of each other and are added up over channels before A' is applied, so they are
matrix products. The price is what A', G and B' magnify of every rounding: `benches/conv2d_errors.py` predicts and
measures it.
"""

from fractions import Fraction

import numpy as np

SMALL = (Fraction(0), Fraction(1), Fraction(-1))
LAVIN = (Fraction(0), Fraction(1), Fraction(-1), Fraction(2), Fraction(-2))
# Of all pairs of fractions that float32 holds exactly, with denominators up to 8, the least predicted error.
BETTER = (Fraction(0), Fraction(5, 8), Fraction(-5, 8), Fraction(3, 2), Fraction(-3, 2))


def transforms(points):
    """A', G and B', exactly: for m + 1 points, m outputs of a kernel of 3 taps, from m + 2 multiplications.

    A kernel and m values are polynomials, and their product is known by its values at m + 1 points and at infinity
    (Toom, Cook): evaluate both, multiply, interpolate. Correlation is the transpose of this: what interpolates moves to
    the data, and what evaluated the m values to the outputs. The denominators of Lagrange's polynomials go to the
    kernel, which is transformed once for all tiles. Matrices of fractions (dtype object): `astype` rounds them.
    """
    m, infinity = len(points) - 1, len(points)
    a, g, b = (np.zeros((m + 2, columns), object) for columns in (m, 3, m + 2))
    for i, point in enumerate(points):
        lagrange = _with_roots(points[:i] + points[i + 1 :])
        denominator = sum(c * point**k for k, c in enumerate(lagrange))
        a[i] = [point**k for k in range(m)]
        g[i] = [point**k / denominator for k in range(3)]
        b[i, : m + 1] = lagrange
    a[infinity, m - 1] = g[infinity, 2] = 1  # the value at infinity is the highest coefficient
    b[infinity] = _with_roots(points)
    return a.T, g, b


def _with_roots(roots):
    """Coefficients of the product of all (x - root), that of x**0 first."""
    coefficients = np.array([Fraction(1)])
    for root in roots:
        coefficients = np.append(0, coefficients) - root * np.append(coefficients, 0)
    return coefficients


def _padded(x, out, pad_top, pad_left, tile):
    """The images with zeros around them, as large as whole tiles of outputs need."""
    rows, columns = (-(-size // tile) * tile + 2 for size in out.shape[2:])
    bottom, right = max(rows - pad_top - x.shape[2], 0), max(columns - pad_left - x.shape[3], 0)
    return np.pad(x, ((0, 0), (0, 0), (pad_top, bottom), (pad_left, right)))[:, :, :rows, :columns]


def _finish(sums, padded, weight, groups):
    """Redo by the definition what is not finite: transforms spread NaN and infinity over a tile, and may overflow."""
    i, j = np.nonzero(~np.isfinite(sums).all(axis=0))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, i, j]
    for part, inputs in _groups(weight, groups):
        sums[part, i, j] = np.tensordot(weight[part], windows[inputs], ((1, 2, 3), (0, 2, 3)))


def _groups(weight, groups):
    """Slices of outputs and of the channels that they are made of."""
    outputs, channels = weight.shape[0] // groups, weight.shape[1]
    for g in range(groups):
        yield slice(g * outputs, (g + 1) * outputs), slice(g * channels, (g + 1) * channels)


def _epilogue(out, bias, residual, relu):
    out += bias[:, np.newaxis, np.newaxis]
    if residual.size:
        out += residual
    if relu:
        np.copyto(out, 0, where=out < 0)


@np.errstate(over="ignore", invalid="ignore")
def winograd_row(
    x, weight, prepared, bias, residual, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups, relu,
    out, n_threads,
):  # fmt: skip
    """F(2, 3) by hand: two neighbours in a row share 4 multiplications instead of 6, row by row of the kernel.

    Should buy a third of the multiplications, 1.5 times fewer, for additions that are shared by all outputs.
    """
    out_h, out_w = out.shape[2:]
    padded, last = _padded(x, out, pad_top, pad_left, 2), (out_w + 1) // 2 * 2 - 1
    g0, g1, g2 = weight[..., 0], weight[..., 1], weight[..., 2]  # (outputs, channels, kernel rows)
    u0, u1, u2, u3 = g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2
    for image, result in zip(padded, out, strict=True):
        d0, d1, d2, d3 = (image[:, :, k : k + last : 2] for k in range(4))  # (channels, rows, pairs of outputs)
        v0, v1, v2, v3 = d0 - d2, d1 + d2, d2 - d1, d1 - d3
        sums = np.empty((len(weight), out_h, last + 1), x.dtype)
        for part, inputs in _groups(weight, groups):
            m0, m1, m2, m3 = (
                sum(np.tensordot(u[part, :, ky], v[inputs, ky : ky + out_h], 1) for ky in range(3))
                for u, v in ((u0, v0), (u1, v1), (u2, v2), (u3, v3))
            )
            sums[part, :, 0::2] = m0 + m1 + m2  # = d0 g0 + d1 g1 + d2 g2
            sums[part, :, 1::2] = m1 - m2 - m3  # = d1 g0 + d2 g1 + d3 g2
        result[...] = sums[:, :, :out_w]
        _finish(result, image, weight, groups)
    _epilogue(out, bias, residual, relu)


def _both_ways(matrix, array):
    """matrix @ array @ matrix.T, over the first two axes."""
    for _ in range(2):
        array = np.tensordot(matrix, array, (1, 1))
    return array


@np.errstate(over="ignore", invalid="ignore")
def staged(points, x, weight, bias, residual, pad_top, pad_left, groups, relu, out):
    """Transform all tiles, multiply, transform back: each stage over the whole image, through memory."""
    tile, size = len(points) - 1, len(points) + 1
    a, g, b = transforms(points)
    u = _both_ways(g.astype(np.float64), weight.transpose(2, 3, 0, 1)).astype(x.dtype)  # rounded once
    padded = _padded(x, out, pad_top, pad_left, tile)
    for image, result in zip(padded, out, strict=True):
        tiles = np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(1, 2))[:, ::tile, ::tile]
        down, across = tiles.shape[1:3]
        v = _both_ways(b.astype(x.dtype), tiles.transpose(3, 4, 0, 1, 2)).reshape(size, size, -1, down * across)
        m = np.empty((size, size, len(weight), down * across), x.dtype)
        for part, inputs in _groups(weight, groups):
            m[:, :, part] = np.matmul(u[:, :, part], v[:, :, inputs])  # a matrix product for each of size**2 planes
        y = _both_ways(a.astype(x.dtype), m).reshape(tile, tile, -1, down, across).transpose(2, 3, 0, 4, 1)
        result[...] = y.reshape(-1, down * tile, across * tile)[:, : result.shape[1], : result.shape[2]]
        _finish(result, image, weight, groups)
    _epilogue(out, bias, residual, relu)


def winograd_2x2(
    x, weight, prepared, bias, residual, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups, relu,
    out, n_threads,
):  # fmt: skip
    """F(2 x 2, 3 x 3): the row's trick in both directions, 16 multiplications for 4 outputs instead of 36.

    Should buy 2.25 times fewer. Its points, 0, 1 and -1, cost nothing to multiply by and magnify little: as it sums up
    channels only, not taps, it can be more exact than direct sums are.
    """
    staged(SMALL, x, weight, bias, residual, pad_top, pad_left, groups, relu, out)


def winograd_4x4(
    x, weight, prepared, bias, residual, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups, relu,
    out, n_threads,
):  # fmt: skip
    """F(4 x 4, 3 x 3): 36 multiplications for 16 outputs instead of 144.

    Should buy 4 times fewer, and costs digits: with the points of the paper, 0, 1, -1, 2 and -2, its factors range from
    1/24 to 8 in each direction, and what became large cancels in the end.
    """
    staged(LAVIN, x, weight, bias, residual, pad_top, pad_left, groups, relu, out)


def winograd_points(
    x, weight, prepared, bias, residual, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups, relu,
    out, n_threads,
):  # fmt: skip
    """The same with the points 0, 5/8, -5/8, 3/2 and -3/2: should buy half of the error back, for no more work.

    Between 1/2 and 2 powers of a point stay small, and products of differences, which G divides by, do not vanish.
    """
    staged(BETTER, x, weight, bias, residual, pad_top, pad_left, groups, relu, out)
