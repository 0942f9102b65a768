"""Checks of arrays. What a kernel cannot read as it is (strides, byte order, alignment) is copied, here and once."""

import math
import os
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array: TypeAlias = NDArray[Any]
READABLE = 0x101  # of NumPy's flags: C-contiguous and aligned; with native bytes a kernel takes the array as it is
FLOAT64 = np.dtype(np.float64)  # `astype(np.float64)` looks it up each time


@cache
def physical_memory() -> int:
    """Bytes of memory of this machine; the address space where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**47


def least(array: Array) -> Any:
    """The smallest value, or NaN where there is one: quietly, and in a fifth of the time of `min()` of a few values."""
    return array.item(array.argmin())


def most(array: Array) -> Any:
    return array.item(array.argmax())


def size_fits(shape: tuple[int, ...], itemsize: int, name: str) -> None:
    """Refuse what this machine cannot hold, before anything is allocated."""
    needed = math.prod(shape) * itemsize
    if needed > physical_memory():
        raise ValueError(f"{name} of shape {shape} takes {needed} bytes, this machine has {physical_memory()}")


def rectangular(value: Any, name: str) -> Array:
    """The array that NumPy makes of it, of whatever dtype."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain array: a masked array's mask would be lost")
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name} must be a rectangular array of numbers: {error}") from None


def real(value: Any, name: str, *, integers: bool = False) -> Array:
    """A float32 or float64 array, in whatever layout. With `integers`, integers and booleans become float64."""
    array = rectangular(value, name)
    if integers and array.dtype.kind in "iub":
        size_fits(array.shape, 8, name)
        return array.astype(np.float64)
    if array.dtype.kind != "f" or array.dtype.itemsize not in (4, 8):
        raise TypeError(f"{name} must be float32 or float64, got {array.dtype}")
    return array


def convertible(value: Any, name: str) -> Array:
    """A float32 or float64 array, or one of float16, integers or booleans, which is converted piece by piece later."""
    array = rectangular(value, name)
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind not in "iubf" or size > 8:
        raise TypeError(
            f"{name} must be float32 or float64, got {array.dtype} (float16, integers and booleans are taken, too)"
        )
    if not readable(array):
        size_fits(array.shape, size if kind == "f" else 8, name)
    return array


def readable(array: Array) -> bool:
    """Whether a kernel can read the array as it is, or write it where it is writeable."""
    return array.dtype.char in "fd" and array.dtype.isnative and array.flags.c_contiguous and array.flags.aligned


def ready(array: Array, name: str) -> Array:
    """The array if a kernel can read it, else a C-contiguous, aligned, native copy."""
    flags = array.flags
    if flags.c_contiguous and flags.aligned and array.dtype.isnative:
        return array
    size_fits(array.shape, array.itemsize, name)
    return np.require(array, array.dtype.newbyteorder("="), ["C", "A"])


def dimensions(array: Array, name: str, accepted: tuple[int, ...], meaning: str) -> None:
    if array.ndim not in accepted:
        raise ValueError(f"{name} must be {meaning}, got {array.ndim} dimensions: shape {array.shape}")


def same_dtype(array: Array, name: str, other: Array, other_name: str) -> None:
    if array.dtype != other.dtype and array.dtype.newbyteorder("=") != other.dtype.newbyteorder("="):
        raise TypeError(f"{name} must have the dtype of {other_name}, {other.dtype}; got {array.dtype}")


def like(value: Any, name: str, other: Array, shape: tuple[int, ...], *, other_name: str) -> Array:
    """An array of a required shape and of another's dtype, ready for a kernel."""
    array = real(value, name)
    same_dtype(array, name, other, other_name)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    return ready(array, name)


def vector64(value: Any, name: str, length: int, default: float | None = None) -> Array:
    """A float64 vector: one value for each feature or channel. None means `default` everywhere."""
    if value is None:
        return np.full(length, default, dtype=np.float64)
    array = real(value, name, integers=True)
    if array.shape not in ((), (length,)):
        raise ValueError(f"{name} must have shape ({length},), got {array.shape}")
    return np.array(np.broadcast_to(array, (length,)), dtype=np.float64)


def output(
    out: Any, shape: tuple[int, ...], dtype: DTypeLike, inputs: dict[str, Array], *, in_place: tuple[str, ...] = (),
    order: str = "C", name: str = "out",
) -> Array:
    """The caller's `out` if it can take the result, or a new array.

    Callers get it back, of whatever subclass it is; kernels get `np.asarray` of it, whose operators are known.
    `out` may not share memory with an input, unless it is exactly one of those named `in_place`.
    """
    dtype = np.dtype(dtype)
    if not dtype.isnative:
        dtype = dtype.newbyteorder("=")
    if out is None:
        size_fits(shape, dtype.itemsize, name)
        return np.empty(shape, dtype, order="F" if order == "F" else "C")
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a NumPy array, got {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(f"{name} must be {dtype}, got {out.dtype}")
    if out.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {out.shape}")
    contiguous = out.flags.c_contiguous or (order == "F" and out.flags.f_contiguous)
    if not (contiguous and out.flags.aligned and out.flags.writeable):
        raise ValueError(f"{name} must be contiguous, aligned and writeable")
    for other, array in inputs.items():
        same = other in in_place and array.ctypes.data == out.ctypes.data and array.strides == out.strides
        if not same and np.may_share_memory(out, array):
            raise ValueError(f"{name} may not share memory with {other}")
    return out
