"""What the tests of the page do with it, in a browser or by asking its server."""

import http.client

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


def ask(server, path, method="GET", **headers):
    """Status, headers and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    for name, value in ({"Host": f"127.0.0.1:{server.server_port}"} | headers).items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body
