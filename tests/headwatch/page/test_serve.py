"""The live server answers its own page on this machine, and nobody else."""

import json

import pytest

from headwatch.page.serve import PageServer
from headwatch.record import RecordWriter
from tests.headwatch.page.browser import ask
from tests.headwatch.page.conftest import wait_until
from tests.headwatch.page.fake_run import HOSTILE, write_pass, write_run


def test_the_page_and_its_data(serving, runs):
    server = serving(runs)
    status, headers, body = ask(server, "/")
    assert (status, headers["X-Content-Type-Options"], headers["Access-Control-Allow-Origin"]) == (
        200,
        "nosniff",
        None,
    )
    assert b"connect-src &#x27;self&#x27;" in body
    assert json.loads(ask(server, "/runs")[2])["runs"] == [{"id": 0, "name": "gpt2-ioi-demo"}]
    first = json.loads(ask(server, "/run?id=0&after=0")[2])
    assert first["payload"]["series"][0]["steps"] == [0, 40, 80]
    again = json.loads(ask(server, f"/run?id=0&after={first['cursor']}")[2])
    assert (again["payload"]["series"], again["cursor"]) == ([], first["cursor"])


def test_only_what_was_appended_is_sent_again(serving, runs):
    server = serving(runs)
    ask(server, "/runs")
    cursor = json.loads(ask(server, "/run?id=0&after=0")[2])["cursor"]
    with RecordWriter(
        runs / "a", name="gpt2-ioi-demo", model={"n_layers": 12, "n_heads": 12, "d_head": 64}
    ) as writer:
        write_pass(writer, 120, 120, (12, 12), [("ablation", "mean", "loss")], 3)
    payload = json.loads(ask(server, f"/run?id=0&after={cursor}")[2])["payload"]
    assert {tuple(series["steps"]) for series in payload["series"]} == {(120,)}


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::2]:80"])
def test_other_hosts_are_refused(serving, runs, host):
    assert ask(serving(runs), "/", Host=host)[0] == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "127.0.0.1", "[::1]:80"])
def test_this_machines_names_are_answered(serving, runs, host):
    assert ask(serving(runs), "/", Host=host)[0] == 200


@pytest.mark.parametrize(
    ("path", "site", "status"),
    [
        ("/", "cross-site", 403),
        ("/runs", "cross-site", 403),
        ("/runs", "same-site", 403),
        ("/", "same-site", 200),
        ("/runs", "same-origin", 200),
        ("/", "none", 200),
    ],
)
def test_requests_from_other_sites_are_refused(serving, runs, path, site, status):
    assert ask(serving(runs), path, Sec_Fetch_Site=site)[0] == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])
def test_only_get_is_answered(serving, runs, method):
    assert ask(serving(runs), "/", method=method)[0] == 405


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/../../../../etc/passwd", 404),
        ("/a/run.json", 404),
        ("/%2e%2e/run.json", 404),
        ("/run?id=../a&after=0", 400),
        ("/run?id=9&after=0", 404),
        ("/run?id=0", 400),
        ("/run?id=-1&after=0", 400),
        ("/frame?id=0&step=0&label=../../run.json", 404),
        ("/frame?id=0&step=7&label=maps", 404),
        ("/findings?id=9", 404),
        ("/findings?id=..", 400),
    ],
)
def test_no_request_reaches_a_file(serving, runs, path, status):
    server = serving(runs)
    ask(server, "/runs")
    assert ask(server, path)[0] == status


def test_a_token_is_asked_of_every_request(serving, runs):
    server = serving(runs, host="0.0.0.0", token="s3cret")
    assert server.url.endswith("/?token=s3cret")
    for path in ("/", "/runs", "/?token=wrong", "/?token="):
        assert ask(server, path)[0] == 403
    assert ask(server, "/?token=s3cret", Host="box.lan")[0] == 200
    assert ask(server, "/runs", Authorization="Bearer s3cret")[0] == 200
    assert ask(server, "/runs?token=s3cret", Authorization="Bearer no")[0] == 403


def test_other_machines_need_a_token(runs):
    with pytest.raises(ValueError, match="pass a token"):
        PageServer(runs, host="0.0.0.0")


def test_a_directory_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no directory"):
        PageServer(tmp_path / "nowhere")


def test_runs_are_found_as_they_appear_and_damaged_ones_left_out(serving, runs, tmp_path):
    server = serving(runs)
    ask(server, "/runs")
    (runs / "broken").mkdir()
    (runs / "broken" / "run.json").write_text("{")
    elsewhere = tmp_path / "elsewhere"
    RecordWriter(elsewhere, name="elsewhere", model={}).close()
    (runs / "linked").symlink_to(elsewhere)
    RecordWriter(runs / "deep" / "b", name=HOSTILE, model={}).close()
    named = json.loads(ask(server, "/runs")[2])["runs"]
    assert sorted(run["name"] for run in named) == sorted(["gpt2-ioi-demo", HOSTILE])
    assert b"<" not in ask(server, "/runs")[2]


def test_a_run_that_a_newer_headwatch_wrote_is_said(serving, runs, open_page):
    (runs / "new").mkdir()
    (runs / "new" / "run.json").write_text('{"format": 3, "name": "new", "model": {}}')
    server = serving(runs)
    [problem] = json.loads(ask(server, "/runs")[2])["problems"]
    assert "is a record of format 3" in problem
    page = open_page(server.url)
    wait_until(page, "document.querySelectorAll('#notes li').length > 0")
    assert page.locator("#notes li").all_text_contents() == [problem]
    (runs / "new" / "run.json").write_text('{"format": 2, "name": "new", "model": {}}')
    wait_until(page, "document.getElementById('notes').hidden")


def test_a_port_that_is_taken_is_said(serving, runs):
    port = serving(runs).server_port
    with pytest.raises(OSError, match=f"127.0.0.1:{port} can't be listened on: Address already in use"):
        PageServer(runs, port=port)


def test_the_page_grows_and_follows_until_the_slider_moves(serving, runs, open_page):
    server = serving(runs)
    page = open_page(server.url)
    wait_until(page, "heads.view.step === 80")
    wait_until(page, "attention.tiles.length > 0")
    model = {"n_layers": 12, "n_heads": 12, "d_head": 64}
    kinds = [("ablation", "mean", "loss")]
    with RecordWriter(runs / "a", name="gpt2-ioi-demo", model=model) as writer:
        write_pass(writer, 120, 120, (12, 12), kinds, 3)
        wait_until(page, "heads.view.step === 120")
        page.locator("#slider").fill("1")
        wait_until(page, "heads.view.step === 40")
        write_pass(writer, 160, 160, (12, 12), kinds, 4)
        wait_until(page, "heads.view.steps.at(-1) === 160")
        assert page.evaluate("heads.view.step") == 40
        page.click("#follow")
        wait_until(page, "heads.view.step === 160")


def test_the_page_waits_for_a_first_run(serving, tmp_path, open_page):
    server = serving(tmp_path)
    page = open_page(server.url)
    assert "No run yet" in page.locator("#heads .empty").inner_text()
    write_run(tmp_path / "a", name=HOSTILE, passes=2, frames=1, prompts=2, series=1, hostile=True)
    wait_until(page, "heads.view.step === 40")
    assert page.evaluate("document.querySelectorAll('img').length") == 0


def test_a_live_page_marks_what_is_more_than_noise(serving, tmp_path, open_page):
    write_run(tmp_path / "a", passes=3, frames=0, series=1, by_position=False, per_pair=True)
    page = open_page(serving(tmp_path).url)
    wait_until(page, "heads.view.step === 80")
    wait_until(page, "heads.view.series.findings.changes.size === 3")
    wait_until(page, "document.getElementById('changes-key').textContent.includes('more than noise')")
    with RecordWriter(tmp_path / "a", name="gpt2-ioi-demo", model={}) as writer:
        write_pass(writer, 120, 120, (12, 12), [("ablation", "mean", "loss")], 3, per_pair=True)
    wait_until(page, "heads.view.series.findings.changes.size === 6")
    assert page.locator("#changes-key").inner_text()
