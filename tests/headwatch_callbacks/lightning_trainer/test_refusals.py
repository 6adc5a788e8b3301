"""What stops a run before its first step, what doesn't stop it, and what is left behind when something else does."""

import re

import lightning.pytorch as pl
import pytest

from headwatch.record import Record
from headwatch_callbacks import (
    ActivationPatching,
    AttentionMaps,
    GradientImportance,
    HeadAblation,
    TaskPairs,
    record_folder,
)
from tests.headwatch_callbacks.lightning_trainer.fit import fit
from tests.headwatch_callbacks.training import (
    QUIET,
    Counting,
    CountingQuestion,
    Language,
    Trace,
    batches,
    trainer,
)
from tests.models import random_pairs

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in QUIET]


class UnluckyQuestion(CountingQuestion):
    def measure(self, model, at, progress):
        super().measure(model, at, progress)
        raise RuntimeError("no such luck")


class Unlucky(Counting):
    kind = UnluckyQuestion


def test_a_probe_that_raises_is_warned_about_once_and_training_goes_on(tmp_path):
    probe, trace = Unlucky(every_n_train_steps=1), Trace()
    with pytest.warns(
        UserWarning, match="the probe counting failed before training: RuntimeError: no such luck"
    ) as caught:
        run = fit([trace, probe], tmp_path)
    assert len([w for w in caught if "counting" in str(w.message)]) == 1
    assert len(probe.weights) == 7
    assert len(trace.losses) == 6
    notes = Record.read(record_folder(run)).notes
    assert len(notes) == 7
    assert notes[0].level == "warning"


def test_a_record_that_fails_is_warned_about_once_and_training_goes_on(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("headwatch.record.line_file.os.write", full)
    trace = Trace()
    said = r"could not write counting at step -1 into the record in .* no space left"
    with pytest.warns(UserWarning, match=said) as caught:
        fit([trace, Counting(every_n_train_steps=1)], tmp_path)
    assert len([w for w in caught if "no space" in str(w.message)]) == 1
    assert len(trace.losses) == 6


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda root: HeadAblation(root / "none.jsonl"), "none.jsonl"),
        (lambda root: HeadAblation(_bad_file(root)), r"bad.jsonl:1"),
        (lambda root: HeadAblation(random_pairs(vocab=99)), "outside the model's vocabulary of 61"),
        (lambda root: HeadAblation(random_pairs(), metric="loose"), "loose"),
        (lambda root: HeadAblation(random_pairs(), model="net.gpt"), "model='net.gpt' names no sub-module"),
        (lambda root: ActivationPatching(random_pairs(), site="y"), "y"),
        (
            lambda root: ActivationPatching(random_pairs(lengths=[9, 8, 7, 6, 5]), by_position=True),
            "by_length",
        ),
        (lambda root: ActivationPatching(random_pairs(), neurons=[3]), "neurons"),
        (lambda root: HeadAblation(random_pairs(), precision="fp8"), "unknown precision 'fp8'"),
        (lambda root: HeadAblation(random_pairs(), max_tokens_per_batch=0), "max_tokens_per_batch=0"),
        (lambda root: ActivationPatching(random_pairs(), max_tokens_per_batch=0), "max_tokens_per_batch=0"),
        (lambda root: AttentionMaps(TaskPairs("ioj")), "unknown task 'ioj'"),
        (lambda root: AttentionMaps(TaskPairs("ioi")), "needs tokenizer="),
        (lambda root: Counting(before_first=False, at_end=False), "this probe would never run in fit"),
    ],
)
def test_what_cannot_be_used_stops_the_run_before_its_first_step(make, sentence, tmp_path):
    trace = Trace()
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(sentence)):
        fit([trace, make(tmp_path)], tmp_path)
    assert trace.losses == []


def _bad_file(root):
    (root / "bad.jsonl").write_text("{")
    return root / "bad.jsonl"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: HeadAblation(random_pairs(), kind="denoise"), "unknown kind 'denoise'"),
        (lambda: ActivationPatching(random_pairs(), direction="mean"), "unknown direction 'mean'"),
        (lambda: HeadAblation(random_pairs(), tokenizer="gpt2"), "tokenizer can't take effect"),
        (lambda: AttentionMaps(random_pairs(), n_maps=0), "n_maps=0: give 1 or more"),
    ],
)
def test_arguments_that_cannot_work_are_refused_at_once(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_on_validation_without_validation_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="on_validation=True can't take effect"):
        fit(Counting(on_validation=True), tmp_path, limit_val_batches=0)


def test_log_spaced_needs_a_run_with_an_end(tmp_path):
    with pytest.raises(ValueError, match="log_spaced=4 needs a run of known length"):
        fit(Counting(log_spaced=4), tmp_path, max_steps=-1, max_epochs=-1)


def test_two_probes_of_one_series_are_an_error(tmp_path):
    probes = [Counting(), Counting(every_n_train_steps=3)]
    with pytest.raises(ValueError, match="this Trainer has 2 probes 'counting': tell them apart with name="):
        fit(probes, tmp_path)
    fit([Counting(), Counting(every_n_train_steps=3, name="other")], tmp_path)


def test_two_records_are_an_error(tmp_path):
    probes = [Counting(record="a"), Counting(record="b", name="b")]
    with pytest.raises(
        ValueError, match="the probes of one trainer share a record, and record= names a and b"
    ):
        fit(probes, tmp_path)


def test_a_new_run_in_an_old_record_is_an_error(tmp_path):
    fit(Counting(record=tmp_path / "old"), tmp_path)
    with pytest.raises(ValueError, match="old already holds the record of another run"):
        fit(Counting(record=tmp_path / "old"), tmp_path)


class Crash(pl.Callback):
    def on_train_batch_end(self, *_):
        raise KeyError("crash")


def hooks_on(module):
    return [
        name
        for name, child in module.named_modules()
        if child._forward_hooks or child._forward_pre_hooks or child._backward_hooks
    ]


@pytest.mark.parametrize("more", [[], [Crash()]])
def test_no_hook_is_left_at_the_end_or_after_an_exception(more, tmp_path):
    module = Language()
    probes = [GradientImportance(), HeadAblation(random_pairs()), AttentionMaps(random_pairs())]
    run = trainer([*probes, *more], tmp_path, max_steps=2)
    if more:
        with pytest.raises(KeyError, match="crash"):
            run.fit(module, batches(), batches(2, shuffle=False))
    else:
        run.fit(module, batches(), batches(2, shuffle=False))
    assert hooks_on(module) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda pairs: [HeadAblation(pairs, metric="logit_diff"), HeadAblation(pairs)],
        lambda pairs: [HeadAblation(pairs, metric=["loss", "kl"]), HeadAblation(pairs, metric="loss")],
    ],
    ids=["its own metric and the same by name", "one of several metrics"],
)
def test_two_probes_that_would_write_one_series_are_refused(make, tmp_path):
    with pytest.raises(ValueError, match="two probes write the series ablation/z/mean/lo"):
        fit(make(random_pairs()), tmp_path)


def test_probes_of_other_heads_are_other_series(tmp_path):
    run = fit([HeadAblation(random_pairs()), HeadAblation(random_pairs(), layers=[0])], tmp_path)
    shapes = {entry.label: entry.mean.shape for entry in Record.read(record_folder(run)).effects}
    assert shapes == {"ablation/z/mean/logit_diff": (3, 4), "ablation/z/mean/logit_diff/layers_0": (1, 4)}


def test_a_misspelt_option_is_told_with_the_known_ones():
    with pytest.raises(TypeError, match=r"unknown option 'layrs'; known: .*layers"):
        HeadAblation(random_pairs(), layrs=1)
    with pytest.raises(TypeError, match=r"unknown option 'layers'; known: .*at_end"):
        AttentionMaps(random_pairs(), layers=1)
    with pytest.raises(ValueError, match=r"n_maps=2\.5: give a whole number"):
        AttentionMaps(random_pairs(), n_maps=2.5)
