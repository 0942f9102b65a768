"""The product of two float32 matrices by one idea after the other: order, registers, caches. See docs/ladder/gemm.md.

Each step takes a (m, k) and b (k, n), both C-contiguous, and returns a @ b, a new array (m, n).

>>> import numpy as np
>>> from fastml.learn.ladders import gemm
>>> a, b = np.ones((7, 3), np.float32), np.full((3, 5), 2, np.float32)
>>> {(step(a, b).shape, float(step(a, b).min()), float(step(a, b).max())) for step in gemm.STEPS}
{((7, 5), 6.0, 6.0)}
"""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Function = TypeVar("Function", bound=Callable[..., Any])

FAST = {"reassoc", "contract", "nsz", "arcp"}  # a * b + c in one instruction, sums in any order; NaN keeps its meaning
ZERO = np.float32(0)
U = np.uint64  # an index of this type cannot be negative: Numba leaves out a step, and LLVM makes vectors
ONE, TWO, THREE = U(1), U(2), U(3)

WIDTH, DEPTH = 256, 256  # columns and rows of a block of b: 256 KiB, which fit into a second-level cache
ROW_A, ROW_B = U(DEPTH), U(WIDTH)  # from one row to the next of packed values, which lie in flat arrays
LANES = 16  # of the widest vectors; columns of packed blocks are filled up to a multiple
HEIGHT = 128  # rows of the product that are one task of a thread


def as_written(function: Function) -> Function:
    """Compile operations in the order in which they are written."""
    return cast(Function, numba.njit(error_model="numpy", nogil=True)(function))


def fast(function: Function) -> Function:
    """Compile, and let LLVM fuse multiplications with additions, and reorder sums."""
    return cast(Function, numba.njit(error_model="numpy", nogil=True, fastmath=FAST)(function))


def on_threads(function: Function) -> Function:
    """The same, with the steps of `prange` shared among Numba's threads."""
    return cast(Function, numba.njit(error_model="numpy", nogil=True, fastmath=FAST, parallel=True)(function))


def python(a: Array, b: Array) -> Array:
    """the definition: a sum for each row of a and each column of b"""
    rows, columns = a.tolist(), b.T.tolist()
    out = np.empty((len(rows), len(columns)), np.float32)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            total = 0.0
            for x, y in zip(row, column, strict=True):
                total += x * y
            out[i, j] = total
    return out


@as_written
def loops(a: Array, b: Array) -> Array:
    """the three loops, compiled: one sum that waits for itself, down a column of b"""
    out = np.empty((a.shape[0], b.shape[1]), np.float32)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            total = ZERO
            for k in range(a.shape[1]):
                total += a[i, k] * b[k, j]
            out[i, j] = total
    return out


@fast
def _add_rows(a: Array, b: Array, first: int, start: int, out: Array) -> None:
    """Add to the rows of out from `first` on what the steps from `start` on give."""
    for i in range(first, out.shape[0]):
        row = out[i]
        for k in range(start, a.shape[1]):
            factor, source = a[i, k], b[k]
            for j in range(row.size):
                row[j] += factor * source[j]


@fast
def order(a: Array, b: Array) -> Array:
    """the loops over j and k change places: rows of b and of the product, in vectors"""
    out = np.zeros((a.shape[0], b.shape[1]), np.float32)
    _add_rows(a, b, 0, 0, out)
    return out


@fast
def _dots(a: Array, columns: Array, first: int, start: int, out: Array) -> None:
    """Rows of out from `first` on, columns from `start` on, each value for itself."""
    for i in range(first, out.shape[0]):
        for j in range(start, out.shape[1]):
            x, y = a[i], columns[j]
            total = ZERO
            for k in range(x.size):
                total += x[k] * y[k]
            out[i, j] = total


@fast
def dots(a: Array, b: Array) -> Array:
    """b transposed: vectors run down the sum, which stays in registers"""
    out = np.empty((a.shape[0], b.shape[1]), np.float32)
    _dots(a, np.ascontiguousarray(b.T), 0, 0, out)
    return out


@fast
def _twelve(x0: Array, x1: Array, x2: Array, x3: Array, y0: Array, y1: Array, y2: Array) -> Any:
    """The products of four rows with three columns: 12 sums in registers, and 7 loads for 12 multiplications."""
    s00 = s01 = s02 = s10 = s11 = s12 = s20 = s21 = s22 = s30 = s31 = s32 = ZERO
    for k in range(x0.size):
        u, v, w = y0[k], y1[k], y2[k]
        x = x0[k]
        s00, s01, s02 = s00 + x * u, s01 + x * v, s02 + x * w
        x = x1[k]
        s10, s11, s12 = s10 + x * u, s11 + x * v, s12 + x * w
        x = x2[k]
        s20, s21, s22 = s20 + x * u, s21 + x * v, s22 + x * w
        x = x3[k]
        s30, s31, s32 = s30 + x * u, s31 + x * v, s32 + x * w
    return (s00, s01, s02), (s10, s11, s12), (s20, s21, s22), (s30, s31, s32)


@fast
def dot_tiles(a: Array, b: Array) -> Array:
    """four rows times three columns at once: each load serves three or four sums"""
    out = np.empty((a.shape[0], b.shape[1]), np.float32)
    columns = np.ascontiguousarray(b.T)
    whole_m, whole_n = out.shape[0] // 4 * 4, out.shape[1] // 3 * 3
    for j in range(0, whole_n, 3):
        for i in range(0, whole_m, 4):
            sums = _twelve(a[i], a[i + 1], a[i + 2], a[i + 3], columns[j], columns[j + 1], columns[j + 2])
            for row in range(4):
                out[i + row, j], out[i + row, j + 1], out[i + row, j + 2] = sums[row]
    _dots(a, columns, whole_m, 0, out)
    _dots(a, columns, 0, whole_n, out[:whole_m])
    return out


@fast
def four_rows(a: Array, b: Array) -> Array:
    """back to rows, four at once: a vector of b serves four multiplications"""
    out = np.zeros((a.shape[0], b.shape[1]), np.float32)
    whole = out.shape[0] // 4 * 4
    for i in range(0, whole, 4):
        r0, r1, r2, r3 = out[i], out[i + 1], out[i + 2], out[i + 3]
        for k in range(a.shape[1]):
            a0, a1, a2, a3, source = a[i, k], a[i + 1, k], a[i + 2, k], a[i + 3, k], b[k]
            for j in range(r0.size):
                x = source[j]
                r0[j] += a0 * x
                r1[j] += a1 * x
                r2[j] += a2 * x
                r3[j] += a3 * x
    _add_rows(a, b, whole, 0, out)
    return out


@fast
def _jam(a: Array, i: int, k: int, b: Array, at: int, first: int, out: Array, start: int, width: int) -> None:
    """Add a[i:i+4, k:k+4] @ b[at:at+4, first:first+width] to out[i:i+4, start:start+width]."""
    a00, a01, a02, a03 = a[i, k], a[i, k + 1], a[i, k + 2], a[i, k + 3]
    a10, a11, a12, a13 = a[i + 1, k], a[i + 1, k + 1], a[i + 1, k + 2], a[i + 1, k + 3]
    a20, a21, a22, a23 = a[i + 2, k], a[i + 2, k + 1], a[i + 2, k + 2], a[i + 2, k + 3]
    a30, a31, a32, a33 = a[i + 3, k], a[i + 3, k + 1], a[i + 3, k + 2], a[i + 3, k + 3]
    p, q, r, s = U(at), U(i), U(first), U(start)
    for j in range(U(width)):
        w, x, y, z = b[p, r + j], b[p + ONE, r + j], b[p + TWO, r + j], b[p + THREE, r + j]
        out[q, s + j] += a00 * w + a01 * x + a02 * y + a03 * z
        out[q + ONE, s + j] += a10 * w + a11 * x + a12 * y + a13 * z
        out[q + TWO, s + j] += a20 * w + a21 * x + a22 * y + a23 * z
        out[q + THREE, s + j] += a30 * w + a31 * x + a32 * y + a33 * z


@fast
def jam(a: Array, b: Array) -> Array:
    """four rows by four steps of the sum: a sum is loaded and stored once for four multiplications"""
    out = np.zeros((a.shape[0], b.shape[1]), np.float32)
    whole_m, whole_k = out.shape[0] // 4 * 4, a.shape[1] // 4 * 4
    for i in range(0, whole_m, 4):
        for k in range(0, whole_k, 4):
            _jam(a, i, k, b, k, 0, out, 0, out.shape[1])
    _add_rows(a, b, whole_m, 0, out)
    _add_rows(a, b, 0, whole_k, out[:whole_m])
    return out


@fast
def blocks(a: Array, b: Array) -> Array:
    """256 x 256 values of b at a time, which stay in the second-level cache for all rows"""
    out = np.zeros((a.shape[0], b.shape[1]), np.float32)
    whole_m, whole_k = out.shape[0] // 4 * 4, a.shape[1] // 4 * 4
    for top in range(0, whole_k, DEPTH):
        for left in range(0, out.shape[1], WIDTH):
            width = min(WIDTH, out.shape[1] - left)
            for i in range(0, whole_m, 4):
                for k in range(top, min(top + DEPTH, whole_k), 4):
                    _jam(a, i, k, b, k, left, out, left, width)
    _add_rows(a, b, whole_m, 0, out)
    _add_rows(a, b, 0, whole_k, out[:whole_m])
    return out


@fast
def _pack(source: Array, first: int, rows: int, start: int, columns: int, pitch: int, full: int, out: Array) -> None:
    """source[first:first+rows, start:start+columns] to a flat array, with zeros up to `full` columns."""
    for i in range(rows):
        for j in range(U(columns)):
            out[U(i * pitch) + j] = source[U(first + i), U(start) + j]
        out[i * pitch + columns : i * pitch + full] = ZERO
    for i in range(rows, (rows + 3) // 4 * 4):
        out[i * pitch : i * pitch + full] = ZERO


@fast
def _four(values: Array, at: Any) -> Any:
    """Four neighbours, which stay in registers."""
    return values[at], values[at + ONE], values[at + TWO], values[at + THREE]


@fast
def _jam_packed(panel: Array, k: Any, block: Array, vectors: Any, sums: Array) -> None:
    """The sixteen multiplications again. Rows lie a constant apart, so LLVM need not ask whether they overlap.

    Their number of columns is a multiple of LANES, so there is no second loop for what is left over, which would want
    registers of its own for the values of the panel.
    """
    p, q = _four(panel, k), _four(panel, k + ROW_A)
    r, s = _four(panel, k + TWO * ROW_A), _four(panel, k + THREE * ROW_A)
    for j in range(vectors * U(LANES)):
        at = k * ROW_B + j
        w, x, y, z = block[at], block[at + ROW_B], block[at + TWO * ROW_B], block[at + THREE * ROW_B]
        sums[j] += p[0] * w + p[1] * x + p[2] * y + p[3] * z
        sums[j + ROW_B] += q[0] * w + q[1] * x + q[2] * y + q[3] * z
        sums[j + TWO * ROW_B] += r[0] * w + r[1] * x + r[2] * y + r[3] * z
        sums[j + THREE * ROW_B] += s[0] * w + s[1] * x + s[2] * y + s[3] * z


@fast
def _task(a: Array, b: Array, first: int, last: int, steps: int, left: int, out: Array) -> None:
    """Add `steps` products to rows first to last, in WIDTH columns from `left` on."""
    panel, block = np.empty(4 * DEPTH, np.float32), np.empty(DEPTH * WIDTH, np.float32)
    sums = np.empty(4 * WIDTH, np.float32)
    width = min(WIDTH, out.shape[1] - left)
    vectors = (width + LANES - 1) // LANES
    for top in range(0, steps, DEPTH):
        depth = min(DEPTH, steps - top)
        _pack(b, top, depth, left, width, WIDTH, vectors * LANES, block)
        for i in range(first, last, 4):
            height = min(4, last - i)
            _pack(a, i, height, top, depth, DEPTH, (depth + 3) // 4 * 4, panel)
            sums[:] = ZERO
            for k in range(U(0), U(depth), U(4)):
                _jam_packed(panel, k, block, U(vectors), sums)
            for row in range(height):
                for j in range(width):
                    out[i + row, left + j] += sums[row * WIDTH + j]


@fast
def packed(a: Array, b: Array) -> Array:
    """copies of what is multiplied, and sums apart: rows lie a constant number of values from each other"""
    out = np.zeros((a.shape[0], b.shape[1]), np.float32)
    whole_m, whole_k = out.shape[0] // 4 * 4, a.shape[1] // 4 * 4
    for left in range(0, out.shape[1], WIDTH):
        _task(a, b, 0, whole_m, whole_k, left, out)
    _add_rows(a, b, whole_m, 0, out)
    _add_rows(a, b, 0, whole_k, out[:whole_m])
    return out


@fast
def edges(a: Array, b: Array) -> Array:
    """zeros up to whole fours of rows and steps: nothing is left over"""
    out = np.zeros((a.shape[0], b.shape[1]), np.float32)
    for left in range(0, out.shape[1], WIDTH):
        _task(a, b, 0, out.shape[0], a.shape[1], left, out)
    return out


@on_threads
def threads(a: Array, b: Array) -> Array:
    """128 rows and 256 columns of the product are a task; threads take tasks"""
    out = np.zeros((a.shape[0], b.shape[1]), np.float32)
    down, across = (out.shape[0] + HEIGHT - 1) // HEIGHT, (out.shape[1] + WIDTH - 1) // WIDTH
    for task in numba.prange(down * across):
        first, left = task // across * HEIGHT, task % across * WIDTH
        _task(a, b, first, min(first + HEIGHT, out.shape[0]), a.shape[1], left, out)
    return out


def blas(a: Array, b: Array) -> Array:
    """np.matmul: a microkernel in assembly"""
    return a @ b


STEPS = (python, loops, order, dots, dot_tiles, four_rows, jam, blocks, packed, edges, threads, blas)
SKIP = {
    ("python", "256x256x256"): "interpreted: takes seconds",
    ("python", "337x337x337"): "interpreted: takes seconds",
    ("python", "768x768x768"): "interpreted: takes a minute",
    ("python", "1024x1024x1024"): "interpreted: takes minutes",
    ("python", "20000x30x10"): "interpreted: takes seconds",
    ("loops", "1024x1024x1024"): "takes seconds: a column of b lies in a few sets of the caches",
}


def matrices(m: int, k: int, n: int) -> tuple[Array, Array]:
    """Normal numbers."""
    random = np.random.default_rng(0)
    return random.standard_normal((m, k), np.float32), random.standard_normal((k, n), np.float32)


CASES: dict[str, Callable[[], tuple[Array, Array]]] = {  # rows of a, columns of a, columns of b
    "256x256x256": lambda: matrices(256, 256, 256),  # 256 KiB each: in a second-level cache, mostly
    "64x64x64": lambda: matrices(64, 64, 64),  # 16 KiB each: in the first-level cache, mostly
    "337x337x337": lambda: matrices(337, 337, 337),  # nothing divides it
    "768x768x768": lambda: matrices(768, 768, 768),  # 2.25 MiB each: in a third-level cache
    "1024x1024x1024": lambda: matrices(1024, 1024, 1024),  # rows 4096 bytes apart: in the same sets of a cache
    "20000x30x10": lambda: matrices(20000, 30, 10),  # tall and narrow
}


def expected(a: Array, b: Array) -> Array:
    """The product in float64."""
    return a.astype(np.float64) @ b.astype(np.float64)


def work(a: Array, b: Array) -> tuple[float, float, float]:
    """Bytes read, bytes written, multiplications and additions."""
    return a.nbytes + b.nbytes, 4 * len(a) * b.shape[1], 2 * len(a) * b.size
