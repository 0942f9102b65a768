"""Where names are defined in the repository's files, and the text of their definitions.

Python is parsed. Of Cython, a definition ends where the indentation does, and of C where the braces do: that is enough
for files as regular as these.
"""

import ast
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUFFIXES = (".py", ".pyx", ".pxd", ".h")  # of modules, in the order in which a name is looked for
LANGUAGES = {".py": "python", ".pyi": "python", ".pyx": "cython", ".pxd": "cython", ".h": "c", ".c": "c"}
LANGUAGES |= {".toml": "toml", ".md": "markdown", ".sh": "bash", ".yaml": "yaml", ".json": "json"}

CYTHON = re.compile(r"( *)(?:def|cdef|cpdef|class|ctypedef)\b[^=(:#]*?(\w+) *[(:]")
CONSTANT = re.compile(r"(?: {4})?([A-Z]\w*) *=")
C_WORDS = r"^[ \t]*(?!else|return)(?:[\w*]+ +|__attribute__\(\(\w+\)\) +)+"  # in front of a function's name
C_FUNCTION = re.compile(C_WORDS + r"\*?(\w+?)(?:_##SUFFIX)?\(", re.M)
C_OTHER = re.compile(r"^(?:#define|typedef .*?) +\*?(\w+)\b", re.M)

Lines = tuple[int, int]  # first and last, counted from 1


def language(path: Path) -> str:
    """How Pygments calls the language of a file."""
    return "make" if path.name == "Makefile" else LANGUAGES.get(path.suffix, "text")


@cache
def definitions(path: Path) -> dict[str, Lines]:
    """The lines of every function, class, method (`Class.method`) and constant of a file: of a name, the first."""
    text, found = path.read_text(), dict[str, Lines]()
    readers = {"python": _python, "cython": _cython, "c": _c, "make": _make}
    reader = readers.get(language(path))
    for name, first, last in reader(text) if reader else ():
        found.setdefault(name, (first, last))
    return found


def _python(text: str) -> Iterator[tuple[str, int, int]]:
    def names(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, int, int]]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
                yield prefix + node.name, first, node.end_lineno or first
                yield from names(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in (target for target in targets if isinstance(target, ast.Name)):
                    yield prefix + target.id, node.lineno, node.end_lineno or node.lineno

    return names(ast.parse(text).body, "")


def _cython(text: str) -> Iterator[tuple[str, int, int]]:
    lines = text.splitlines()
    for i, line in enumerate(lines):
        if found := CYTHON.match(line):
            indent, last = len(found[1]), i
            for j in range(i + 1, len(lines)):
                inner = len(lines[j]) - len(lines[j].lstrip()) > indent or lines[j].startswith(f"{found[1]})")
                if lines[j].strip() and not inner:
                    break
                last = j if lines[j].strip() else last
            first = i
            while first and lines[first - 1].startswith(f"{found[1]}@"):
                first -= 1
            yield found[2], first + 1, last + 1
    for i, line in enumerate(lines, 1):
        if constant := CONSTANT.match(line):
            yield constant[1], i, i


def _c(text: str) -> Iterator[tuple[str, int, int]]:
    """Functions, those that macros define, too: `tile_##SUFFIX` is `tile`. Then macros and types."""
    for found in C_FUNCTION.finditer(text):
        after = _closing(text, found.end() - 1, "()") + 1
        opening = re.compile(r"[\s\\]*\{").match(text, after)
        if opening:
            yield found[1], _line(text, found.start()), _line(text, _closing(text, opening.end() - 1, "{}"))
    for found in C_OTHER.finditer(text):
        end = re.compile(r"(?:.*\\\n)*.*").match(text, found.start())
        yield found[1], _line(text, found.start()), _line(text, end.end() if end else found.end())


def _closing(text: str, start: int, pair: str) -> int:
    """The position of the bracket that closes the one at `start`."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == pair[0]) - (text[i] == pair[1])
        if not depth:
            return i
    raise ValueError(f"a {pair[0]!r} is not closed")


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _make(text: str) -> Iterator[tuple[str, int, int]]:
    for found in re.finditer(r"^([\w./-]+):(?!=)", text, re.M):
        yield found[1], _line(text, found.start()), _line(text, found.start())


def find(place: str) -> tuple[Path, Lines]:
    """The file and the lines of "module:name", such as "fastml._jit.pca:_tile" or "tests.tolerances:conv2d".

    Raises LookupError where there is no such module, or no such name in it.
    """
    module, _, name = place.partition(":")
    stem = module.replace(".", "/")
    ends = (*SUFFIXES, "/__init__.py")
    files = [path for folder in ("src/", "") for end in ends if (path := ROOT / f"{folder}{stem}{end}").exists()]
    if not files:
        raise LookupError(f"there is no module {module}")
    for path in files:
        if name in definitions(path):
            return path, definitions(path)[name]
    raise LookupError(f"{name!r} is not defined in {', '.join(str(path.relative_to(ROOT)) for path in files)}")


def excerpt(path: Path, lines: Lines) -> str:
    """Lines of a file, dedented, without the backslashes that keep a macro of C together."""
    text = "\n".join(path.read_text().splitlines()[lines[0] - 1 : lines[1]])
    if path.suffix == ".h":
        text = re.sub(r" *\\$", "", text, flags=re.M)
    return textwrap.dedent(text)
