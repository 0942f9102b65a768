"""What users can call is written down in `public_api.txt`: whoever changes a signature changes that file, on purpose.

    python -m tests.test_public_api --write

Annotations are left out, as their text depends on the versions of Python and NumPy; mypy and stubtest check them.
"""

import difflib
import inspect
import sys
from pathlib import Path

import numpy as np

import fastml

KEPT = Path(__file__).with_name("public_api.txt")


def lines():
    """A line for each public name, and for each method and property that fastml gives a public class."""
    for name in fastml.__all__:
        value = getattr(fastml, name)
        if isinstance(value, type):
            yield f"{name}{constructor(value)}"
            yield from (f"{name}.{member}" for member in members(value))
        else:
            yield f"{name}{signature(value)}"


def signature(function):
    """Names, kinds and defaults of arguments."""
    found = inspect.signature(function)
    plain = [argument.replace(annotation=inspect.Parameter.empty) for argument in found.parameters.values()]
    return str(found.replace(parameters=plain, return_annotation=inspect.Signature.empty))


def constructor(cls):
    """Arguments of a class of fastml, or from which library's class it has them: another version may have others."""
    maker = next(base for base in cls.__mro__ if {"__init__", "__new__"} & vars(base).keys())
    library = maker.__module__.partition(".")[0]
    return signature(cls) if library == "fastml" else f": the arguments of {library}'s {maker.__name__}"


def members(cls):
    """By name, without what other libraries give to the class."""
    for name in sorted({name for base in cls.__mro__ for name in vars(base)}):
        value = inspect.getattr_static(cls, name)
        kind = type(value).__name__ if isinstance(value, (classmethod, staticmethod)) else ""
        function = value.__func__ if kind else getattr(value, "fget", value)
        own = (getattr(function, "__module__", None) or "").startswith("fastml.")
        if own and not isinstance(value, type) and (name == "__call__" or not name.startswith("_")):
            yield f"{name}: property" if isinstance(value, property) else f"{name}{signature(function)} {kind}".rstrip()


def test_the_public_api_is_the_one_that_is_kept():
    kept, found = KEPT.read_text(encoding="utf-8").splitlines(), [*lines()]
    change = "\n".join(difflib.unified_diff(kept, found, "tests/public_api.txt", "src/fastml", lineterm=""))
    assert not change, f"python -m tests.test_public_api --write, if this is meant:\n{change}"


def test_each_kind_of_change_is_seen():
    def function(x, n_threads=None, *, backend="cython"): ...

    class Changed(np.ndarray):
        __module__ = function.__module__ = "fastml.made_up"
        method = function
        made = classmethod(function)
        size = property(function)
        _private = function

    assert [*members(Changed)] == [
        "made(x, n_threads=None, *, backend='cython') classmethod",
        "method(x, n_threads=None, *, backend='cython')",
        "size: property",
    ]


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    KEPT.write_text("\n".join(lines()) + "\n", encoding="utf-8")
