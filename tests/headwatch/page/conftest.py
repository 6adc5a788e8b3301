"""One browser for all tests of the page, and one run to look at."""

import os
import shutil
import threading
import time
from importlib import import_module

import pytest

from headwatch.page import report
from headwatch.page.serve import PageServer
from tests.headwatch.page.fake_run import write_run

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# The page keeps its names to itself; the tests look at these through one more module.
EXPOSED = """
import { attention } from "./attention.js";
import { palette } from "./colours.js";
import { csvCell } from "./export.js";
import { headMaps } from "./head_maps.js";
import { gradients } from "./gradients.js";
import { heads } from "./heads.js";
import { start } from "./page.js";
import { position } from "./position.js";
import { redrawing } from "./redraw.js";
import { state } from "./state.js";
import { differing, showPrompt } from "./tokens.js";
import { trajectory } from "./trajectory.js";
const cards = { attention, gradients, heads, position, trajectory };
const shown = { ...cards, csvCell, headMaps, palette, state, differing, showPrompt };
Object.assign(globalThis, shown);
Object.defineProperty(globalThis, "theme", { get: () => palette.theme });
Object.defineProperty(globalThis, "waiting", { get: () => redrawing.waiting });
start();
"""


@pytest.fixture(scope="session", autouse=True)
def exposed():
    """Pages of this session's tests let the tests look inside."""
    module = import_module("headwatch.page.assemble")
    read = module.read_static
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ENTRY", "exposed.js")
        patch.setattr(module, "read_static", lambda name: EXPOSED if name == "exposed.js" else read(name))
        yield


def wait_until(page, expression, seconds=10):
    """Wait for an expression to be true; Playwright's own wait evaluates text, which the page's policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"never true: {expression}"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def browser():
    """Debian's chromium; without one these tests are skipped, except where CI promises one."""
    chromium = shutil.which("chromium")
    if chromium is None:
        if os.environ.get("CI"):
            pytest.fail("CI runs the page's tests and found no chromium on PATH: install it")
        pytest.skip("no chromium on PATH: the page's browser tests need one")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser):
    """Opens an address and, at the end, holds the page to have logged no error."""
    contexts, errors = [], []

    def opened(url, width=1280, height=900, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: errors.append(f"a script ran: {dialog.message}"))
        page.goto(url)
        wait_until(page, "performance.getEntriesByName('headwatch:redraw').length > 0 && !waiting")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Twelve passes over 12 × 12 heads, one every 40 steps, with everything that a page shows."""
    return write_run(tmp_path_factory.mktemp("runs") / "demo", passes=12, frames=6, series=2, hostile=True)


@pytest.fixture(scope="session")
def page_file(run, tmp_path_factory):
    """The run's report."""
    return report([run], tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture
def serving():
    """Starts servers in threads, and stops them."""
    started = []

    def start(*args, **options):
        server = PageServer(*args, **options)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        started.append((server, thread))
        return server

    yield start
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def runs(tmp_path):
    write_run(tmp_path / "runs" / "a", passes=3, frames=1, prompts=2, series=1, by_position=False)
    return tmp_path / "runs"
