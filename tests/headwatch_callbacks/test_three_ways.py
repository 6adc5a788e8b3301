"""One model gives the same answers, bit for bit, under Lightning, under transformers.Trainer and as a checkpoint."""

import copy
import json

import numpy as np
import pytest
from transformers import Trainer, TrainingArguments

from headwatch.record import Record
from headwatch_callbacks import ActivationPatching, AttentionMaps, HeadAblation, record_folder
from headwatch_callbacks.checkpoints.evaluate import EvalJob, EvalQuestions, evaluate, pending_passes
from headwatch_callbacks.hf_trainer import HeadwatchCallback
from tests.headwatch_callbacks.training import QUIET, Language, batches, trainer

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in QUIET]

ABLATION = {"metric": ["loss", "kl"], "given": [(0, 1)], "layers": [1, 2]}
PATCHING = {"site": "post", "neurons": [3, 5], "by_position": True}


def pair_file(folder):
    ids = np.random.default_rng(0).integers(1, 61, size=(5, 6)).tolist()
    file = folder / "pairs.jsonl"
    lines = [
        {"clean": row, "corrupted": [*row[:3], 7, *row[4:]], "answer": 3 + place, "foil": 20 + place}
        for place, row in enumerate(ids)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def probes(file):
    return [
        HeadAblation(str(file), **ABLATION, at_end=False),
        ActivationPatching(str(file), **PATCHING, at_end=False),
        AttentionMaps(str(file), at_end=False),
    ]


def under_lightning(module, file, folder):
    run = trainer(probes(file), folder, max_steps=1)
    run.fit(module, batches(1), batches(1, shuffle=False))
    return Record.read(record_folder(run))


def under_hugging_face(model, file, folder):
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=1,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    watched = HeadwatchCallback(probes(file), folder / "run")
    Trainer(model.train(), arguments, train_dataset=batches(1).dataset, callbacks=[watched]).train()
    return Record.read(folder / "run")


def as_a_checkpoint(model, file, folder):
    model.save_pretrained(folder / "checkpoint-0")
    for names, options in ((("ablation",), ABLATION), (("patching", "patterns"), PATCHING)):
        asked = EvalQuestions(names, file, options=options)
        job = EvalJob((str(folder / "checkpoint-0"),), asked, folder / "run")
        evaluate(job, pending_passes(job), accelerator="cpu")
    return Record.read(folder / "run")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """The records of the three ways, all of one untrained model."""
    folder = tmp_path_factory.mktemp("three_ways")
    file, module = pair_file(folder), Language()
    lightning, hugging_face, checkpoint = module, copy.deepcopy(module.gpt), copy.deepcopy(module.gpt)
    return [
        under_lightning(lightning, file, folder / "lightning"),
        under_hugging_face(hugging_face, file, folder / "hugging_face"),
        as_a_checkpoint(checkpoint, file, folder / "checkpoint"),
    ]


def at_the_start(entries):
    return {entry.label: entry for entry in entries if entry.step <= 0}


def test_effects_are_the_same(records):
    first, *others = (at_the_start(record.effects) for record in records)
    asked = [(entry.probe, entry.metric, entry.mean.shape) for entry in first.values()]
    neurons = ("patching", "logit_diff", (3, 2, 6))
    assert sorted(asked) == [("ablation", "kl", (2, 4)), ("ablation", "loss", (2, 4)), neurons]
    for other in others:
        assert other.keys() == first.keys()
        for label, entry in first.items():
            found = other[label]
            for name in ("probe", "site", "kind", "metric", "exact", "dims", "coords", "n"):
                assert getattr(found, name) == getattr(entry, name), (label, name)
            for name in ("mean", "stderr", "baseline", "clean", "corrupted"):
                assert np.array_equal(getattr(found, name), getattr(entry, name)), (label, name)


def test_scores_are_the_same(records):
    first, *others = (at_the_start(record.scores) for record in records)
    assert list(first) == ["patterns"]
    for other in others:
        assert other.keys() == first.keys()
        scores = other["patterns"].scores
        assert scores.keys() == first["patterns"].scores.keys()
        for name, score in first["patterns"].scores.items():
            assert np.array_equal(scores[name], score, equal_nan=True), name


def test_attention_maps_are_the_same(records):
    first, *others = (record.patterns(step) for record, step in zip(records, (-1, 0, 0), strict=True))
    assert len(first.maps) == 4
    for other in others:
        assert other.tokens == first.tokens
        for found, wanted in zip(other.maps, first.maps, strict=True):
            assert np.array_equal(found, wanted)


def test_the_answers_would_tell_models_apart(records):
    """Else their being the same would say nothing."""
    found = at_the_start(records[0].effects).values()
    for entry in (entry for entry in found if entry.probe == "ablation"):
        assert len(np.unique(entry.mean)) == entry.mean.size
    [patching] = [entry for entry in found if entry.probe == "patching"]
    # The prompts differ at position 3 alone, and what the last layer does before the last position is not read.
    assert np.count_nonzero(patching.mean) == 2 * 2 * 3 + 2
