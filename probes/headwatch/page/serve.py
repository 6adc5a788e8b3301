"""The live page: a small server of the standard library that reads runs' records while they are written.

It answers GET only, and only to this machine unless it was given a token. Runs are numbered by the server, and a
request names a number, so no path is ever built from what somebody sent.
"""

import hmac
import re
import secrets
import socket
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from headwatch.page.assemble import assemble, embed
from headwatch.page.runs import Runs
from headwatch.record.steps import BEFORE_TRAINING

LOOPBACK = ("127.0.0.1", "localhost", "::1")
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class RefusalError(Exception):
    """A request that is not answered.

    Args:
        status: the HTTP status.
        reason: one sentence why.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class PageServer(ThreadingHTTPServer):
    """Serves the live page of the runs in a directory.

    Args:
        runs_dir: a run's record, or a directory with records in it, at most three levels down.
        host: the address to listen on.
        port: the port; 0 takes a free one.
        token: what every request must know; needed where `host` is not this machine's own.

    Raises:
        FileNotFoundError: `runs_dir` is no directory.
        ValueError: `host` can be reached from elsewhere and there is no token, or one that no address can carry.
        OSError: the port is taken, or the host is not this machine's.
    """

    daemon_threads = True

    def __init__(
        self, runs_dir: Path | str, host: str = "127.0.0.1", port: int = 0, token: str | None = None
    ) -> None:
        if not Path(runs_dir).is_dir():
            raise FileNotFoundError(f"{runs_dir} is no directory: pass where runs are recorded")
        host = host.strip("[]")
        _check_token(host, token)
        self.runs = Runs(Path(runs_dir))
        self.token = token
        self.host = host
        self.page = assemble({"live": True}, title="headwatch").encode()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except UnicodeError as problem:
            raise ValueError(f"host {host[:80]!r} is no address: {problem}") from problem
        except OSError as problem:
            raise type(problem)(
                f"{self._bracketed}:{port} can't be listened on: {problem.strerror or problem}"
            ) from problem

    @property
    def url(self) -> str:
        """Where to point a browser."""
        query = f"?token={quote(self.token, safe='')}" if self.token else ""
        return f"http://{self._bracketed}:{self.server_port}/{query}"

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet about a client that hung up or fell silent: it is gone, and the others are served."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def serve(
    runs_dir: Path | str,
    host: str = "127.0.0.1",
    port: int = 6007,
    token: str | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the live page until interrupted.

    Example:
        >>> hw.serve("headwatch_runs")  # doctest: +SKIP

    Args:
        runs_dir: a run's record, or a directory with records in it; new ones are found as they appear.
        host: the address to listen on; one that others can reach needs a token.
        port: the port; 0 takes a free one.
        token: what every request must know.
        on_ready: called with the page's address once it is served.

    Raises:
        FileNotFoundError, ValueError, OSError: as `PageServer`.
    """
    with PageServer(runs_dir, host, port, token) as server:
        if on_ready is not None:
            on_ready(server.url)
        server.serve_forever(poll_interval=0.1)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version = "headwatch"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        """Answer a request, or say in one sentence why not."""
        try:
            path, query = _target(self.path)
            self._check(path, query)
            kind, body = self._answer(path, query)
            self._send(200, kind, body)
        except RefusalError as refusal:
            self._send(refusal.status, "text/plain; charset=utf-8", refusal.reason.encode())

    def __getattr__(self, name: str) -> Any:
        # http.server looks for do_POST and the like; each of them is refused here.
        if name.startswith("do_"):
            return lambda: self._send(405, "text/plain; charset=utf-8", b"only GET is answered")
        raise AttributeError(name)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: requests come every second."""

    def _check(self, path: str, query: dict[str, list[str]]) -> None:
        token = self.server.token
        if token is not None and not hmac.compare_digest(self._shown_token(query).encode(), token.encode()):
            raise RefusalError(403, "this page needs its token: open the address that was printed")
        # With a token any name may lead here: a rebound name does not know it.
        host = re.sub(r":\d+$", "", self.headers.get("Host", "")).strip("[]")
        if token is None and host not in LOOPBACK:
            raise RefusalError(403, "only requests to 127.0.0.1 or localhost are answered")
        site = self.headers.get("Sec-Fetch-Site", "none")
        # A link on another local page may open this one, but may not read its data.
        if site not in ("none", "same-origin") and not (site == "same-site" and path == "/"):
            raise RefusalError(403, "requests from other sites are refused")

    def _shown_token(self, query: dict[str, list[str]]) -> str:
        header = self.headers.get("Authorization", "")
        return header.removeprefix("Bearer ") if header else query.get("token", [""])[0]

    def _answer(self, path: str, query: dict[str, list[str]]) -> tuple[str, bytes]:
        if path == "/":
            return "text/html; charset=utf-8", self.server.page
        runs = self.server.runs
        try:
            if path == "/runs":
                answer: Any = runs.listed()
            elif path == "/run":
                answer = runs.update(_whole(query, "id"), _whole(query, "after"))
            elif path == "/findings":
                answer = runs.findings(_whole(query, "id"))
            elif path == "/frame":
                answer = runs.frame(_whole(query, "id"), _step(query), query.get("label", [""])[0])
            else:
                raise RefusalError(404, "there is nothing here")
        except (LookupError, ValueError, OSError) as problem:  # not there, damaged, or removed meanwhile
            raise RefusalError(404, str(problem)) from problem
        return "application/json", embed(answer).encode()

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": kind, "Content-Length": str(len(body))} | HEADERS).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _check_token(host: str, token: str | None) -> None:
    suggestion = secrets.token_urlsafe(12)
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        what = "is empty" if not token else "holds a space or a character beyond ASCII"
        raise ValueError(f"the token {what}: pass another, such as {suggestion}, or none")
    if host not in LOOPBACK and token is None:
        raise ValueError(f"host {host!r} can be reached by others: pass a token, such as {suggestion}")


def _target(target: str) -> tuple[str, dict[str, list[str]]]:
    """Path and query of what was asked for."""
    try:
        parts = urlsplit(target)
        return parts.path, parse_qs(parts.query, max_num_fields=10)
    except ValueError as problem:
        raise RefusalError(400, f"the address makes no sense: {problem}") from problem


def _step(query: dict[str, list[str]]) -> int:
    return BEFORE_TRAINING if query.get("step") == [str(BEFORE_TRAINING)] else _whole(query, "step")


def _whole(query: dict[str, list[str]], name: str) -> int:
    text = query.get(name, [""])[0]
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise RefusalError(400, f"{name} must be a whole number")
    return int(text)
