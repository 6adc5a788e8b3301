"""What a live server meets in a day: clients that hang up, folders that go, requests that make no sense."""

import json
import os
import shutil
import socket
import struct

import pytest
from typer.testing import CliRunner

from headwatch.page.serve import PageServer
from headwatch.record import RecordWriter
from headwatch_callbacks.cli import app
from tests.headwatch.page.browser import ask
from tests.headwatch.page.conftest import wait_until
from tests.headwatch.page.fake_run import write_pass, write_run


def listed(server):
    return json.loads(ask(server, "/runs")[2])


def write_small(directory, steps, **options):
    with RecordWriter(directory, name=directory.name, model={"n_layers": 2, "n_heads": 2}) as writer:
        for step in steps:
            write_pass(writer, step, 80, (2, 2), [("ablation", "mean", "loss")], step, **options)
    return directory


def raw(server, request):
    """What the server answers to these bytes."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    return answer


def hang_up(server, request):
    """Ask, and close the connection with a reset before anything is read."""
    connection = socket.create_connection(("127.0.0.1", server.server_port), timeout=10)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.sendall(request)
    connection.close()


def test_clients_that_hang_up_leave_no_traceback(serving, runs, capfd):
    server = serving(runs)
    server.page = server.page * 200  # more than the system buffers
    for request in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET / HT", b""):
        for _ in range(5):
            hang_up(server, request)
    assert ask(server, "/runs")[0] == 200
    assert capfd.readouterr().err == ""


def test_a_mistake_of_ours_still_shows(serving, runs, capfd, monkeypatch):
    def broken(*_):
        raise RuntimeError("planted")

    server = serving(runs)
    monkeypatch.setattr(server.runs, "listed", broken)
    assert raw(server, b"GET /runs HTTP/1.0\r\nHost: localhost\r\n\r\n") == b""
    assert "RuntimeError: planted" in capfd.readouterr().err


@pytest.mark.parametrize("target", ["http://[::1/", "//[", "/runs?" + "a=1&" * 50, "/run?id=0&after=%ff"])
def test_an_address_that_makes_no_sense_is_refused(serving, runs, capfd, target):
    answer = raw(serving(runs), f"GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
    status = int(answer.split()[1])
    assert 400 <= status < 500
    assert capfd.readouterr().err == ""


def test_a_deleted_run_is_no_longer_listed(serving, tmp_path, capfd):
    for name in ("a", "b"):
        write_small(tmp_path / name, [0])
    server = serving(tmp_path)
    ids = {run["name"]: run["id"] for run in listed(server)["runs"]}
    ask(server, f"/run?id={ids['a']}&after=0")
    shutil.rmtree(tmp_path / "a")
    for path in (f"/run?id={ids['a']}&after=0", f"/findings?id={ids['a']}"):
        assert ask(server, path)[0] == 404
    assert [run["name"] for run in listed(server)["runs"]] == ["b"]
    assert capfd.readouterr().err == ""


def test_a_deleted_folder_of_runs_is_said(serving, tmp_path, capfd):
    write_small(tmp_path / "runs" / "a", [0])
    server = serving(tmp_path / "runs")
    listed(server)
    shutil.rmtree(tmp_path / "runs")
    found = listed(server)
    assert found["runs"] == []
    assert found["problems"] == [f"{tmp_path / 'runs'} can't be read: No such file or directory"]
    assert ask(server, "/run?id=0&after=0")[0] == 404
    write_small(tmp_path / "runs" / "a", [0])
    assert [run["name"] for run in listed(server)["runs"]] == ["a"]
    assert capfd.readouterr().err == ""


def test_a_folder_made_again_is_another_run(serving, tmp_path):
    folder = write_small(tmp_path / "a", [0, 40, 80])
    server = serving(tmp_path)
    [old] = listed(server)["runs"]
    assert json.loads(ask(server, f"/run?id={old['id']}&after=0")[2])["payload"]["series"][0]["steps"] == [
        0,
        40,
        80,
    ]
    shutil.rmtree(folder)
    write_small(folder, [7, 14])
    assert ask(server, f"/run?id={old['id']}&after=0")[0] == 404  # not even before it is listed
    [new] = listed(server)["runs"]
    assert (new["name"], new["id"] == old["id"]) == ("a", False)
    assert json.loads(ask(server, f"/run?id={new['id']}&after=0")[2])["payload"]["series"][0]["steps"] == [
        7,
        14,
    ]


def test_a_file_that_took_the_number_of_the_old_one_is_another_run(serving, tmp_path):
    """Some file systems give a file's number again at once; here the file is the same and its text is not."""
    folder = write_small(tmp_path / "a", [0, 40])
    server = serving(tmp_path)
    [old] = listed(server)["runs"]
    ask(server, f"/run?id={old['id']}&after=0")
    other = write_small(tmp_path / "other" / "a", [7, 14])
    (folder / "probes.jsonl").write_bytes((other / "probes.jsonl").read_bytes())
    shutil.rmtree(tmp_path / "other")
    assert ask(server, f"/run?id={old['id']}&after=0")[0] == 404
    [new] = listed(server)["runs"]
    assert json.loads(ask(server, f"/run?id={new['id']}&after=0")[2])["payload"]["series"][0]["steps"] == [
        7,
        14,
    ]


@pytest.mark.parametrize("token", ["", " ", "s3 cret", "geheim\n", "clé"])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_token_that_protects_nothing_is_refused(runs, host, token):
    with pytest.raises(ValueError, match=r"the token (is empty|holds a space).*: pass another, such as"):
        PageServer(runs, host=host, token=token)


def test_the_command_line_refuses_an_empty_token(runs):
    result = CliRunner().invoke(app, ["serve", str(runs), "--token", "", "--port", "0"])
    assert result.exit_code == 1
    assert "the token is empty" in result.output


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_the_loopback_of_ipv6(serving, runs, host):
    server = serving(runs, host=host)
    assert server.url == f"http://[::1]:{server.server_port}/"
    with socket.create_connection(("::1", server.server_port), timeout=10) as connection:
        connection.sendall(f"GET /runs HTTP/1.0\r\nHost: [::1]:{server.server_port}\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.0 200")


@pytest.mark.parametrize("host", ["256.1.1.1", "no.such.host.invalid", "a" * 100, "::1::2"])
def test_a_host_that_is_none_is_said(runs, host):
    with pytest.raises((OSError, ValueError), match=r"can't be listened on|is no address") as refused:
        PageServer(runs, host=host, token="s3cret")
    assert "\n" not in str(refused.value)


def test_a_long_run_comes_in_pages(serving, tmp_path, monkeypatch):
    steps = list(range(0, 400, 10))
    write_small(tmp_path / "a", steps)
    server = serving(tmp_path)
    listed(server)
    whole = json.loads(ask(server, "/run?id=0&after=0")[2])
    assert (whole["payload"]["series"][0]["steps"], whole["more"]) == (steps, False)
    monkeypatch.setattr("headwatch.page.paging.PAGE_SIZE", 3_000)
    pages, cursor, more = [], 0, True
    while more:
        body = ask(server, f"/run?id=0&after={cursor}")[2]
        assert len(body) < 6_000
        page = json.loads(body)
        assert page["cursor"] > cursor
        pages.append(page["payload"])
        cursor, more = page["cursor"], page["more"]
    assert len(pages) > 5
    labels = {series["label"] for series in whole["payload"]["series"]}
    for label in labels:
        parts = [series for page in pages for series in page["series"] if series["label"] == label]
        metrics = {series["metric"] for series in parts}
        for metric in metrics:
            found = [step for series in parts if series["metric"] == metric for step in series["steps"]]
            assert found == steps
    assert cursor == whole["cursor"]


def test_a_page_asks_for_all_pieces_of_a_run(serving, tmp_path, monkeypatch, open_page):
    write_small(tmp_path / "a", range(0, 400, 10))
    monkeypatch.setattr("headwatch.page.paging.PAGE_SIZE", 3_000)
    page = open_page(serving(tmp_path).url)
    wait_until(page, "heads.view.step === 390", seconds=60)
    assert page.evaluate("heads.view.series.steps.length") == 40


def test_a_problem_comes_once_with_the_page_that_it_is_on(serving, tmp_path, monkeypatch):
    folder = write_small(tmp_path / "a", range(0, 200, 10))
    server = serving(tmp_path)
    listed(server)
    before = json.loads(ask(server, "/run?id=0&after=0")[2])["cursor"]
    with (folder / "probes.jsonl").open("ab") as lines:
        lines.write(b"{\n")
    ask(server, f"/run?id=0&after={before}")
    write_small(folder, range(200, 400, 10))
    monkeypatch.setattr("headwatch.page.paging.PAGE_SIZE", 1_000)
    said, cursor, more = [], 0, True
    while more:
        page = json.loads(ask(server, f"/run?id=0&after={cursor}")[2])
        said += [(cursor, problem) for problem in page["payload"]["problems"]]
        cursor, more = page["cursor"], page["more"]
    [(place, problem)] = said
    assert place <= before < cursor
    assert place > 0
    assert "probes.jsonl line" in problem


def test_a_run_that_lost_its_description_is_said(serving, tmp_path, capfd):
    folder = write_small(tmp_path / "a", [0])
    server = serving(tmp_path)
    listed(server)
    (folder / "run.json").unlink()
    status, _, body = ask(server, "/run?id=0&after=0")
    assert (status, b"holds no record" in body) == (404, True)
    assert capfd.readouterr().err == ""


def test_a_folder_that_goes_while_runs_are_looked_for_costs_itself(serving, tmp_path, monkeypatch):
    for name in ("a", "b"):
        write_small(tmp_path / name / "run", [0])
    server, scan = serving(tmp_path), os.scandir

    def gone(directory):
        if directory == tmp_path / "a":
            raise FileNotFoundError(2, "No such file or directory")
        return scan(directory)

    monkeypatch.setattr("headwatch.record.find.os.scandir", gone)
    assert len(listed(server)["runs"]) == 1


def test_no_answer_on_a_usual_run_is_large(serving, tmp_path):
    """10,000 passes of 144 heads are 8 MB, asked for in pieces that are drawn as they come."""
    write_run(tmp_path / "a", passes=120, frames=0, series=3, by_position=False)
    server = serving(tmp_path)
    listed(server)
    body = ask(server, "/run?id=0&after=0")[2]
    assert json.loads(body)["more"]
    assert 200_000 < len(body) < 450_000
