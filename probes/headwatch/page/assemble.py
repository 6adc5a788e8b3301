"""The page as one HTML text: its style, its script and its data inlined, and a policy that lets nothing else run.

Script and style are allowed by their hashes only, so that markup in a token, a prompt or a run's name stays text even
if it got into the page's markup; data is JSON in which no `<` stands.
"""

import base64
import hashlib
import html
import json
from importlib import resources
from typing import Any

from headwatch.page.bundle import bundle

ENTRY = "main.js"


def assemble(data: dict[str, Any], title: str) -> str:
    """The whole page.

    Args:
        data: what the page starts with; `live` says whether it asks its server for more.
        title: the window's title.
    """
    style = read_static("page.css")
    script = bundle(ENTRY, read_static)
    values = {
        "policy": html.escape(policy(style, script, live=bool(data["live"]))),
        "title": html.escape(title),
        "style": f"<style>{style}</style>",
        "data": f'<script type="application/json" id="data">{embed(data)}</script>',
        "script": f"<script>{script}</script>",
    }
    # Split once, so that a marker inside the data is never replaced.
    head, *rest = read_static("page.html").split("{{")
    parts = [head]
    for piece in rest:
        name, tail = piece.split("}}", 1)
        parts += [values[name], tail]
    return "".join(parts)


def policy(style: str, script: str, live: bool) -> str:
    """A content security policy that allows this script and this style and nothing from elsewhere."""
    connect = "'self'" if live else "'none'"
    return (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; "
        f"connect-src {connect}; base-uri 'none'; form-action 'none'"
    )


def embed(data: Any) -> str:
    """JSON that can stand inside a script element: plain ASCII without `<`, `>` or `&`."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def read_static(name: str) -> str:
    """One of the page's own files."""
    return resources.files("headwatch.page").joinpath("static", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
