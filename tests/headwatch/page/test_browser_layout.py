"""The page in a real browser: how it looks, and what it says where there is nothing to show."""

import pytest

from headwatch.page import report
from headwatch.record import RecordWriter
from tests.headwatch.page.browser import settle


def test_whole_words_as_tokens_stand_apart(open_page, page_file):
    page = open_page(page_file.as_uri())
    assert page.evaluate('showPrompt(["When", "Mary", ",", "gave"])') == "When Mary , gave"
    assert page.evaluate('showPrompt(["When", " Mary", ",", " ga", "ve"])') == "When Mary, gave"


def test_an_empty_run_says_what_to_do(open_page, tmp_path):
    RecordWriter(tmp_path / "run", name="new", model={}).close()
    page = open_page(report([tmp_path / "run"], tmp_path / "new.html").as_uri())
    for card, words in [
        ("heads", "HeadAblation"),
        ("trajectory", "first pass"),
        ("thumbnails", "AttentionMaps"),
        ("attention", "AttentionMaps"),
        ("position", "by_position=True"),
        ("changes", "second pass"),
    ]:
        assert words in page.locator(f"#{card} .empty").inner_text()


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 800), (1920, 1080)])
def test_nothing_is_wider_than_the_window(open_page, page_file, width, height):
    page = open_page(page_file.as_uri(), width=width, height=height)
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_control_has_a_name(open_page, page_file):
    page = open_page(page_file.as_uri())
    unnamed = page.evaluate("""[...document.querySelectorAll('button, select, input, [role=application]')]
        .filter((e) => !e.closest('[hidden], dialog') && !e.textContent.trim())
        .filter((e) => !e.getAttribute('aria-label') && !e.labels?.length)
        .map((e) => e.outerHTML)""")
    assert unnamed == []


def test_dark_mode_follows_the_system(open_page, page_file):
    page = open_page(page_file.as_uri(), color_scheme="dark")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"


RECORD_TEXT = """() => {
  window.written = [];
  const { fillText } = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
    const left = { left: x, center: x - this.measureText(text).width / 2 }[this.textAlign];
    if (this.canvas.id === "legend") window.written.push([text, left + this.measureText(text).width]);
    fillText.call(this, text, x, y);
  };
}"""


@pytest.mark.parametrize("width", [320, 390, 1000, 1280, 1400, 1920])
def test_the_unit_of_the_colours_is_written_out(open_page, page_file, width):
    page = open_page(page_file.as_uri(), width=width)
    page.select_option("#series", label="Patching z, denoise → logit difference")
    page.evaluate(RECORD_TEXT)
    page.click("#theme")
    settle(page)
    written = {text: right for text, right in page.evaluate("written") if text[0].isalpha()}
    assert list(written) == ["Δ logit difference (logits)"]
    assert max(written.values()) <= page.evaluate("document.getElementById('legend').clientWidth")
