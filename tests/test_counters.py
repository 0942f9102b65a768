"""`fastml.learn.counters`: from which source counts come, why from no better one, and whether they are right."""

import errno
import json
import os
import struct

import numpy as np
import pytest
import typer.testing

from fastml import _cpu, _dispatch
from fastml._registry import OPS
from fastml.learn import assembly, cachegrind, counters, hardware
from fastml.learn.cases import Case
from fastml.learn.cli import app
from fastml.learn.costs import cost
from fastml.learn.data import normal

needs_valgrind = pytest.mark.skipif(bool(cachegrind.why_not()), reason=cachegrind.why_not())
needs_counters = pytest.mark.skipif(bool(hardware.why_not()), reason=hardware.why_not())
LANES = {"baseline": 4, "v3": 8}[_cpu.isa()]
# A row of 480 windows, which vectors divide, and tiles of 3 of them; 288 taps, 64 outputs: nothing goes to waste.
EXACT = Case("conv2d", "1x32x3x482 to 64, k3", normal(1, 32, 3, 482), {}, (64, 32, 3, 3))
POOLED = ("cython loops", "cython rows", "cython unrolled")


@pytest.fixture
def nowhere(monkeypatch):
    """A machine without counters and without Valgrind."""
    monkeypatch.setattr(hardware, "why_not", lambda: "no counters here")
    monkeypatch.setattr(cachegrind, "why_not", lambda: "no valgrind here")


@pytest.fixture
def everywhere(monkeypatch):
    """A machine with counters, which count one instruction; the kernels are run."""
    monkeypatch.setattr(hardware, "why_not", lambda: "")
    counted = {"instructions": 1.0, "cycles": 0.5, "l1_misses": None, "llc_misses": 0.0}
    monkeypatch.setattr(hardware, "count", lambda call: call() or counted)


@pytest.mark.parametrize("op", OPS)
def test_where_nothing_counts_there_is_a_floor_and_the_reasons(nowhere, op):
    case = counters.case_of(op)
    rungs = counters.rungs_of(op, case)
    rows = [*counters.count_all(op, rungs, case)]
    assert [(row.backend, row.rung) for row in rows] == [(rung.backend, rung.name) for rung in rungs]
    least = cost(case, "float32")
    for row in rows:
        assert (row.source, row.bytes, row.flops) == ("model", least.bytes, least.flops)
        assert row.better == ("no counters here", "no valgrind here") and "not a measurement" in row.label
        assert row.instructions is row.cycles is row.l1_misses is row.llc_misses is None


@pytest.mark.parametrize("op", OPS)
def test_where_the_processor_counts_it_does_so_for_every_kernel(everywhere, op):
    case = counters.case_of(op)
    rungs = [rung for rung in counters.rungs_of(op, case) if rung.backend != "numba"]
    for row in counters.count_all(op, rungs, case):
        if (row.backend, row.rung) == counters.PURE_PYTHON:
            assert row.source == "model" and row.better == ("interpreted: takes minutes here",)
        else:
            assert (row.source, row.better, row.bytes) == ("hardware", (), None)
            assert (row.instructions, row.cycles, row.l1_misses, row.llc_misses) == (1.0, 0.5, None, 0.0)


def test_a_kernel_of_numbas_is_counted_by_the_processor_only(everywhere, monkeypatch):
    pytest.importorskip("numba")
    assert counters.count("standardize", "numba loops").source == "hardware"
    monkeypatch.setattr(hardware, "why_not", lambda: "no counters here")
    monkeypatch.setattr(cachegrind, "why_not", lambda: "")
    row = counters.count("standardize", "numba loops")
    reasons = ("no counters here", "Numba would take minutes to compile in Valgrind")
    assert (row.source, row.better) == ("model", reasons)


def test_a_source_that_is_named_is_used_or_refused(nowhere):
    for source, reason in (("hardware", "no counters here"), ("cachegrind", "no valgrind here")):
        with pytest.raises(counters.Unavailable, match=reason):
            counters.count("pca", "cython rows", source=source)
    assert counters.count("pca", "cython rows", source="model").better == ("model was asked for",)
    with pytest.raises(ValueError, match="source must be one of hardware, cachegrind, model; got 'magic'"):
        counters.count("pca", "cython rows", source="magic")


def test_what_there_is_not_is_named():
    with pytest.raises(ValueError, match="pca has no rung 'cython magic'; there are numpy loops, "):
        counters.find("pca", "cython magic")
    with pytest.raises(ValueError, match="there is no operation 'magic'"):
        counters.case_of("magic")
    with pytest.raises(ValueError, match=r"pca has no case with 'magic' in its name; there are 1000x50; "):
        counters.case_of("pca", "magic")
    with pytest.raises(ValueError, match="conv2d cython gemm needs 1 x 1 kernels"):
        counters.count("conv2d", "cython gemm")
    assert counters.case_of("pca", "digits").name == "digits 1797x64 to 20"


def test_when_a_source_fails_the_rest_has_the_floor(monkeypatch):
    def count(jobs):
        yield {"instructions": 7}
        raise counters.Unavailable("it broke")

    monkeypatch.setattr(hardware, "why_not", lambda: "no counters here")
    monkeypatch.setattr(cachegrind, "why_not", lambda: "")
    monkeypatch.setattr(cachegrind, "count", count)
    rows = [*counters.count_all("max_pool2d", [counters.find("max_pool2d", name) for name in POOLED])]
    assert [row.source for row in rows] == ["cachegrind", "model", "model"]
    assert [row.instructions for row in rows] == [7, None, None]
    assert [row.better for row in rows] == [("no counters here",), *[("no counters here", "it broke")] * 2]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EACCES, "the system refuses hardware counters .perf_event_paranoid is "),
        (errno.EPERM, "the system refuses hardware counters"),
        (errno.ENOENT, "this machine shows no hardware counters"),
        (errno.ENOSYS, "hardware counters are read by perf_event_open of Linux"),
    ],
)
def test_counters_that_are_refused_say_why(monkeypatch, number, reason):
    def refuse(*event):
        raise OSError(number, "refused")

    monkeypatch.setattr(hardware, "_open", refuse)
    with pytest.raises(hardware.Unavailable, match=reason):
        hardware.count(lambda: None)
    assert hardware.why_not()


def test_counts_are_of_one_call_and_of_events_that_went_on(monkeypatch):
    """A processor that counts a thousand instructions in half of the time, and never finds time for cycles."""
    fcntl = pytest.importorskip("fcntl")
    calls, opened = [], []

    def open_pipe(kind, number):
        if kind == hardware.CACHE or number == hardware.EVENTS["llc_misses"][1]:
            raise OSError(errno.ENOENT, "not here")
        out, into = os.pipe()
        going = number == hardware.EVENTS["instructions"][1]
        for i in range(2 * hardware.BLOCKS):
            os.write(into, struct.pack("=QQQ", 1000 * i, 8 * i, 4 * i * going))
        os.close(into)
        opened.append(out)
        return out

    monkeypatch.setattr(hardware, "_open", open_pipe)
    monkeypatch.setattr(hardware, "SECONDS", 0)
    monkeypatch.setattr(fcntl, "ioctl", lambda *request: 0)
    found = hardware.count(lambda: calls.append(1))
    assert found == {"instructions": 2000.0, "cycles": None, "l1_misses": None, "llc_misses": None}
    assert len(calls) == 1 + hardware.BLOCKS
    for descriptor in opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.read(descriptor, 1)


def test_the_system_call_counts(monkeypatch):
    """Nanoseconds that this thread runs: counted by the system itself, so also where the processor counts nothing."""
    monkeypatch.setattr(hardware, "EVENTS", {"instructions": (1, 1)})
    if hardware.why_not():
        pytest.skip(hardware.why_not())
    few, many = (hardware.count(lambda n=n: sum(range(n)))["instructions"] for n in (10_000, 1_000_000))
    assert 1e4 < 10 * few < many


@needs_counters
def test_the_processor_counts_the_same_twice_and_more_for_the_slower_rung():
    loops, rows, again = (counters.count("max_pool2d", name) for name in (*POOLED[:2], POOLED[1]))
    assert {row.source for row in (loops, rows, again)} == {"hardware"}
    assert loops.instructions > 2 * rows.instructions
    assert rows.instructions == pytest.approx(again.instructions, rel=0.02)


def job(op, name, case=None):
    rung, problem = counters.find(op, name), counters.problem_of(op, case or counters.case_of(op))
    return _dispatch.location(rung), counters.arguments_of(rung, problem)


@pytest.fixture(scope="module")
def counted():
    """What Valgrind counts, of two runs: Python starts in each, which takes seconds."""
    pool = [job("max_pool2d", name) for name in POOLED]
    columns = [job("standardize", name) for name in ("cython loops", "cython rows")]
    direct = job("conv2d", "cython direct", EXACT)
    first = [*cachegrind.count([*pool, job("max_pool2d", "numpy windows"), *columns, direct])]
    return first, [*cachegrind.count([direct])]


@needs_valgrind
def test_valgrind_counts_fewer_instructions_for_each_rung_of_pooling(counted):
    loops, rows, unrolled, windows = (count["instructions"] for count in counted[0][:4])
    assert windows > loops > 2 * rows > 2 * unrolled
    problem = counters.problem_of("max_pool2d", counters.case_of("max_pool2d"))
    assert (problem.x.size + problem.out.size) / LANES < unrolled  # every vector is read, or written


@needs_valgrind
def test_valgrind_counts_a_miss_for_each_value_down_columns_and_for_each_line_along_rows(counted):
    """A value is read and written. A column has 2000 lines of 64 bytes, more than the first cache, a line 16 values."""
    down, along = (count["l1_misses"] for count in counted[0][4:6])
    values = counters.problem_of("standardize", counters.case_of("standardize")).x.size
    assert cachegrind._simulated()[0][0] < 2000 * 64
    assert down == pytest.approx(2 * values, rel=0.02) and along == pytest.approx(2 * values / 16, rel=0.05)


@needs_valgrind
def test_valgrind_counts_the_same_in_another_run(counted):
    one, two = counted[0][-1], counted[1][-1]
    assert one["instructions"] == pytest.approx(two["instructions"], rel=0.01)
    assert one["l1_misses"] == pytest.approx(two["l1_misses"], rel=0.05)


@needs_valgrind
def test_valgrind_counts_the_instructions_that_are_in_the_loop(counted):
    """A pass of the loop for each tap, 3 vectors of pixels and 4 outputs; the rest copies, stores and calls."""
    problem = counters.problem_of("conv2d", EXACT)
    taps, tiles = problem.weight[0].size, problem.out.size / (3 * LANES * 4)
    try:
        loop = assembly.native_loop(f"fastml._core.{_cpu.isa()}.conv2d_direct", function="direct")
    except LookupError as reason:
        pytest.skip(str(reason))
    expected = taps * tiles * len(loop.lines)
    for counts in (counted[0][-1], counted[1][-1]):
        assert expected < counts["instructions"] < 1.1 * expected


@needs_valgrind
def test_valgrind_that_is_late_or_fails_says_so():
    with pytest.raises(counters.Unavailable, match=r"valgrind was not done after 0.2 s; a smaller case would be"):
        next(cachegrind.count([job("max_pool2d", "cython rows")], seconds=0.2))
    with pytest.raises(counters.Unavailable, match="valgrind failed: ModuleNotFoundError: No module named 'nonsense'"):
        next(cachegrind.count([("nonsense:nonsense", (np.ones(1),))]))


def test_the_simulated_caches_are_the_machines_in_powers_of_two(monkeypatch):
    sizes = {"L1": 48 * 2**10, "L2": 2**20, "L3": 33 * 2**20}
    monkeypatch.setattr(cachegrind.machine, "caches", lambda: sizes)
    assert cachegrind.caches() == "48 KiB and 32 MiB"
    for size, ways in cachegrind._simulated():
        sets, rest = divmod(size, ways * cachegrind.LINE)
        assert rest == 0 and sets & (sets - 1) == 0


def test_the_command_shows_counts_their_source_and_why(nowhere, monkeypatch):
    def run(*words, status=0):
        done = typer.testing.CliRunner().invoke(app, ["counters", *words])
        assert done.exit_code == status, done.output
        return done.output

    rows = json.loads(run("max_pool2d", "--rung", "cython rows", "--json"))
    assert [(row["rung"], row["source"], row["flops"]) for row in rows] == [("rows", "model", rows[0]["least_flops"])]
    text = run("max_pool2d", "--case", "1x8x8x8")
    assert all(f"{rung.backend} {rung.name}" in text for rung in _dispatch.rungs("max_pool2d"))
    assert "no better source for any: no counters here" in text and "model: worked out from sizes" in text
    assert "fastml: no valgrind here" in run("pca", "--source", "cachegrind", status=2)
    assert "fastml: there is no operation 'magic'" in run("magic", status=2)
    monkeypatch.setattr(cachegrind, "why_not", lambda: "")
    monkeypatch.setattr(cachegrind, "count", lambda jobs: iter([{"instructions": 50176 * 3, "l1_misses": 1234}]))
    line = next(line for line in run("max_pool2d", "--rung", "cython rows").splitlines() if "cython rows" in line)
    assert all(word in line for word in ("cachegrind", "150,528", "3.000", "1,234"))
