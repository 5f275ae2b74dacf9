"""The report in a real browser: everything is there, nothing is fetched, nothing is complained of."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, browser
from tiny import Said, request, run

from fusionseg.pipeline.report.compare import finish_comparison

pytestmark = pytest.mark.system
CELLS = "[...document.querySelectorAll('{} tbody:first-of-type tr')].map(row => row.cells[{}].textContent)"
# Pictures that show nothing, or have no text; charts that say nothing.
BROKEN = "[...document.images].filter(i => !(i.complete && i.naturalWidth > 1 && i.alt)).length"
MUTE = "[...document.querySelectorAll('svg.chart')].filter(c => !c.getAttribute('aria-label')).length"


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reports of the tiny run, of a second one with another fusion, and of both compared."""
    folder = tmp_path_factory.mktemp("runs")
    run(request(folder), say=Said())
    run(request(folder, "fusion-training.fusion=average", name="second"), say=Said())
    finish_comparison(folder / "out", "tiny", "second", Said())
    return folder / "out" / "reports"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
def page(window: Browser) -> Browser:
    """The window, with nothing noted yet."""
    window.requests.clear()
    window.complaints.clear()
    return window


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1400, 390])
def test_report_is_whole_and_quiet(page: Browser, reports: Path, width: int, dark: bool) -> None:
    page.open((reports / "tiny.html").as_uri(), width, dark=dark)
    tables = page.ask("[...document.querySelectorAll('table')].map(table => table.id)")
    assert {"headline", "sequences-J", "sequences-F", "funnel", "verdicts", "data", "digests", "stages"} <= set(tables)
    assert page.ask("document.images.length") >= 6 * 6, "six scored frames"
    assert page.ask("document.querySelectorAll('svg.chart').length") >= 2 + 2 + 2 + 5
    assert page.ask(BROKEN) == 0
    assert page.ask(MUTE) == 0
    assert page.ask("document.documentElement.scrollWidth") <= width, "wide tables scroll inside their boxes"
    background = page.ask("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(21, 24, 27)" if dark else "rgb(255, 255, 255)")
    assert page.outside() == []
    assert page.complaints == []


def test_a_click_on_a_heading_sorts(page: Browser, reports: Path) -> None:
    page.open((reports / "tiny.html").as_uri())
    before = page.ask(CELLS.format("#headline", 1))
    click = "document.querySelectorAll('#headline thead button')[1].click()"
    page.ask(click)
    falling = [float(cell) for cell in page.ask(CELLS.format("#headline", 1))]
    assert falling == sorted(map(float, before), reverse=True)
    page.ask(click)
    assert [float(cell) for cell in page.ask(CELLS.format("#headline", 1))] == falling[::-1]
    names = "document.querySelectorAll('#headline thead button')[0].click()"
    page.ask(names)
    found = page.ask(CELLS.format("#headline", 0))
    assert found == sorted(found)
    assert page.ask("document.querySelector('#headline thead th').ariaSort") == "ascending"
    assert page.ask("document.querySelector('#headline tbody.published tr').cells.length") == 1, "its own heading stays"
    assert page.complaints == []


def test_without_script_the_tables_are_there(page: Browser, reports: Path) -> None:
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open((reports / "tiny.html").as_uri())
        document = page.call("DOM.getDocument")["root"]["nodeId"]
        rows = page.call("DOM.querySelectorAll", nodeId=document, selector="#headline tbody tr")["nodeIds"]
        buttons = page.call("DOM.querySelectorAll", nodeId=document, selector="th button")["nodeIds"]
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)
    assert len(rows) >= 6
    assert buttons == []


def test_printed_tables_fit_the_paper(page: Browser, reports: Path, tmp_path: Path) -> None:
    page.open((reports / "tiny.html").as_uri(), width=1000, dark=True)
    page.call("Emulation.setEmulatedMedia", media="print")
    try:
        # A4 without margins is 794 px wide.
        page.call("Emulation.setDeviceMetricsOverride", width=794, height=1123, deviceScaleFactor=1, mobile=False)
        assert page.ask("document.documentElement.scrollWidth") <= 794
        assert page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)", (
            "dark is for screens"
        )
    finally:
        page.call("Emulation.setEmulatedMedia", media="")
    page.pdf(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("width", [1400, 390])
def test_comparison_is_whole_and_quiet(page: Browser, reports: Path, width: int) -> None:
    page.open((reports / "tiny-vs-second.html").as_uri(), width)
    assert page.ask(CELLS.format("#settings", 0)) == ["fusion-training.fusion"]
    assert len(page.ask(CELLS.format("#sequences", 0))) == 2
    assert page.ask(BROKEN) == 0
    assert page.ask("document.documentElement.scrollWidth") <= width
    assert page.outside() == []
    assert page.complaints == []


class Answer(http.server.BaseHTTPRequestHandler):
    """Counts who asks."""

    asked = 0

    def do_GET(self) -> None:
        Answer.asked += 1
        self.send_response(404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_the_watch_notices_a_page_that_asks_outside(page: Browser, tmp_path: Path, reports: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        picture = f'<img src="http://127.0.0.1:{server.server_address[1]}/x.png" alt="x">'
        bad = tmp_path / "bad.html"
        bad.write_text(f"<!doctype html><title>x</title>{picture}<script>undefined_function()</script>")
        page.open(bad.as_uri())
        assert Answer.asked == 1
        assert len(page.outside()) == 1
        assert len(page.complaints) >= 2, "the failed picture, the failed script"
        # The report's own policy keeps even a picture that were smuggled in from being fetched.
        page.requests.clear()
        smuggled = tmp_path / "smuggled.html"
        smuggled.write_text((reports / "tiny.html").read_text().replace("</main>", f"{picture}</main>"))
        page.open(smuggled.as_uri())
        server.shutdown()
    assert Answer.asked == 1
