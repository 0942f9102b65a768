"""The built site, opened in a browser. `make docs-test` builds it first; without it, or a browser, this is skipped."""

from pathlib import Path

import pytest

from tests.site import checks

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.slow  # `make docs-test` asks for it
SITE = Path(__file__).parents[2] / "docs" / "_build" / "html"
GOOD = """<!DOCTYPE html><html><head><title>A page</title><link rel="icon" href="data:,"></head>
<body><article><h1 id="top">A heading</h1><p>Text.</p>BODY</article></body></html>"""
PICTURE = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
GOOD_BODY = f"""<a href='page0.html#top'>a</a> <a href='#top'>b</a> <a href='http://example.invalid'>c</a>
<img src="{PICTURE}" alt="a picture"><svg width="9" height="9"><title>A drawing</title></svg>"""
FAULTS = {
    "<a href='missing.html'>x</a>": "missing.html leads nowhere",
    "<a href='good.html#missing'>x</a>": "good.html#missing: no such anchor",
    "<a href='#missing'>x</a>": "#missing: no such anchor",
    "<h1>Another</h1>": "2 h1",
    "<title>Another</title>": "2 titles",
    f'<img src="{PICTURE}">': "has no alt text",
    "<img src='missing.png' alt='a picture'>": "image missing.png shows nothing",
    "<script src='missing.js'></script>": "missing.js: 404",
    "<script>console.error('broken')</script>": "console: broken",
    "<script>console.warn('doubtful')</script>": "console: doubtful",
    "<script>throw new Error('thrown')</script>": "error: thrown",
    "<img src='http://example.invalid/x.png' alt='from elsewhere'>": "asks for http://example.invalid/x.png",
    "<script>fetch('http://127.0.0.1:9/').catch(() => 0)</script>": "http://127.0.0.1:9/ failed",
    "<div style='width: 600px'>wide</div>": "px wider than a phone",
    "<p style='font-size: 13px'>small</p>": "text of 13 px",
}


@pytest.fixture(scope="module")
def browser():
    where = checks.chromium()
    if not where:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=where, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def site():
    if not (SITE / "index.html").exists():
        pytest.skip("the site is not built: make docs")
    return SITE


def test_each_kind_of_fault_is_found(tmp_path, browser):
    (tmp_path / "good.html").write_text(GOOD.replace("BODY", GOOD_BODY))
    for i, body in enumerate(FAULTS):
        (tmp_path / f"page{i}.html").write_text(GOOD.replace("BODY", body))
    found = checks.faults_of_files(tmp_path) + checks.faults_in_browser(tmp_path, browser)
    missed = [fault for i, fault in enumerate(FAULTS.values())
              if not any(line.startswith(f"page{i}.html: ") and fault in line for line in found)]  # fmt: skip
    assert missed == []
    assert [line for line in found if line.startswith("good.html")] == []


def test_links_headings_and_descriptions(site):
    assert checks.faults_of_files(site) == []


def test_every_page_opens_without_a_fault(site, browser):
    assert checks.faults_in_browser(site, browser) == []


def test_search_finds(site, browser):
    tab = browser.new_page()
    with checks.served(site) as address:
        tab.goto(f"{address}search.html?q=winograd")
        tab.wait_for_selector("#search-results a[href*='conv2d']", timeout=20_000)
    tab.close()


def test_dark_is_dark(site, browser):
    brightness = {}
    for scheme in ("light", "dark"):
        tab = browser.new_page(color_scheme=scheme)
        with checks.served(site) as address:
            tab.goto(address)
            colour = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness[scheme] = sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(",")))
        tab.close()
    assert brightness["dark"] < 200 < 600 < brightness["light"]
