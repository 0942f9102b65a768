"""What would run, and what it runs on."""

import importlib.metadata
import platform
from typing import Any

import numpy as np

from fastml import _cpu, _dispatch, _threads, _validate
from fastml._core.baseline import _system
from fastml._registry import BACKENDS, OPS
from fastml.ops.conv2d_backward import convolutions


def explain(
    op: str, *args: Any, n_threads: int | None = None, backend: str | None = None, **kwargs: Any
) -> str:
    """Say which kernel `fastml.<op>(*args, **kwargs)` would run, and why, without running it.

    Raises what the call itself would raise for wrong arguments, and ValueError for an unknown operation.

    >>> import numpy as np, fastml
    >>> x, weight = np.zeros((1, 8, 9, 9)), np.zeros((6, 8, 3, 3))
    >>> print(fastml.explain("conv2d", x, weight, n_threads=1, backend="cython"))  # doctest: +ELLIPSIS
    conv2d: cython, rung 'direct' (fastml._core...conv2d_direct:direct)
      idea: no patches: taps are read from one padded copy of the image
      why: ships for cython, where: a padded copy of 24 windows in 4 MiB; a padded copy ...
      problem: x float64 (1, 8, 9, 9), weight float64 (6, 8, 3, 3), ..., out float64 (1, 6, 7, 7)
      threads: 1
    """
    if op not in OPS:
        raise ValueError(f"op must be one of {', '.join(OPS)}; got {op!r}")
    problem, *others = getattr(_validate, op)(*args, **kwargs)
    if op == "pca" and not problem.scatter.size:
        idea = "the scatter matrix of rows, which is smaller than that of columns, by BLAS: no kernel"
        if _validate.by_products(problem.x, others[0], kwargs.get("solver", "auto")):
            idea = f"solver {kwargs['solver']!r}: products of X and vectors, by BLAS: no scatter matrix, no kernel"
        return f"pca: {idea}\n  problem: {_describe(problem)}"
    forced = kwargs.get("algorithm", "auto")
    rung = _dispatch.choose(op, problem, backend, forced)
    why = f"ships for {rung.backend}" if forced == "auto" else f"forced by algorithm={forced!r}"
    if forced == "auto" and (rung.needs or rung.pays):
        why += f", where: {'; '.join(filter(None, (rung.needs, rung.pays)))}"
    of_x = op == "conv2d_backward" and kwargs.get("needs_grad_x", True)
    return "\n".join(
        (
            f"{op}: {rung.backend}, rung {rung.name!r} ({_dispatch.location(rung)})",
            f"  idea: {rung.idea}",
            f"  why: {why}",
            f"  problem: {_describe(problem)}",
            f"  threads: {_threads.count(n_threads, problem.work)}",
            *([_explain_grad_x(problem, others[0], backend)] if of_x else []),
        )
    )


def _explain_grad_x(problem: Any, forward: Any, backend: str | None) -> str:
    parts = convolutions(forward, problem.grad_out, np.empty_like(forward.x))
    names = [_dispatch.choose("conv2d", part, backend).name for part, _ in parts]
    kinds = ", ".join(repr(name) for name in dict.fromkeys(names))
    return f"  grad_x: {len(names)} problems of conv2d, rung {kinds}"


def _describe(problem: Any) -> str:
    parts = []
    for name, value in zip(problem._fields, problem, strict=True):
        if not isinstance(value, np.ndarray):
            parts.append(f"{name} {value}")
        elif value.size:
            parts.append(f"{name} {value.dtype} {value.shape}")
    return ", ".join(parts)


def configuration() -> dict[str, Any]:
    """What fastml found: version, processor, instruction set, threads, backends and the versions they come from.

    >>> import fastml
    >>> sorted(fastml.configuration())[:3]
    ['backend', 'backends', 'fastml']
    """
    versions = {"python": platform.python_version()}
    for name in ("numpy", "scipy", "scikit-learn", "numba", "threadpoolctl"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "fastml": importlib.metadata.version("fastml-kernels"),
        "processor": f"{platform.machine()}, x86-64-v3 {'yes' if _system.has_v3() else 'no'}",
        "isa": _cpu.isa(),
        "openmp": "yes" if _system.has_openmp() else "no: built without it, kernels run on one thread",
        "threads": _threads.get_num_threads(),
        "backend": _dispatch.current_backend(),
        "backends": [name for name in BACKENDS if name != "numba" or versions["numba"] != "not installed"],
        "versions": versions,
    }


def show_config() -> None:
    """Print what fastml found on this machine; `fastml.configuration()` gives it as a dictionary.

    >>> import fastml
    >>> fastml.show_config()  # doctest: +ELLIPSIS
    fastml: ...
    processor: ...
    """
    for key, value in configuration().items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        print(f"{key}: {', '.join(text) if isinstance(text, list) else text}")
