"""The command line, mostly through typer's runner: what it prints, what it writes, how it exits."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from headwatch.ablation import ablate_heads
from headwatch.effects import Effects
from headwatch.prompts.pairs import PromptPairs
from headwatch.record import Record, RecordWriter
from headwatch_callbacks.cli import app
from tests.models import tiny_gpt2

SIZES = {
    "n_layers": 3,
    "n_heads": 4,
    "d_head": 8,
    "d_model": 32,
    "d_mlp": 128,
    "n_positions": 40,
    "d_vocab": 61,
}
LABEL = "ablation/z/mean/loss"


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, (result.output, result.exception)
    return " ".join(result.output.split())


def effects(mean):
    spread = torch.tensor([-0.1, 0.0, 0.1])[:, None, None]
    return Effects(mean + spread, torch.ones(3), None, ("layer", "head"), "z", "mean", "loss")


@pytest.fixture
def record(tmp_path):
    """A record of two passes of an ablation and one of attention scores."""
    folder = tmp_path / "run"
    writer = RecordWriter(folder, name="run", model=SIZES)
    mean = torch.zeros(3, 4)
    mean[2, 1], mean[0, 3] = 2.0, -0.01
    writer.effects(10, 0, "ablation", LABEL, effects(torch.zeros(3, 4)), 0.1)
    writer.effects(20, 0, "ablation", LABEL, effects(mean), 0.1)
    score = torch.arange(12.0).reshape(3, 4) / 100
    scores = dict.fromkeys(("previous_token", "duplicate_token", "induction"), score)
    writer.scores(20, 0, "patterns", scores, 0.1)
    writer.close()
    return folder


@pytest.fixture
def pair_file(tmp_path):
    generator = np.random.default_rng(0)
    file = tmp_path / "pairs.jsonl"
    ids = generator.integers(1, 61, size=(5, 6)).tolist()
    lines = [
        {"clean": row, "corrupted": [*row[:3], 7, *row[4:]], "answer": 3 + place, "foil": 20 + place}
        for place, row in enumerate(ids)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def checkpoint(folder, step, seed=0):
    at = folder / f"checkpoint-{step}"
    tiny_gpt2(seed=seed).save_pretrained(at)
    return at


def test_help_names_every_command():
    shown = run("--help")
    for command in ("eval", "top", "compare", "events", "report", "serve", "export", "pairs"):
        assert f"│ {command} " in shown
    assert "Exit codes" in shown


def test_help_answers_without_torch():
    program = "import sys; from headwatch_callbacks.cli import main; sys.argv[1:] = ['--help']\n"
    program += "try: main()\nexcept SystemExit as end: print(end.code, 'torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip().endswith("0 False")


def test_top_shows_the_strongest_heads_with_their_error_bars(record):
    shown = run("top", record, "-n", "1")
    half = 4.303 * 0.1 / 3**0.5  # Student's t of two degrees of freedom
    assert f"{LABEL}, step 20" in shown
    assert f"L2H1 │ +2 │ {half:.2g} │ ● │" in shown
    assert "● significant: false discovery rate 5 % over 12 cells (Benjamini-Hochberg)" in shown
    assert "0.09" in shown  # its induction score
    assert "L0H3" not in shown


def written(folder, found):
    writer = RecordWriter(folder, name=folder.name, model=SIZES)
    writer.effects(5, 0, "ablation", LABEL, found, 0.1)
    score = torch.arange(12.0).reshape(3, 4) / 100
    writer.scores(
        5, 0, "patterns", dict.fromkeys(("previous_token", "duplicate_token", "induction"), score), 0.1
    )
    writer.close()
    return folder


def test_top_calls_heads_neurons_and_sets_what_they_are(tmp_path):
    spread = torch.tensor([-0.1, 0.0, 0.1])

    def chosen(mean, dims, coords):
        per_pair = mean + spread.reshape(-1, *[1] * mean.ndim)
        return Effects(per_pair, torch.ones(3), None, dims, "z", "mean", "loss", coords=coords)

    heads = chosen(
        torch.tensor([[0.0, 0.0, 4.0, 0.0]]), ("layer", "head"), {"layer": (2,), "head": (0, 1, 2, 3)}
    )
    shown = run("top", written(tmp_path / "heads", heads), "-n", "1")
    assert "│ L2H2 │ +4 │" in shown
    assert "│ 0.10 │ 0.10 │ 0.10 │" in shown  # the scores of head 2 of layer 2, not of layer 0
    neurons = chosen(torch.tensor([[0.0, 1.0]]), ("layer", "neuron"), {"layer": (1,), "neuron": (100, 101)})
    assert "│ L1N101 │ +1 │" in run("top", written(tmp_path / "neurons", neurons), "-n", "1")
    sets = chosen(torch.tensor([1.0]), ("set",), {"set": (((2, 1), (0, 3)),)})
    assert "│ L2H1+L0H3 │ +1 │" in run("top", written(tmp_path / "sets", sets), "-n", "1")


def test_top_marks_nothing_that_chance_does(tmp_path):
    noise = torch.randn(16, 3, 4, generator=torch.Generator().manual_seed(8))
    found = Effects(noise, torch.ones(16), None, ("layer", "head"), "z", "mean", "loss")
    low, high = found.interval()
    assert ((low > 0) | (high < 0)).any()
    assert "│ ● │" not in run("top", written(tmp_path / "noise", found), "-n", "12")


def test_top_of_one_pair_has_no_intervals(tmp_path):
    single = Effects(torch.ones(1, 3, 4), torch.ones(1), None, ("layer", "head"), "z", "mean", "loss")
    shown = run("top", written(tmp_path / "single", single), "-n", "1")
    assert "L0H0 │ +1 │ – │ │" in shown
    assert "over 1 pair; not intervened 1; no intervals from one pair" in shown


def test_top_at_an_earlier_step(record):
    assert "step 10" in run("top", record, "--step", "15")


def test_top_of_a_series_that_is_not_there(record, tmp_path):
    assert f"no effects series 'patching'; its series: {LABEL}" in run(
        "top", record, "--series", "patching", code=1
    )
    assert "holds no record" in run("top", tmp_path / "none", code=1)


def test_export_gives_a_row_a_head_and_pass(record, tmp_path):
    out = tmp_path / "run.csv"
    assert "60 rows" in run("export", record, "-o", out)  # 2 passes and 3 scores of 12 heads
    with out.open() as file:
        rows = list(csv.DictReader(file))
    [strongest] = [
        row for row in rows if row["series"] == LABEL and row["step"] == "20" and row["cell"] == "L2H1"
    ]
    assert float(strongest["value"]) == pytest.approx(2.0)
    assert float(strongest["stderr"]) == pytest.approx(0.1 / 3**0.5)
    assert (strongest["layer"], strongest["head"], strongest["n"]) == ("2", "1", "3")
    half = 4.3027 * 0.1 / 3**0.5  # Student's t for three pairs
    assert [float(strongest[name]) for name in ("low", "high")] == pytest.approx(
        [2 - half, 2 + half], rel=1e-4
    )
    scores = [row for row in rows if (row["series"], row["metric"]) == ("patterns", "induction")]
    assert [float(row["value"]) for row in scores] == pytest.approx([place / 100 for place in range(12)])


def test_export_to_parquet(record, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra headwatch[parquet]")
    run("export", record, "-o", tmp_path / "run.parquet")
    table = parquet.read_table(tmp_path / "run.parquet")
    assert table.num_rows == 60
    assert max(table["value"].to_pylist()) == pytest.approx(2.0)


def test_parquet_without_pyarrow_says_what_to_install(record, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    shown = run("export", record, "-o", tmp_path / "run.parquet", "-f", "parquet", code=1)
    assert "needs pyarrow: pip install 'headwatch[parquet]'" in shown


def test_export_refuses_a_file_that_it_cannot_write(record, tmp_path):
    shown = run("export", record, "-o", tmp_path / "missing" / "run.csv", code=1)
    assert shown.startswith("headwatch: ")
    assert "run.csv can't be written: No such file or directory" in shown


def test_export_refuses_a_format_that_is_not_the_files(record, tmp_path):
    shown = run("export", record, "-o", tmp_path / "run.csv", "-f", "parquet", code=2)
    assert "ends in .csv and format 'parquet' was asked for" in shown.replace("│ ", "").replace(" │", "")
    shown = run("export", record, "-o", tmp_path / "run.xlsx", code=2)
    assert "ends in neither .csv nor .parquet" in shown.replace("│ ", "").replace(" │", "")


def test_report_writes_the_page(record, tmp_path):
    out = tmp_path / "report.html"
    run("report", record, "-o", out)
    assert out.read_text().startswith("<!doctype html>")
    assert "holds no record" in run("report", tmp_path / "none", code=1)


def test_serve_refuses_strangers_without_a_token(tmp_path):
    assert "pass a token" in run("serve", tmp_path, "--host", "0.0.0.0", code=1)


def test_pairs_check_names_each_bad_line(pair_file):
    assert "5 pairs of 6 tokens, all usable" in run("pairs", "check", pair_file)
    with pair_file.open("a") as file:
        file.write('{"clean": [1, 2], "corrupted": [1], "answer": 3, "foil": 4}\nnot json\n')
    shown = run("pairs", "check", pair_file, code=1)
    assert "2 unusable lines" in shown
    assert "│ 6 │" in shown
    assert "│ 7 │ not JSON" in shown


def test_pairs_check_against_a_model(pair_file, tmp_path):
    tiny_gpt2(n_positions=5).config.save_pretrained(tmp_path / "small")
    assert "5 unusable lines" in run("pairs", "check", pair_file, "--model", tmp_path / "small", code=1)


def test_pairs_make_writes_a_file_that_check_takes(tmp_path):
    out = tmp_path / "made.jsonl"
    run("pairs", "make", "--task", "induction", "-n", "7", "--seed", "3", "-o", out)
    assert "7 pairs" in run("pairs", "check", out)
    assert "unknown task 'nonsense'" in run("pairs", "make", "--task", "nonsense", "-o", out, code=2)


def test_eval_writes_what_the_engine_gives_at_each_checkpoints_step(pair_file, tmp_path):
    folders = [checkpoint(tmp_path, 100, seed=1), checkpoint(tmp_path, 20, seed=2)]
    out = tmp_path / "run"
    shown = run("eval", *folders, "--pairs", pair_file, "--metric", "loss", "-o", out, "--accelerator", "cpu")
    assert "6 passes done" in shown
    record = Record.read(out)
    assert {(entry.step, entry.probe) for entry in record.effects} == {
        (step, probe) for step in (20, 100) for probe in ("ablation", "patching")
    }
    wanted = ablate_heads(
        tiny_gpt2(seed=1), PromptPairs.from_jsonl(pair_file, None), kind="mean", metric="loss"
    )
    [found] = [entry for entry in record.effects if (entry.step, entry.probe) == (100, "ablation")]
    assert np.allclose(found.mean, wanted.mean.numpy(), atol=1e-5)


def test_eval_does_nothing_twice_and_goes_on_with_what_is_new(pair_file, tmp_path):
    out, first = tmp_path / "run", checkpoint(tmp_path, 20)
    asked = ["--pairs", pair_file, "--probe", "ablation", "-o", out, "--accelerator", "cpu"]
    run("eval", first, *asked)
    lines = (out / "probes.jsonl").read_bytes()
    assert "1 of 1 passes are in" in run("eval", first, *asked)
    assert (out / "probes.jsonl").read_bytes() == lines
    description = json.loads((out / "run.json").read_text())
    description["model"]["n_new"] = 3  # as a newer headwatch may describe it
    (out / "run.json").write_text(json.dumps(description))
    assert "1 passes done" in run("eval", first, checkpoint(tmp_path, 40, seed=1), *asked)
    assert [entry.step for entry in Record.read(out).effects] == [20, 40]


def test_eval_refuses_to_mix_prompts_in_one_series(pair_file, tmp_path):
    out, first = tmp_path / "run", checkpoint(tmp_path, 20)
    asked = ["--probe", "ablation", "--metric", "loss", "-o", out, "--accelerator", "cpu"]
    run("eval", first, "--pairs", pair_file, *asked)
    shown = run("eval", first, "--task", "induction", "-n", "4", *asked, code=1)
    assert f"has {LABEL} on 5 other prompt pairs: give these passes a name" in shown
    assert "1 passes done" in run(
        "eval", first, "--task", "induction", "-n", "4", "--name", "induction", *asked
    )


def test_eval_of_a_lightning_checkpoint(pair_file, tmp_path):
    state = {"net." + name: value for name, value in tiny_gpt2().state_dict().items()}
    sizes = {"n_layer": 3, "n_head": 4, "n_embd": 32, "vocab_size": 61, "n_positions": 40}
    torch.save({"state_dict": state, "global_step": 77, "hyper_parameters": sizes}, tmp_path / "last.ckpt")
    run("eval", tmp_path / "last.ckpt", "--pairs", pair_file, "--probe", "patterns", "-o", tmp_path / "run")
    assert [entry.step for entry in Record.read(tmp_path / "run").scores] == [77]


def test_two_processes_share_the_checkpoints(pair_file, tmp_path):
    folders = [checkpoint(tmp_path, step, seed=step) for step in (1, 2, 3)]
    out = tmp_path / "run"
    asked = [
        "--pairs",
        str(pair_file),
        "--probe",
        "ablation",
        "--metric",
        "loss",
        "-o",
        str(out),
        "--devices",
        "2",
        "--accelerator",
        "cpu",
    ]
    program = "from headwatch_callbacks.cli import main\nif __name__ == '__main__': main()"
    (tmp_path / "main.py").write_text(program)
    command = [sys.executable, str(tmp_path / "main.py"), "eval", *map(str, folders), *asked]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert ended.returncode == 0, ended.stderr
    found = Record.read(out)
    assert [entry.step for entry in found.effects] == [1, 2, 3]
    for entry in found.effects:
        wanted = ablate_heads(
            tiny_gpt2(seed=entry.step), PromptPairs.from_jsonl(pair_file, None), kind="mean", metric="loss"
        )
        assert np.allclose(entry.mean, wanted.mean.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give the prompts: either --pairs FILE or --task NAME"),
        (["--task", "nonsense"], "unknown task 'nonsense'"),
        (
            ["--task", "ioi", "--probe", "nonsense"],
            "unknown probe 'nonsense'; known: ablation, patterns, patching",
        ),
        (["--task", "ioi", "--probe", "ablation", "--site", "z"], "site can't take effect"),
        (["--task", "ioi", "--kind", "nonsense"], "unknown kind 'nonsense'"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_eval_refuses_usage_that_makes_no_sense(options, said):
    assert said in run("eval", "somewhere", *options, code=2).replace("│ ", "").replace(" │", "")


def test_eval_of_checkpoints_whose_steps_clash(pair_file, tmp_path):
    one, two = checkpoint(tmp_path / "a", 5), checkpoint(tmp_path / "b", 5)
    assert "are both of step 5" in run("eval", one, two, "--pairs", pair_file, "-o", tmp_path / "run", code=1)
    unnamed = tmp_path / "unnamed"
    unnamed.mkdir()
    shown = run("eval", one, unnamed, "--pairs", pair_file, "-o", tmp_path / "run", code=1)
    assert "unnamed does not say its step" in shown


def unreadable(folder, *lines):
    with (folder / "probes.jsonl").open("a") as stream:
        stream.writelines(f"{line}\n" for line in lines)
    return folder


@pytest.mark.parametrize("command", ["top", "export", "events"])
def test_lines_that_cannot_be_read_are_said_and_the_rest_is_shown(record, tmp_path, command):
    unreadable(record, '{"type": "effects", "step": -5}', "{")
    more = ("-o", tmp_path / "x.csv") if command == "export" else ()
    shown = run(command, record, *more, code=3)
    assert f"2 lines of {record}/probes.jsonl could not be read" in shown
    assert "line 4: 'shape' is missing" in shown
    assert "line 5: Expecting" in shown
    if command == "export":
        assert len((tmp_path / "x.csv").read_text().splitlines()) == 1 + 12 * 5
    if command == "top":
        assert "L2H1" in shown


def test_many_lines_that_cannot_be_read_are_counted(record):
    shown = run("top", unreadable(record, *"{" * 30), code=3)
    assert "30 lines of" in shown
    assert "and 25 more" in shown


def test_nothing_but_lines_that_cannot_be_read_is_a_failure_that_says_so(tmp_path):
    RecordWriter(tmp_path / "run", name="run", model=SIZES).close()
    shown = run("top", unreadable(tmp_path / "run", "{"), code=1)
    assert "1 line of" in shown
    assert "has no effects" in shown


def test_a_key_that_is_not_known_is_said_and_no_failure(record):
    shown = run("top", unreadable(record, '{"type": "note", "level": "info", "message": "x", "colour": 1}'))
    assert "the key 'colour' is not known and was left out" in shown


@pytest.mark.parametrize("command", ["top", "export", "events", "report", "compare"])
def test_a_record_of_a_newer_format_is_refused(record, tmp_path, command):
    file = record / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 99}))
    more = {"export": ("-o", tmp_path / "x.csv"), "report": ("-o", tmp_path / "x.html")}
    more["compare"] = ("--from", "10", "--to", "20")
    shown = run(command, record, *more.get(command, ()), code=1)
    assert "is a record of format 99, this headwatch reads up to 2: use a newer headwatch" in shown
    assert not (tmp_path / "x.csv").exists()


def test_top_shows_what_is_no_number_last_and_since_when_the_loss_is_none(tmp_path):
    mean = torch.zeros(3, 4)
    mean[2, 1], mean[0, 0] = 2.0, torch.nan
    with RecordWriter(tmp_path / "run", name="run", model=SIZES) as writer:
        for step, loss in enumerate([1.0, float("nan"), float("inf")], start=5):
            writer.scalars(step, {"train/loss": loss})
        writer.effects(7, 0, "ablation", LABEL, effects(mean), 0.1)
    shown = run("top", tmp_path / "run", "-n", 12)
    assert shown.index("L2H1 │ +2") < shown.index("L0H0 │ NaN │ –")
    assert "1 of 12 effects are no numbers: the loss is not finite since step 6" in shown
    with RecordWriter(tmp_path / "all", name="all", model=SIZES) as writer:
        writer.effects(7, 0, "ablation", LABEL, effects(torch.full((3, 4), torch.nan)), 0.1)
    shown = run("top", tmp_path / "all", "-n", 2)
    assert shown.count("NaN") == 2
    assert "12 of 12 effects are no numbers" in shown
