"""The rows of the table: each threat, and where it is met. Numbers are kept; those that are missing were never used."""

from collections.abc import Callable, Iterator

from tests.trust import (
    accuracy,
    contract,
    determinism,
    hostile,
    imports,
    interrupts,
    isa,
    memory,
    neighbours,
    optimized,
    rounding,
    specials,
    threads,
)
from tests.trust.figures import Figure

Measurement = Callable[[bool], Iterator[Figure]]

THREATS = {
    1: "Crash on hostile attributes of pooling",
    2: "Crash on hostile attributes of convolutions",
    3: "Sizes that overflow, arrays larger than memory",
    4: "Exceptions that a caller does not expect",
    5: "Arrays without values",
    6: "Strided, reversed, Fortran, read-only, misaligned, big-endian input; subclasses",
    7: "Input changed, or shared with the result",
    8: "NaN lost in a maximum",
    9: "Windows of -infinity, or of padding only",
    10: "NaN, infinity and -0 in activations",
    11: "Weights that are not finite, over padding",
    12: "Accuracy of mean and variance, float64",
    13: "Accuracy of mean and variance, float32",
    14: "Error of standardized float32 far from zero",
    15: "Float32 output that is not standardized",
    16: "Overflow in a variance",
    17: "Underflow in a variance",
    18: "Features that are nearly constant",
    19: "float16",
    20: "Infinity, complex, text, booleans, integers, long double",
    21: "Cancellation in PCA",
    22: "Invariants of PCA",
    24: "Rounding errors of convolutions",
    25: "Accuracy of transcendental functions",
    30: "The contract of scikit-learn's estimators",
    31: "Pooling in the corners",
    32: "Results that depend on the run, or on threads",
    33: "Results that depend on the batch",
    34: "Calls from many threads at once",
    35: "fork after use",
    36: "More threads than processors",
    37: "Ctrl-C during a kernel",
    38: "Other Python threads held up",
    39: "Out of memory",
    40: "Leaks, on errors, too",
    41: "Memory errors, undefined behaviour, races",
    42: "What nobody thought of",
    43: "State of the process changed by an import",
    44: "Old or new processors",
}
MEASURED: tuple[Measurement, ...] = (
    hostile.attributes,
    hostile.huge_arrays,
    hostile.empty_arrays,
    optimized.optimized,
    specials.layouts,
    specials.nans,
    specials.infinite_windows,
    specials.activations,
    specials.infinite_weights,
    accuracy.reference_data,
    accuracy.standardized,
    accuracy.half_precision,
    accuracy.pca_offsets,
    accuracy.pca_invariants,
    rounding.convolutions,
    contract.checks,
    determinism.pooling_corners,
    determinism.threads,
    determinism.batches,
    threads.concurrency,
    threads.forks,
    threads.thread_counts,
    neighbours.orders,
    interrupts.interrupts,
    threads.lock,
    memory.sweep,
    memory.leaks,
    imports.imports,
    isa.emulated,
    isa.instructions,
)
# Tests of the repository that are about a row: arguments of pytest, and of the environment.
TESTED: dict[int, tuple[str, ...]] = {
    6: ("tests/test_layouts.py",),
    7: ("tests/test_layouts.py", "tests/test_rungs.py", "-k", "same_bits or memory_map or computes_the_definition"),
    8: ("tests/test_max_pool2d.py", "tests/test_rungs.py", "-k", "nan_wins or of_nans or (max_pool2d and NaN)"),
    9: ("tests/test_max_pool2d.py", "-k", "infinity or padding"),
    10: ("tests/test_conv2d.py", "tests/test_batch_norm.py", "tests/test_batch_norm_backward.py", "-k", "relu"),
    11: ("tests/test_conv2d.py", "tests/test_conv2d_winograd.py", "-k", "infinit or finite or nan"),
    18: ("tests/test_standard_scaler_inputs.py", "-k", "constant"),
    20: ("tests/test_standard_scaler_inputs.py", "tests/test_validate.py", "-k", "numbers"),
    24: ("tests/test_rungs.py", "tests/test_conv2d_errors.py", "-k", "(conv2d and definition) or winograd_is_off"),
    30: ("tests/test_standard_scaler.py", "tests/test_pca_estimator.py", "tests/test_incremental_pca_inputs.py",
         "tests/test_truncated_svd.py", "-k", "scikit_learns_checks or number_of_checks"),
}  # fmt: skip
OF_OPERATIONS = tuple(
    f"tests/test_{name}.py"
    for name in ("moments", "moments_weights", "standardize", "pca", "pca_solvers", "pca_transform", "conv2d",
                 "conv2d_backward", "conv2d_layer", "max_pool2d", "max_pool2d_backward", "avg_pool2d",
                 "avg_pool2d_backward", "global_avg_pool2d", "batch_norm", "batch_norm_backward", "fold_batch_norm",
                 "standard_scaler", "standard_scaler_inputs", "pca_estimator", "incremental_pca", "truncated_svd",
                 "validate", "validate_images", "layouts")
)  # fmt: skip
# The same in other settings: without asserts and docstrings, and without the fast kernels.
SET: tuple[tuple[int, dict[str, str], tuple[str, ...]], ...] = (
    (4, {"PYTHONOPTIMIZE": "2"}, (*OF_OPERATIONS, "tests/test_rungs.py")),
    (44, {"FASTML_ISA": "baseline"}, (*OF_OPERATIONS, "tests/test_rungs.py", "-k", "not numba")),
    (44, {"FASTML_BACKEND": "numpy"}, OF_OPERATIONS),
)
NOT_REACHED = {
    25: "nothing to measure: no operation computes a transcendental function but the square root, which is exact",
    41: "races are not looked for: the thread sanitizer knows nothing of OpenMP's barriers. "
    "The figures are those of the last run of each command, which takes a build of its own",
    42: "the figures are those of the last run of the fuzzer that was kept. Properties are also drawn by hypothesis in "
    "the tests of most operations",
}
# Targets that are known to be missed: what holds all the same, and why.
MISSED = {
    (36, "= 1"): ("> 0", "Numba lifts the limit of OpenMP's runtime, which kernels built from source share with it"),
}
