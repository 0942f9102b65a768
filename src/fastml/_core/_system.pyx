"""What the processor and the OpenMP runtime say of themselves. Compiled for the baseline, so that it runs anywhere."""
from fastml._core import _memory


cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1


cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #define FASTML_OPENMP 1
    #else
    #define FASTML_OPENMP 0
    #define omp_get_max_threads() 1
    #endif
    #if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)
    #include <cpuid.h>
    /* All that a compiler may use for -march=x86-64-v3. The last three are asked of the processor itself, as clang has
       no names for them. LZCNT is the worst to miss: without it the same bytes are BSR, which counts from below. */
    static int fastml_has_v3(void) {
        unsigned int a, b, basic, extended, d;
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
               __builtin_cpu_supports("bmi2") && __get_cpuid(1, &a, &b, &basic, &d) && (basic & bit_MOVBE) &&
               (basic & bit_F16C) && __get_cpuid(0x80000001, &a, &b, &extended, &d) && (extended & bit_LZCNT);
    }
    #else
    static int fastml_has_v3(void) { return 0; }
    #endif
    """
    const int FASTML_OPENMP
    int omp_get_max_threads()
    int fastml_has_v3()


def has_openmp() -> bool:
    """Whether the kernels were built with threads."""
    return FASTML_OPENMP == 1


def openmp_max_threads() -> int:
    """How many threads OpenMP would use: OMP_NUM_THREADS, the processor affinity, or a limit set by threadpoolctl."""
    return omp_get_max_threads()


def has_v3() -> bool:
    """Whether this processor runs x86-64-v3 code: AVX2, FMA, BMI1 and 2, F16C, LZCNT, MOVBE."""
    return fastml_has_v3() != 0


def answer_signals() -> None:
    """Run the handlers of signals that have come, in the midst of a kernel, and raise what they raise.

    Handlers may call kernels, too: these get working memory of their own. This is compiled because Python would run the
    handlers on its way into a function of its own, before anything was put aside.
    """
    cdef dict kept = vars(_memory._kept), aside = kept.copy()
    kept.clear()
    try:
        PyErr_CheckSignals()
    finally:
        kept.clear()
        kept.update(aside)
