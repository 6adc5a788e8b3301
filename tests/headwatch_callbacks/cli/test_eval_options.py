"""The options of `headwatch eval`: each reaches the question, and what is malformed is refused in one sentence."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from headwatch.ablation import ablate_heads
from headwatch.engine.run_sweep import run_sweep
from headwatch.estimates.estimate import estimate_heads
from headwatch.patching import patch_activations
from headwatch.prompts.pairs import PromptPairs
from headwatch.record import Record
from headwatch_callbacks.cli import app
from tests.models import tiny_gpt2


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, (result.output, result.exception)
    return " ".join(result.output.split()).replace("│ ", "").replace(" │", "")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a checkpoint and a file of prompt pairs."""
    folder = tmp_path_factory.mktemp("eval")
    ids = np.random.default_rng(0).integers(1, 61, size=(5, 6)).tolist()
    lines = [
        {"clean": row, "corrupted": [*row[:3], 7, *row[4:]], "answer": 3 + place, "foil": 20 + place}
        for place, row in enumerate(ids)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    tiny_gpt2().save_pretrained(folder / "checkpoint-20")
    return folder


def evaluated(files, out, probe, *options):
    """What `headwatch eval` writes into a new record."""
    asked = ["--pairs", files / "pairs.jsonl", "--probe", probe, "-o", out, "--accelerator", "cpu"]
    run("eval", files / "checkpoint-20", *asked, *options)
    return Record.read(out).effects


ABLATIONS = {
    "layers": (["--layers", "2,0"], {"layers": [2, 0]}),
    "heads": (["--heads", "3, 1"], {"heads": [3, 1]}),
    "given": (["--given", "L0H1,L1H2"], {"given": [(0, 1), (1, 2)]}),
    "by_position": (["--by-position"], {"by_position": True}),
    "kind and seed": (["--kind", "resample", "--seed", "3"], {"kind": "resample", "seed": 3}),
    "all": (
        ["--layers", "1,2", "--heads", "0", "--given", "L0H1", "--by-position", "--kind", "zero"],
        {"layers": [1, 2], "heads": [0], "given": [(0, 1)], "by_position": True, "kind": "zero"},
    ),
}
PATCHINGS = {
    "neurons": (["--site", "post", "--neurons", "5,3"], {"site": "post", "neurons": [5, 3]}),
    "site and direction": (
        ["--site", "resid_pre", "--direction", "noise", "--by-position"],
        {"site": "resid_pre", "direction": "noise", "by_position": True},
    ),
    "given": (["--given", "L1H2", "--layers", "2"], {"given": [(1, 2)], "layers": [2]}),
}


def same(entry, wanted):
    assert (entry.dims, entry.coords) == (wanted.dims, dict(wanted.coords))
    assert (entry.site, entry.kind, entry.metric) == (wanted.site, wanted.kind, wanted.metric)
    assert np.array_equal(entry.mean, wanted.mean.numpy())
    assert np.array_equal(entry.stderr, wanted.stderr.numpy())


@pytest.mark.parametrize(("options", "meant"), ABLATIONS.values(), ids=ABLATIONS)
def test_an_ablation_is_asked_as_the_options_say(files, tmp_path, options, meant):
    [entry] = evaluated(files, tmp_path / "run", "ablation", "--metric", "loss", *options)
    pairs = PromptPairs.from_jsonl(files / "pairs.jsonl", None)
    same(entry, ablate_heads(tiny_gpt2(), pairs, metric="loss", **meant))


@pytest.mark.parametrize(("options", "meant"), PATCHINGS.values(), ids=PATCHINGS)
def test_a_patching_is_asked_as_the_options_say(files, tmp_path, options, meant):
    [entry] = evaluated(files, tmp_path / "run", "patching", "--metric", "kl", *options)
    pairs = PromptPairs.from_jsonl(files / "pairs.jsonl", None)
    same(entry, patch_activations(tiny_gpt2(), pairs, metric="kl", **meant))


@pytest.mark.parametrize(("options", "meant"), ABLATIONS.values(), ids=ABLATIONS)
def test_each_of_these_options_changes_the_answer(files, options, meant):
    """Else the tests above could not see one that doesn't arrive."""
    pairs = PromptPairs.from_jsonl(files / "pairs.jsonl", None)
    plain, other = (ablate_heads(tiny_gpt2(), pairs, metric="loss", **chosen) for chosen in ({}, meant))
    assert plain.coords != other.coords or not np.array_equal(plain.mean, other.mean)


@pytest.mark.parametrize("engine", ["auto", "hooks", "exact"])
def test_the_engine_is_the_one_asked_for(files, tmp_path, monkeypatch, engine):
    asked = []

    def noting(model, pairs, site, kind, metric, options, **rest):
        asked.append(options["engine"])
        return run_sweep(model, pairs, site, kind, metric, options, **rest)

    monkeypatch.setattr("headwatch_callbacks.questions.sweep_question.run_sweep", noting)
    [entry] = evaluated(files, tmp_path / "run", "ablation", "--metric", "loss", "--engine", engine)
    assert asked == [engine]
    pairs = PromptPairs.from_jsonl(files / "pairs.jsonl", None)
    same(entry, ablate_heads(tiny_gpt2(), pairs, metric="loss", engine=engine))


@pytest.mark.parametrize(
    ("probe", "asked", "meant"),
    [
        ("ablation", ["--budget", "0.9"], {"kind": "mean", "budget": 0.9}),
        ("ablation", ["--target-stderr", "50%"], {"kind": "mean", "target_stderr": "50%"}),
        ("patching", ["--target-stderr", "0.2"], {"kind": "denoise", "target_stderr": 0.2}),
    ],
)
def test_an_estimate_is_made_as_the_options_say(files, tmp_path, monkeypatch, probe, asked, meant):
    given = []

    def noting(model, pairs, **options):
        given.append({name: options[name] for name in meant})
        return estimate_heads(model, pairs, **options)

    monkeypatch.setattr("headwatch_callbacks.questions.sweep_question.estimate_heads", noting)
    [entry] = evaluated(files, tmp_path / "run", probe, "--metric", "loss", *asked)
    assert given == [meant]
    assert not entry.exact
    assert entry.n_exact.min() >= 4


def test_sizes_of_batches_change_no_answer(files, tmp_path):
    options = ["--metric", "loss", "--batch-size", "2", "--max-tokens-per-batch", "64"]
    [entry] = evaluated(files, tmp_path / "run", "ablation", *options)
    pairs = PromptPairs.from_jsonl(files / "pairs.jsonl", None)
    wanted = ablate_heads(tiny_gpt2(), pairs, metric="loss")
    assert np.allclose(entry.mean, wanted.mean.numpy(), atol=1e-5)


def test_several_metrics_are_a_series_each(files, tmp_path):
    found = evaluated(files, tmp_path / "run", "ablation", "--metric", "loss", "--metric", "kl")
    assert {(entry.label, entry.metric, entry.step) for entry in found} == {
        ("ablation/z/mean/loss", "loss", 20),
        ("ablation/z/mean/kl", "kl", 20),
    }
    assert len(found) == 2
    pairs = PromptPairs.from_jsonl(files / "pairs.jsonl", None)
    wanted = ablate_heads(tiny_gpt2(), pairs, metric=["loss", "kl"])
    for entry in found:
        same(entry, wanted[entry.metric])


def test_without_a_metric_it_is_the_pairs_own(files, tmp_path):
    [entry] = evaluated(files, tmp_path / "run", "ablation")
    pairs = PromptPairs.from_jsonl(files / "pairs.jsonl", None)
    assert entry.metric == pairs.metric == "logit_diff"
    same(entry, ablate_heads(tiny_gpt2(), pairs))


def test_a_narrowed_question_is_not_asked_twice(files, tmp_path):
    evaluated(files, tmp_path / "run", "ablation", "--given", "L0H1", "--metric", "loss")
    asked = ["--pairs", files / "pairs.jsonl", "--probe", "ablation", "-o", tmp_path / "run"]
    again = ["--given", "L0H1", "--metric", "loss", "--accelerator", "cpu"]
    assert "1 of 1 passes are in" in run("eval", files / "checkpoint-20", *asked, *again)
    assert "1 passes done" in run("eval", files / "checkpoint-20", *asked, *again[2:])
    assert len({entry.label for entry in Record.read(tmp_path / "run").effects}) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--layers", "9-10"], "--layers 9-10: give whole numbers with commas between them, such as 9,10"),
        (["--layers", "1,,2"], "--layers 1,,2: give whole numbers with commas"),
        (["--heads", "L0H1"], "--heads L0H1: give whole numbers with commas"),
        (["--neurons", "-1"], "--neurons -1: give whole numbers with commas"),
        (
            ["--given", "9.6"],
            "--given 9.6: give heads as layer and head with commas between them, such as L9H6",
        ),
        (["--given", "L9H6,"], "--given L9H6,: give heads as layer and head"),
        (["--given", "L9H6L9H9"], "--given L9H6L9H9: give heads as layer and head"),
        (["--engine", "fast"], "unknown engine 'fast'; known: auto, hooks, exact"),
        (["--precision", "fp8"], "unknown precision 'fp8'; known: bf16"),
        (["--metric", "loss", "--metric", "beauty"], "unknown metric 'beauty'; known:"),
        (["--site", "nowhere"], "unknown site 'nowhere'; known:"),
        (["--direction", "up"], "unknown direction 'up'; known: denoise, noise"),
        (
            ["--probe", "ablation", "--neurons", "3"],
            "neurons can't take effect: it belongs to the probe patching",
        ),
        (["--probe", "patterns", "--layers", "1"], "layers can't take effect: it belongs to the probe"),
        (["--batch-size", "0"], "'--batch-size': Input should be greater than or equal to 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_makes_no_sense_is_refused_in_one_sentence(options, said):
    shown = run("eval", "somewhere", "--task", "induction", *options, code=2)
    assert said in shown
    assert "Traceback" not in shown


def test_what_the_model_does_not_have_is_refused_in_one_sentence(files, tmp_path):
    asked = ["--pairs", files / "pairs.jsonl", "--accelerator", "cpu", "--probe", "ablation"]
    out = ["-o", tmp_path / "run"]
    shown = run("eval", files / "checkpoint-20", *asked, *out, "--layers", "1,7", code=1)
    assert "headwatch: layers=[1, 7]: give some of 0 to 2" in shown
    shown = run("eval", files / "checkpoint-20", *asked, *out, "--given", "L7H0", code=1)
    assert "headwatch: given: (7, 0) is no (layer, head) of this model" in shown
    assert not (tmp_path / "run").exists()
