"""The site's extensions: definitions are found in each language, and pages are made of them."""

import re
import sys
from types import SimpleNamespace

import pytest
from _ext import sources

import fastml
from tests.test_house import CYTHON, ROOT, functions

FIRST_AND_LAST = {  # lines of each kind of definition
    "fastml._jit.max_pool2d:_windows": ("@inline", "            indices[j] = where"),
    "fastml._jit.max_pool2d:EXACT": ("EXACT = 1 << 24", "EXACT = 1 << 24"),
    "fastml.ops.moments:Moments.std": ("def std(self", "    return variance"),
    "fastml._core.pca:_scatter_row": ("cdef void _scatter_row(", "        scatter[a, b] = total"),
    "fastml._core._conv2d:ceil_div": ("cdef inline Py_ssize_t ceil_div(", "    return (a + b - 1) // b"),
    "fastml._core._conv2d:Axis": ("cdef struct Axis:", "    Py_ssize_t reach"),
    "fastml._core._conv2d:LEAST_COLUMNS": ("LEAST_COLUMNS = 24", "LEAST_COLUMNS = 24"),
    "fastml._core.tile:multiply": ("static __attribute__((noinline)) void multiply_##SUFFIX(", "}"),
    "fastml._core.normalize:widen_f64": ("static inline void widen_f64(", "static inline void widen_f64("),
    "fastml._core.tile:PANEL": ("#define PANEL 4", "#define PANEL 4"),
    "fastml._registry:Rung": ("@dataclass", "    "),
    "tests.tolerances:conv2d": ("def conv2d(", "    return"),
}
PAGE = """# A page

[`_windows`](ROOT/src/fastml/_jit/max_pool2d.py), [the file](ROOT/src/fastml/_core/tile.h),
[`tile.h`](ROOT/src/fastml/_core/tile.h), [`test`](ROOT/Makefile), [how to begin](ROOT/CONTRIBUTING.md)

```{source} fastml._core.pca:_column_mean, DEPTH
```

```{source} fastml._core.tile:tile
```

```{diff} fastml._jit.max_pool2d:loops fastml._jit.max_pool2d:rows
```

```{assembly} numba fastml._jit.max_pool2d:rows
```

```{assembly} cython fastml._core.v3.conv2d_direct
```
"""
WRONG = {
    "[`nonsense`](ROOT/src/fastml/_jit/max_pool2d.py)": "nonsense is not defined in src/fastml/_jit/max_pool2d.py",
    "[x](ROOT/src/fastml/nonsense.py)": "cross-reference target not found",
    "```{source} fastml._jit.max_pool2d:nonsense\n```": "'nonsense' is not defined in src/fastml/_jit/max_pool2d.py",
    "```{source} fastml._jit.nonsense:rows\n```": "there is no module fastml._jit.nonsense",
    "```{diff} fastml._jit.max_pool2d:rows\n```": "diff takes two places",
    "```{diff} fastml._jit.pca:loops fastml._jit.pca:loops\n```": "are the same",
    "```{assembly} fastml._jit.max_pool2d:rows\n```": "assembly takes numba or cython",
}


@pytest.mark.parametrize(("place", "ends"), FIRST_AND_LAST.items())
def test_a_definition_is_found_whole(place, ends):
    lines = sources.excerpt(*sources.find(place)).splitlines()
    assert lines[0].startswith(ends[0])
    assert lines[-1].startswith(ends[1])
    assert not any(line.endswith("\\") for line in lines)


def test_a_macro_of_c_is_cut_where_its_braces_close():
    code = sources.excerpt(*sources.find("fastml._core.tile:tile"))
    assert code.count("{") == code.count("}") > 2
    assert "panels_##SUFFIX" not in code


@pytest.mark.parametrize("path", CYTHON, ids=lambda path: path.name)
def test_every_function_of_cython_is_found(path):
    names = [header.split()[-1] for header, _ in functions(path)]
    assert [name for name in names if name not in sources.definitions(path)] == []


@pytest.mark.parametrize("place", ["fastml._jit.max_pool2d:nonsense", "fastml.nonsense:loops", "fastml._core.tile:k"])
def test_a_name_that_is_not_defined_is_refused(place):
    with pytest.raises(LookupError, match=r"there is no module|is not defined in"):
        sources.find(place)


@pytest.fixture
def build(tmp_path, monkeypatch):
    """A function that makes a site of one page, and returns the HTML and the warnings."""
    application = pytest.importorskip("sphinx.application")
    pytest.importorskip("myst_parser")
    pytest.importorskip("sphinx_design")

    def numba_loop(function, arguments):
        assert function.__name__ == "rows" and arguments[0].shape == (512, 112, 112) and arguments[-1] == 1
        return SimpleNamespace(lines=["vmaxps %ymm0, %ymm1, %ymm2"], counts={"loads": 3, "stores": 1})

    def native_loop(module):
        raise LookupError(f"{module} is not built")

    fake = SimpleNamespace(numba_loop=numba_loop, native_loop=native_loop)
    monkeypatch.setitem(sys.modules, "fastml.learn.assembly", fake)

    def made(text):
        with monkeypatch.context() as inside:
            inside.chdir(tmp_path)
            (tmp_path / "index.md").write_text(text.replace("ROOT", "../" * (len(tmp_path.parts) - 1) + str(ROOT)[1:]))
            with (tmp_path / "warnings").open("w+") as warnings:
                extensions = ["myst_parser", "sphinx_design", "_ext.assembly", "_ext.code", "_ext.source_pages"]
                options = {"extensions": extensions, "html_theme": "basic", "myst_enable_extensions": ["colon_fence"]}
                folders = (tmp_path, None, tmp_path / "html", tmp_path / "trees")
                application.Sphinx(*folders, "html", options, status=None, warning=warnings).build()
                warnings.seek(0)
                return (tmp_path / "html" / "index.html").read_text(), warnings.read()

    return made


def test_a_page_of_links_and_directives(build, tmp_path):
    page, warnings = build(PAGE)
    assert warnings == ""
    links = re.findall(r'href="(source/[^"#]*)(?:#L-(\d+))?"', page)
    lines = {link: line for link, line in links if line}
    jit, make = "source/src/fastml/_jit/max_pool2d.py.html", "source/Makefile.html"
    assert ("source/src/fastml/_core/tile.h.html", "") in links and ("source/CONTRIBUTING.md.html", "") in links
    source = (ROOT / "src/fastml/_jit/max_pool2d.py").read_text().splitlines()
    (first, *_) = (int(line) for link, line in links if link == jit)
    assert source[first - 1 : first + 1] == ["@inline", "def _windows("]
    assert (ROOT / "Makefile").read_text().splitlines()[int(lines[make]) - 1].startswith("test:")
    assert f'id="L-{first}"' in (tmp_path / "html" / jit).read_text()
    text = re.sub(r"<[^>]*>", "", page)
    assert "cdef double _column_mean(const floating[:, ::1] x, Py_ssize_t j) noexcept nogil:" in text
    assert "-def loops(" in text and "+def rows(" in text
    assert "vmaxps %ymm0, %ymm1, %ymm2" in text and re.search(r"loads\s+stores\s+3\s+1\s", text)
    assert "No instructions of fastml._core.v3.conv2d_direct here: fastml._core.v3.conv2d_direct is not built." in text


@pytest.mark.parametrize(("text", "warning"), WRONG.items(), ids=WRONG.values())
def test_what_does_not_exist_is_a_warning(text, warning, build):
    assert warning in build(f"# A page\n\n{text}\n")[1]


def test_docstrings_become_restructured_text():
    docstrings = pytest.importorskip("_ext.docstrings")
    lines = [
        "A sum.", "", "Parameters", "----------", "x, y: two", "    numbers.", "",
        "See mean_ and |x|, docs/tour.md.", "", ">>> mean_", "1",
    ]  # fmt: skip
    docstrings.process(None, "function", "f", None, None, lines)
    assert lines == [
        "A sum.", "", ":Parameters:", "", "    ``x``, ``y``", "        two", "        numbers.", "",
        r"See ``mean_`` and \|x\|, :doc:`docs/tour.md </tour>`.", "", ">>> mean_", "1",
    ]  # fmt: skip


def test_the_reference_describes_everything_public():
    pages = [path.read_text() for path in (ROOT / "docs" / "api").glob("*.md")]
    described = re.findall(r"^\.\. auto(?:function|class):: fastml\.(\w+)$", "\n".join(pages), re.M)
    assert sorted(described) == fastml.__all__
