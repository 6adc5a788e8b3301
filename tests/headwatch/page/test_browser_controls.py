"""The page in a real browser: what a click, a key and a link do."""

from tests.headwatch.page.browser import HEADS, picks, place_of, shown_step
from tests.headwatch.page.conftest import wait_until
from tests.headwatch.page.fake_run import HOSTILE


def test_click_picks_and_shift_click_compares(open_page, page_file):
    page = open_page(page_file.as_uri())
    page.click(HEADS, position=place_of(page, 5, 5))
    assert picks(page) == ["L5H5"]
    page.click(HEADS, position=place_of(page, 9, 2), modifiers=["Shift"])
    assert picks(page) == ["L5H5", "L9H2"]
    page.click(HEADS, position=place_of(page, 5, 5), modifiers=["Shift"])
    assert picks(page) == ["L9H2"]


def test_slider_keys_and_play_move_the_step(open_page, page_file):
    page = open_page(page_file.as_uri())
    assert shown_step(page) == 440
    page.locator("#slider").fill("3")
    assert shown_step(page) == 120
    page.locator("h1").click()
    page.keyboard.press("ArrowRight")
    assert shown_step(page) == 160
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert shown_step(page) == 80
    page.keyboard.press("End")
    assert shown_step(page) == 440
    page.keyboard.press("Home")
    assert shown_step(page) == 0
    page.click("#play")
    wait_until(page, "heads.view.step === 440")
    wait_until(page, "document.getElementById('play').getAttribute('aria-label') === 'Play'")


def test_arrows_move_between_heads_when_the_map_has_focus(open_page, page_file):
    page = open_page(f"{page_file.as_uri()}#head=0.0")
    page.locator(HEADS).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert picks(page) == ["L1H1"]
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+Enter")
    assert picks(page) == ["L1H1", "L1H2"]
    assert "L1H2" in page.locator("#announce").inner_text()
    page.keyboard.press("Escape")
    assert picks(page) == ["L1H1"]


def test_a_link_restores_the_view(open_page, page_file):
    page = open_page(page_file.as_uri())
    page.locator("#slider").fill("4")
    page.click(HEADS, position=place_of(page, 10, 7))
    page.click(HEADS, position=place_of(page, 5, 5), modifiers=["Shift"])
    page.select_option("#axis", "log")
    page.click("#theme")
    wait_until(page, "location.hash.includes('theme=dark') && location.hash.includes('step=160')")
    again = open_page(page.url)
    assert picks(again) == ["L10H7", "L5H5"]
    assert shown_step(again) == 160
    assert again.evaluate("[state.axis, theme]") == ["log", "dark"]


def test_a_senseless_link_is_ignored(open_page, page_file):
    page = open_page(
        f"{page_file.as_uri()}#step=abc&head=99.99,x&probe={HOSTILE}&view=x&axis=3&prompt=7:nothing"
    )
    assert shown_step(page) == 440
    assert picks(page) == ["L9H9"]
