"""What a card is saved as: its picture as vectors, which is what the screen shows."""

import xml.etree.ElementTree as ET

import pytest

from tests.headwatch.page.fake_run import HOSTILE

SVG = "{http://www.w3.org/2000/svg}"
CARDS = ["heads", "trajectory", "changes", "thumbnails", "attention", "position"]
COLOUR_AT = """([x, y]) => {
  const ratio = devicePixelRatio;
  const context = document.querySelector("#heads canvas").getContext("2d");
  return [...context.getImageData(x * ratio, y * ratio, 1, 1).data.slice(0, 3)];
}"""


def saved(page, card):
    """The file that a card's SVG button hands out: its name and its root."""
    with page.expect_download() as download:
        page.get_by_role("button", name=f"Save {page.locator(f'#{card} h2').inner_text()} as SVG").click()
    return download.value.suggested_filename, ET.parse(download.value.path()).getroot()


def words(root):
    return [element.text for element in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("card", CARDS)
def test_every_card_is_saved_as_an_svg_that_needs_nothing_else(open_page, page_file, card):
    page = open_page(f"{page_file.as_uri()}#step=400&head=9.9,5.5")
    page.wait_for_selector("#attention .tile")
    name, root = saved(page, card)
    assert name == f"headwatch-{card}-step400.svg"
    assert root.tag == f"{SVG}svg"
    assert [float(side) for side in root.get("viewBox").split()[2:]] == [
        float(root.get("width")),
        float(root.get("height")),
    ]
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags <= {"svg", "title", "g", "rect", "path", "text", "clipPath"}
    attributes = {name: value for element in root.iter() for name, value in element.attrib.items()}
    assert not {"href", "style", "class"} & {name.split("}")[-1] for name in attributes}
    assert all("font-family" in element.attrib for element in root.iter(f"{SVG}text"))
    assert words(root)[0] == page.locator(f"#{card} h2").inner_text()


def test_the_saved_map_has_the_cells_of_the_screen_in_their_colours(open_page, page_file):
    page = open_page(f"{page_file.as_uri()}#step=440&head=9.9")
    grid = page.evaluate("heads.grids[0]")
    _, root = saved(page, "heads")
    side = grid["cell"] - 1
    rects = [rect for rect in root.iter(f"{SVG}rect") if float(rect.get("width")) == side]
    cells = {
        (float(rect.get("x")), float(rect.get("y"))): rect.get("fill")
        for rect in rects
        if rect.get("fill") != "none"
    }
    assert len(cells) == 144
    for row in range(12):
        for column in range(12):
            x, y = grid["left"] + column * grid["cell"], grid["top"] + row * grid["cell"]
            red, green, blue = page.evaluate(COLOUR_AT, [x + 4, y + 4])
            assert cells[x, y] == f"rgb({red},{green},{blue})", (row, column)


def test_the_saved_map_has_the_dots_and_the_frame(open_page, page_file):
    page = open_page(f"{page_file.as_uri()}#step=440&head=9.9")
    marked = page.evaluate(
        "[...Array(144).keys()].filter((cell) => heads.view.series.marked(heads.view.index, cell)).length"
    )
    _, root = saved(page, "heads")
    dots = [path for path in root.iter(f"{SVG}path") if "A" in path.get("d")]
    assert len(dots) == marked > 3
    frame = page.evaluate("palette.categories[0]")
    assert sum(rect.get("stroke") == frame for rect in root.iter(f"{SVG}rect")) == 1


def test_the_saved_trajectory_has_a_line_and_a_name_for_each_picked_head(open_page, page_file):
    page = open_page(f"{page_file.as_uri()}#step=440&head=9.9,5.5")
    _, root = saved(page, "trajectory")
    for i, name in enumerate(["L9H9", "L5H5"]):
        colour = page.evaluate(f"palette.categories[{i}]")
        [path] = [p for p in root.iter(f"{SVG}path") if p.get("stroke") == colour and "A" not in p.get("d")]
        assert path.get("d").count("L") == 11  # twelve passes
        [label] = [text for text in root.iter(f"{SVG}text") if text.text == name]
        assert label.get("fill") == colour


def test_the_saved_table_has_the_rows_and_their_bars(open_page, page_file):
    page = open_page(f"{page_file.as_uri()}#step=440")
    _, root = saved(page, "changes")
    shown = page.locator("#changes tbody td").all_inner_texts()
    assert [text for text in shown if text] == words(root)[-sum(map(bool, shown)) :]


def test_hostile_tokens_stay_text_in_a_saved_picture(open_page, page_file):
    page = open_page(f"{page_file.as_uri()}#step=440&head=0.0&prompt=maps:7")
    page.wait_for_selector("#attention .tile")
    shown = page.evaluate("attention.tiles[0].shape.texts")
    assert shown[0].startswith(HOSTILE[:10])
    _, root = saved(page, "attention")
    for text in shown:
        assert any(
            word and word.removesuffix("…") and text.startswith(word.removesuffix("…"))
            for word in words(root)
        )


def test_a_saved_picture_leaves_the_screen_as_it_was(open_page, page_file):
    page = open_page(f"{page_file.as_uri()}#step=440&head=9.9")
    before = page.evaluate("document.querySelector('#heads canvas').toDataURL()")
    saved(page, "heads")
    page.click("h1")
    assert page.evaluate("document.querySelector('#heads canvas').toDataURL()") == before
    page.locator("#slider").fill("3")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.evaluate("document.querySelector('#heads canvas').toDataURL()") != before
