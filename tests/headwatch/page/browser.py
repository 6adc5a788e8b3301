"""What the tests of the page in a browser do with it."""

HEADS = "#heads canvas >> nth=0"


def settle(page):
    """Wait until what was asked for is drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def place_of(page, layer, head):
    """The middle of a head's cell on the map."""
    grid = page.evaluate("heads.grids[0]")
    return {"x": grid["left"] + (head + 0.5) * grid["cell"], "y": grid["top"] + (layer + 0.5) * grid["cell"]}


def picks(page):
    settle(page)
    return page.locator("#picks b").all_inner_texts()


def shown_step(page):
    settle(page)
    return page.evaluate("heads.view.step")
