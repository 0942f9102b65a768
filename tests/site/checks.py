"""What can be wrong with a site: by its files, and by what a browser makes of each page."""

import contextlib
import functools
import html.parser
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SMALLEST_FONT = 14  # pixels
TEXT = "article p, article li, article td, article dd, article pre"
# What a page says of itself once it is loaded: images that show nothing, and the smallest font of its text.
LOADED = """async selector => {
    await Promise.allSettled([...document.images].map(image => (image.loading = "eager", image.decode())));
    const empty = [...document.images].filter(image => !image.naturalWidth || !image.naturalHeight);
    const text = [...document.querySelectorAll(selector)].filter(one => one.innerText.trim());
    const sizes = text.map(one => parseFloat(getComputedStyle(one).fontSize));
    return {empty: empty.map(image => image.getAttribute("src")), font: sizes.length ? Math.min(...sizes) : 0};
}"""
WIDE = "() => Math.max(document.documentElement.scrollWidth, document.body.scrollWidth) - window.innerWidth"


def chromium() -> str | None:
    """Where a browser is that Playwright can drive."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page(html.parser.HTMLParser):
    """The anchors, links, headings and images of one file."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors, self.links, self.titles, self.headings, self.without_alt = set(), [], 0, 0, []
        self.in_drawing = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.anchors |= {values[key] for key in ("id", "name") if values.get(key)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        elif tag == "img" and not (values.get("alt") or "").strip():
            self.without_alt.append(values.get("src"))
        self.titles += tag == "title" and not self.in_drawing
        self.headings += tag == "h1"
        self.in_drawing |= tag == "svg"

    def handle_endtag(self, tag):
        self.in_drawing &= tag != "svg"


def pages_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.html") if path.relative_to(folder).parts[0] != "_static")


def faults_of_files(folder: Path) -> list[str]:
    """Links that lead nowhere, images without a description, pages without one title and one heading."""
    found, pages = [], {}
    for path in pages_of(folder):
        pages[path.relative_to(folder).as_posix()] = Page(path.read_text())
    for name, page in pages.items():
        found += [f"{name}: {page.titles} titles"] * (page.titles != 1)
        found += [f"{name}: {page.headings} h1"] * (page.headings != 1)
        found += [f"{name}: {image} has no alt text" for image in page.without_alt]
        for link in dict.fromkeys(page.links):
            if urlsplit(link).scheme or link.startswith("//"):
                continue
            target, anchor = urldefrag(urljoin(name, link))
            target = unquote(urlsplit(target).path) or name
            if not (folder / target).is_file():
                found.append(f"{name}: {link} leads nowhere")
            elif anchor and target in pages and unquote(anchor) not in pages[target].anchors:
                found.append(f"{name}: {link}: no such anchor")
    return found


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server for a folder, on this machine only."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def faults_in_browser(folder: Path, browser) -> list[str]:
    """What goes wrong when each page is opened: on a desk, and then as narrow as a phone."""
    found, tab = [], browser.new_page()
    with served(folder) as address:
        now = ""

        def say(what: str) -> None:
            found.append(f"{now}: {what}")

        tab.on("console", lambda line: say(f"console: {line.text}") if line.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: say(f"error: {error}"))
        tab.on("request", lambda request: say(f"asks for {request.url}") if _leaves(request.url, address) else None)
        tab.on("requestfailed", lambda request: say(f"{request.url} failed") if _fails(request) else None)
        tab.on("response", lambda answer: say(f"{answer.url}: {answer.status}") if answer.status >= 400 else None)
        for path in pages_of(folder):
            now = path.relative_to(folder).as_posix()
            tab.set_viewport_size(DESKTOP)
            tab.goto(address + now)
            page = tab.evaluate(LOADED, TEXT)
            for image in page["empty"]:
                say(f"image {image} shows nothing")
            if page["font"] < SMALLEST_FONT and now != "search.html":  # which has no text until it is asked
                say(f"text of {page['font']} px")
            tab.set_viewport_size(PHONE)
            if (beyond := tab.evaluate(WIDE)) > 0:
                say(f"is {beyond} px wider than a phone")
    tab.close()
    return found


def _leaves(url: str, address: str) -> bool:
    return not url.startswith((address, "data:", "blob:"))


def _fails(request) -> bool:
    return request.failure != "net::ERR_ABORTED"  # by leaving the page
