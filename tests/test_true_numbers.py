"""No speed is typed by hand: figures in the README and docs/ come from files, and say so if code has changed since."""

import json
import re
from pathlib import Path

import pytest

from fastml import _dispatch
from fastml._registry import OPS, RUNGS
from fastml.learn import provenance, report

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
BENCHES = ROOT / "docs" / "measured" / "benches.json"
NUMBER = r"\d[\d,.]*"
TYPED = re.compile(
    rf"""{NUMBER}\s*(?:[kMGT]?(?:B|FLOP)/s|GFLOPS|(?:ms|us|µs|ns)\b)           # 20 GB/s, 3 ms
    |{NUMBER}\s*(?:times|x|\u00d7)\s+(?:as\s+(?:fast|slow|long)|faster|slower|longer|speed)  # 1.3 times as fast
    |{NUMBER}\s*(?:%|per\s*cent)\s+(?:faster|slower|longer|less\s+time|more\s+time|of\s+(?:the\s+)?(?:time|roofline|peak))
    |(?:takes?|took|in)\s+{NUMBER}\s+(?:milli|micro|nano)?seconds?\b
    |speed-?up\s+(?:of|by|is)\s+{NUMBER}""",
    re.VERBOSE | re.IGNORECASE,
)


def prose(text):
    """Without code, and without what is generated between markers."""
    text = re.sub(r"<!-- \w+: begin -->.*?<!-- \w+: end -->", "", text, flags=re.DOTALL)
    text = re.sub(r"^(```+|~~~+)[^\n]*\n.*?^\1[`~]*$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_speed_is_typed_in(page):
    assert [found.group() for found in TYPED.finditer(prose(page.read_text(encoding="utf-8")))] == []


@pytest.mark.parametrize(
    "text",
    ["20 GB/s", "3.5 GFLOP/s", "takes 12 ms", "1.3 times as fast", "2x faster", "40 % slower", "in 3 seconds",
     "a speed-up of 4", "80 % of the roofline", "150 µs"],
)  # fmt: skip
def test_a_typed_speed_is_found(text):
    assert TYPED.search(prose(f"It is\n{text}, here."))
    generated = f"<!-- results: begin -->\n{text}\n<!-- results: end -->"
    assert not TYPED.search(prose(f"```sh\n{text}\n```\nand `{text}` {generated}"))


@pytest.mark.parametrize("text", ["4 bytes", "32 flops a cycle", "9 times as large", "2 x 2", "3 msec-like", "5 bits"])
def test_what_is_counted_is_not_a_speed(text):
    assert not TYPED.search(text)


def test_the_readme_has_the_table_of_the_file_that_is_kept():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition(f"{report.BEGIN}\n")[2].partition(f"\n{report.END}")[0]
    assert table == report.render(BENCHES), "python -m fastml.learn.report docs/measured/benches.json --write README.md"


def test_what_is_kept_says_where_it_comes_from():
    data = json.loads(BENCHES.read_text(encoding="utf-8"))
    assert re.fullmatch(r"[0-9a-f]{40}", data["commit_info"]["id"])
    assert data["machine_info"]["fastml"]["numpy"] and data["machine_info"]["cpu"]["brand_raw"]
    assert all(re.fullmatch(r"[0-9a-f]{12}", bench["extra_info"]["kernels"]) for bench in data["benchmarks"])


def test_a_table_says_which_kernels_have_changed_since(tmp_path):
    data = json.loads(BENCHES.read_text(encoding="utf-8"))
    for bench in data["benchmarks"]:
        op = bench["extra_info"]["op"]
        bench["extra_info"]["kernels"] = "0" * 12 if op == "max_pool2d" else provenance.operation_hash(op)
    path = tmp_path / "benches.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    assert "**Measured on older code**: kernels of max_pool2d have changed since." in report.render(path)
    assert report.kept(data)["benchmarks"][0].keys() == {"stats", "extra_info"}


def test_a_hash_is_that_of_all_that_a_kernel_is_made_of(tmp_path, monkeypatch):
    (tmp_path / "fastml" / "_core").mkdir(parents=True)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    core = tmp_path / "fastml" / "_core"
    (core / "op.pyx").write_text("from fastml._core._part cimport x\nfrom libc.math cimport sqrt\n")
    (core / "_part.pxd").write_text('cdef extern from "part.h" nogil:\n    int x\n')
    (core / "part.h").write_text('#include <math.h>\n#include "more.h"\n')
    (core / "more.h").write_text("int more;\n")
    (core / "unrelated.h").write_text("int more;\n")
    names = [path.name for path in provenance._sources.__wrapped__("fastml._core.op")]
    assert names == ["_part.pxd", "more.h", "op.pyx", "part.h"]
    assert provenance._digest(provenance._sources.__wrapped__("fastml._core.nothing")) == ""


def test_every_kernel_has_sources_and_every_operation_a_hash():
    assert all(re.fullmatch(r"[0-9a-f]{12}", provenance.kernel_hash(rung.kernel)) for rung in RUNGS)
    assert len({provenance.operation_hash(op) for op in OPS}) == len(OPS)
    assert provenance.operation_hash("Conv2d") == provenance.operation_hash("conv2d")
    assert re.fullmatch(r"([0-9a-f]{7,}\+?)?", provenance.commit())
    for op in ("StandardScaler", "PCA", "ResNet18", "scatter"):
        assert {*provenance.OPS_OF[op]} <= {*OPS} and _dispatch.rungs(provenance.OPS_OF[op][0])
