"""The exercises: a folder each, with the task, where to start from, a solution, and what the grader asks of it.

    <name>/__init__.py   EXERCISE: cases, a float64 oracle, how far off a result may be, and how fast it should be
    <name>/task.md       the task, and three hints
    <name>/starter.*     what a student begins with, in Numba (.py), and for some in C (.c) or Cython (.pyx)
    <name>/solution.*    the same functions, as they should be

>>> from fastml.learn import exercises
>>> print(exercises.title("sum_accumulators"))
From one accumulator to many
>>> exercises.languages("sum_accumulators")
('numba', 'c')
"""

import importlib
import re
from pathlib import Path

from fastml.learn.exercise import Exercise

# In the order in which to take them: latency, order of memory, passes, digits, then kernels that compute.
NAMES: tuple[str, ...] = (
    "sum_accumulators",
    "column_means",
    "fuse_passes",
    "stable_variance",
    "standardize_fused",
    "max_pool_separable",
    "threads_same_bits",
    "conv2d_unroll",
    "gemm_microkernel",
    "gram_half",
    "winograd_1d",
    "winograd_2x2",
)
SUFFIXES = {"numba": ".py", "c": ".c", "cython": ".pyx"}


def load(name: str) -> Exercise:
    """What the grader asks. Raises ValueError for a name that no exercise has."""
    return importlib.import_module(f"{__name__}.{known(name)}").EXERCISE


def known(name: str) -> str:
    """The name, if an exercise has it. Raises ValueError."""
    if name not in NAMES:
        raise ValueError(f"there is no exercise {name!r}; there are {', '.join(NAMES)}")
    return name


def languages(name: str) -> tuple[str, ...]:
    """In which languages it can be done."""
    return tuple(language for language in SUFFIXES if file(name, "starter", language).exists())


def file(name: str, part: str, language: str) -> Path:
    """Where its "starter" or "solution" in a language is, or would be. Raises ValueError for another name."""
    return Path(__file__).parent / known(name) / f"{part}{SUFFIXES[language]}"


def solution_for(name: str, suffix: str) -> Path:
    """The solution in the language of a file that ends in `suffix`."""
    return file(name, "solution", next(language for language, ending in SUFFIXES.items() if ending == suffix))


def title(name: str) -> str:
    """The first line of the task."""
    return _sections(name)[0].partition("\n")[0].removeprefix("# ")


def task(name: str) -> str:
    """What to do, in Markdown, without the hints."""
    return _sections(name)[0]


def hints(name: str) -> list[str]:
    """Three hints, each saying more than the one before."""
    return _sections(name)[1:]


def _sections(name: str) -> list[str]:
    text = (Path(__file__).parent / known(name) / "task.md").read_text(encoding="utf-8")
    return [section.strip() for section in re.split(r"^## Hint \d$", text, flags=re.MULTILINE)]
