"""The page of a report: well-formed, whole in itself, with every number that was measured, and the losses marked."""

import html.parser
import re

import pytest

from fastml.learn import page, plot

MACHINE = {"machine": "a <fast> one", "isa": "v3", "threads": 2, "fastml": "0.1", "versions": {"numpy": "2.0"}}
RATES = [
    {"what": "flops", "dtype": "float32", "threads": 1, "per_second": 50e9},
    {"what": "flops", "dtype": "float32", "threads": 2, "per_second": 100e9},
    {"what": "bandwidth", "level": "L1", "kind": "read", "bytes": 1, "threads": 2, "per_second": 400e9},
    {"what": "bandwidth", "level": "memory", "kind": "read", "bytes": 1, "threads": 2, "per_second": 10e9},
    {"what": "bandwidth", "level": "memory", "kind": "copy", "bytes": 1, "threads": 2, "per_second": 8e9},
]
ROW = {"op": "moments", "case": "100x20", "dtype": "float32", "backend": "cython", "rung": "rows", "idea": "a < b",
       "fails": "", "ships": False, "note": "", "unit": "B/s", "bytes": 8e3, "flops": 8e3, "error": 2e-7}  # fmt: skip
LADDER = [
    {**ROW, "note": "takes minutes", "backend": "numpy"},
    {**ROW, "seconds": 0.004, "rate": 2e9, "share": 0.25},
    {**ROW, "rung": "blocks", "ships": True, "seconds": 0.002, "rate": 4e9, "share": 0.5, "gain": 2.0},
]


def benches():
    common = {"flops": 1e9, "bytes": 1e7, "small": False}
    return {
        ("conv2d", "8x8", "float32"): {
            "fastml cython": {**common, "seconds": 0.02},
            "PyTorch": {**common, "seconds": 0.03},
            "NumPy": {**common, "seconds": 0.01},
        },
        ("pca", "8x8", "float32"): {"PyTorch": {**common, "seconds": 0.03}},
    }


class Checked(html.parser.HTMLParser):
    """What stands in an HTML page; raises where a tag is not closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.cells = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.links += [value for key, value in attrs if key in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "h2", "caption", "title", "text"):
            self.cells.append(data.strip())


def rendered(**others):
    return page.render(MACHINE, {"date": "2026-01-02", "rates": RATES}, **others)


def test_a_page_is_whole_in_itself():
    text = rendered(ladders=[LADDER], benches=benches(), origin="From x.json.")
    found = Checked(text)
    assert found.links == [] and "url(" not in text and "@import" not in text and "<script" not in text
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in found.tags
    assert "a &lt;fast&gt; one, v3, 2 threads; fastml 0.1, numpy 2.0." in text


def test_ladders_have_their_numbers():
    cells = Checked(rendered(ladders=[LADDER])).cells
    assert "moments: 100x20, float32" in cells
    row = cells.index("cython blocks ●")
    assert [cell for cell in cells[row + 1 : row + 8] if cell] == ["a < b", "2.00", "4.00", "50.0", "2.00", "2e-07"]
    assert "a < b; takes minutes" in cells
    assert "Against others" not in cells


def test_losses_are_marked():
    text = rendered(benches=benches(), origin="From x.json, 2026.")
    assert "2 comparisons; fastml loses 1" in text and "From x.json, 2026. A ratio" in text
    (lost,) = re.findall(r"<tr class=loss>.*</tr>", text)
    assert ">NumPy<" in lost and ">0.500<" in lost
    assert "<h2>Ladders" not in text


def test_points_are_of_what_ships():
    points = page._points([LADDER], benches())
    assert points == [(1.0, 0.004, "moments"), (100.0, 50.0, "conv2d 8x8")]


def test_the_plot_has_a_line_for_each_memory_and_dots_where_they_belong():
    picture = plot.roofline(RATES, [(100.0, 50.0, "a <kernel>"), (10.0, 100.0, "at the ridge")])
    found = Checked(picture)
    titles = [cell for cell in found.cells if "/s" in cell]
    assert "L1: 400 GB/s" in titles and "memory: 10 GB/s" in titles and "a <kernel>: 50 GFLOP/s" in titles
    assert "peak, 100 GFLOP/s" in titles
    roof = re.search(r'd="M([^"]+)"><title>memory', picture).group(1)
    corners = [tuple(map(float, corner.split())) for corner in roof.split(" L")]
    dots = [(float(a["cx"]), float(a["cy"])) for tag, a in found.tags if tag == "circle"]
    assert dots[1] == corners[1]  # 10 flops for a byte at 10 GB/s are the peak
    assert dots[0][0] > dots[1][0] and dots[0][1] > dots[1][1]  # further right, and lower
    assert corners[0][1] > corners[1][1] == corners[2][1]
    for x, y in (*corners, *dots):
        assert plot.LEFT <= x <= plot.WIDTH - plot.RIGHT and plot.TOP <= y <= plot.HEIGHT - plot.BOTTOM


@pytest.mark.parametrize("point", [(1e-9, 1e-9), (1e9, 1e9)])
def test_what_lies_outside_is_put_on_the_edge(point):
    x, y = plot.Axes((1, 16), (1, 16)).at(*point)
    assert x in (plot.LEFT, plot.WIDTH - plot.RIGHT) and y in (plot.TOP, plot.HEIGHT - plot.BOTTOM)
