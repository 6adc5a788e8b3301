"""Requests of any kind to the live page: each is answered or refused, and the server says nothing and goes on."""

import socket
import threading
import traceback
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwatch.page.serve import PageServer
from tests.headwatch.page.fake_run import write_run


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "a", passes=2, frames=1, prompts=1, series=1, by_position=False)
    with PageServer(folder) as serving:
        serving.troubles = []
        serving.handle_error = lambda *_: serving.troubles.append(traceback.format_exc())
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def answer(server, request):
    """What the server sends back before it closes, which it may do before it has read all of a long request."""
    received = b""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as stream:
        with suppress(OSError):
            stream.sendall(request)
            stream.shutdown(socket.SHUT_WR)
            while part := stream.recv(65536):
                received += part
    return received


words = st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"get", b"G\x00T", b"", b"LONG"])
paths = st.sampled_from(
    [
        b"/",
        b"/runs",
        b"/run",
        b"/run?id=0&after=0",
        b"/run?id=9&after=0",
        b"/findings?id=0",
        b"/frame?id=0&step=1",
        b"/frame?id=0&step=1&label=%00",
        b"/run?id=-1&after=x",
        b"/../etc/passwd",
        b"http://[::1/",
        b"http://[::1]/",
        b"//x/",
        b"*",
        b"/%",
        b"/run?id=" + b"9" * 400,
        b"/?token=%ff",
        b"/run?id=0;after=0",
        b"/\xff",
        b"http://x:99999/",
        b"[",
        b"/#[",
        b"/frame?id=0&step=00000001",
    ]
)
versions = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/9.9", b"HTTP/x", b"", b"HTTP/1.1 x"])
LOCAL = [b"127.0.0.1", b"localhost", b"[::1]", b"127.0.0.1:80"]
FOREIGN = [
    b"evil.example",
    b"127.0.0.1.evil.example",
    b"[",
    b"]:1",
    b"",
    b"\xff",
    b"localhost@x",
    b"127.0.0.1:x",
]
hosts = st.sampled_from(LOCAL + FOREIGN)
headers = st.lists(
    st.sampled_from(
        [
            b"Sec-Fetch-Site: cross-site",
            b"Authorization: Bearer \xff",
            b"Content-Length: -1",
            b"Cookie: LONG",
            b": x",
            b"a",
            b"Host: evil.example",
            b"Transfer-Encoding: chunked",
            b"Expect: 100-continue",
            b"X: \x00",
        ]
    ),
    max_size=2,
)


@given(words, paths, versions, hosts, headers)
def test_a_request_is_answered_or_refused(server, word, path, version, host, more):
    lines = [b" ".join([word, path, version]), b"Host: " + host, *more, b"", b""]
    received = answer(server, b"\r\n".join(lines).replace(b"LONG", b"X" * 70_000))
    assert server.troubles == []
    status = received.split(b" ")[1:2]
    if status == [b"200"]:
        assert host in LOCAL
        assert word == b"GET"
        assert b"Sec-Fetch-Site: cross-site" not in more
    assert b"Traceback" not in received


@given(st.binary(max_size=300))
def test_noise_is_answered_or_closed(server, noise):
    received = answer(server, noise)
    assert server.troubles == []
    assert b"Traceback" not in received


def test_afterwards_it_answers_as_ever(server):
    received = answer(server, b"GET /runs HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert received.startswith(b"HTTP/1.0 200 ")
