"""The page as one HTML text: its style, its scripts and its data inlined, and a policy that lets nothing else run.

Scripts and style are allowed by their hashes only, so that markup in a token, a prompt or a run's name stays text even
if it got into the page's markup; data is JSON in which no `<` stands.
"""

import base64
import hashlib
import html
import json
from importlib import resources
from typing import Any

# In the order in which they build on each other.
SCRIPTS = (
    "format.js",
    "colours.js",
    "decode.js",
    "store.js",
    "state.js",
    "source.js",
    "canvas.js",
    "grid.js",
    "heads.js",
    "chart.js",
    "trajectory.js",
    "changes.js",
    "tokens.js",
    "attention.js",
    "thumbnails.js",
    "position.js",
    "export.js",
    "controls.js",
    "main.js",
)


def assemble(data: dict[str, Any], title: str) -> str:
    """The whole page.

    Args:
        data: what the page starts with; `live` says whether it asks its server for more.
        title: the window's title.
    """
    style = read_static("page.css")
    scripts = [read_static(name) for name in SCRIPTS]
    values = {
        "policy": html.escape(policy(style, scripts, live=bool(data["live"]))),
        "title": html.escape(title),
        "style": f"<style>{style}</style>",
        "data": f'<script type="application/json" id="data">{embed(data)}</script>',
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    # Split once, so that a marker inside the data is never replaced.
    head, *rest = read_static("page.html").split("{{")
    parts = [head]
    for piece in rest:
        name, tail = piece.split("}}", 1)
        parts += [values[name], tail]
    return "".join(parts)


def policy(style: str, scripts: list[str], live: bool) -> str:
    """A content security policy that allows these scripts and this style and nothing from elsewhere."""
    connect = "'self'" if live else "'none'"
    hashes = " ".join(_hash(script) for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src {_hash(style)}; img-src data:; "
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
