"""The page in a real browser: what must not run, and what must not leak."""

from importlib import import_module

from headwatch.page import report
from tests.headwatch.page.browser import settle
from tests.headwatch.page.conftest import wait_until
from tests.headwatch.page.fake_run import HOSTILE, write_run


def test_hostile_text_stays_text(open_page, run, tmp_path):
    nasty = write_run(tmp_path / "x", name=HOSTILE, passes=2, frames=1, series=1, hostile=True)
    page = open_page(f"{report([nasty, run], tmp_path / 'x.html').as_uri()}#prompt=maps:7&head=0.0")
    settle(page)
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    assert page.title().startswith(HOSTILE)
    options = page.locator("#run option").all_inner_texts()
    assert HOSTILE in options
    assert HOSTILE in page.locator("#notes li").first.text_content()


def test_an_inserted_script_does_not_run(browser, page_file, tmp_path):
    """The policy stops a script even where the page's own care would have failed."""
    inserted = "<main><script>window.stolen = 1</script><img src=x onerror='window.stolen = 2'>"
    (tmp_path / "broken.html").write_text(page_file.read_text().replace("<main>", inserted, 1))
    page = browser.new_page()
    page.goto((tmp_path / "broken.html").as_uri())
    wait_until(page, "performance.getEntriesByName('headwatch:ready').length > 0")
    assert page.evaluate("window.stolen") is None
    page.close()


def test_text_that_a_spreadsheet_would_run_is_disarmed(open_page, page_file):
    page = open_page(page_file.as_uri())
    cells = page.evaluate("""['=1+1', '+1', '@x', 'a,b', 'a"b', -2.5, NaN].map(csvCell)""")
    assert cells == ["'=1+1", "'+1", "'@x", '"a,b"', '"a""b"', "-2.5", ""]


def test_the_page_keeps_its_names_to_itself(browser, run, tmp_path, monkeypatch):
    monkeypatch.setattr(import_module("headwatch.page.assemble"), "ENTRY", "main.js")
    file = report([run], tmp_path / "out.html")
    (tmp_path / "blank.html").write_text("<!doctype html>")
    page = browser.new_page()
    page.goto((tmp_path / "blank.html").as_uri())
    before = set(page.evaluate("Object.getOwnPropertyNames(window)"))
    page.goto(file.as_uri())
    wait_until(page, "performance.getEntriesByName('headwatch:ready').length > 0")
    ids = set(page.evaluate("[...document.querySelectorAll('[id]')].map((element) => element.id)"))
    assert set(page.evaluate("Object.getOwnPropertyNames(window)")) - before - ids == set()
    kinds = page.evaluate("[typeof heads.view, typeof state, typeof refresh, typeof modules]")
    assert kinds == ["undefined"] * 4
    page.close()
