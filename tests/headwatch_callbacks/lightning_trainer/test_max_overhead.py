"""`max_overhead` in a training: what passes are made of, what the record says, and what is refused."""

import re
import time

import numpy as np
import pytest
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

import headwatch as hw
from headwatch.model.find import find_architecture
from headwatch_callbacks import (
    ActivationPatching,
    AttentionMaps,
    GradientImportance,
    HeadAblation,
    ProbeCallback,
    record_folder,
)
from headwatch_callbacks.hf_trainer import HeadwatchCallback
from headwatch_callbacks.questions import Ablation, Moment
from headwatch_callbacks.questions.attention import Attention
from headwatch_callbacks.questions.fewer_pairs import balanced_subset
from headwatch_callbacks.questions.pass_plan import Plan
from headwatch_callbacks.questions.patching import Patching
from headwatch_callbacks.questions.run_pass import no_progress
from tests.headwatch_callbacks.training import (
    QUIET,
    Counting,
    Language,
    batches,
    differences,
    trained,
    trainer,
)
from tests.models import random_ids, random_pairs, tiny_gpt2

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in QUIET]
PAIRS = random_pairs(n=32, length=6)
STEP, PAIR = 1.0, 0.02  # seconds of a training step, and of the exact sweep of a pair


class Clock:
    """A clock that only training steps and passes move."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """Passes take a fixed time a pair and exact run, and estimates say that they took it."""
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)

    def slow(kind):
        measure = kind.measure

        def measured(self, model, at, progress):
            answers = measure(self, model, at, progress)
            asked = answers[0].pairs
            estimate = getattr(self, "estimate", None)
            share = 1.0 if estimate is None or estimate.budget is None else estimate.budget
            clock.now += PAIR * len(asked) * share
            for answer in answers:
                if estimate is not None and estimate.wanted:
                    object.__setattr__(answer.effects, "cost_by_clock", share)
            return answers

        monkeypatch.setattr(kind, "measure", measured)

    for kind in (Ablation, Patching, Attention):
        slow(kind)
    return clock


class Timed(Language):
    """A training whose steps take a second each."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def training_step(self, batch, batch_idx):
        self.clock.now += STEP
        return super().training_step(batch, batch_idx)


def record_of(probes, folder, clock, **settings):
    torch.manual_seed(0)
    fitted = trainer(probes, folder, **{"max_steps": 60, "max_epochs": None} | settings)
    fitted.fit(Timed(clock), batches(), batches(2, shuffle=False))
    return hw.Record.read(record_folder(fitted))


def test_the_overhead_in_the_record_is_within_the_limit(tmp_path, clock):
    probe = HeadAblation(PAIRS, kind="zero", metric="loss", every_n_train_steps=10, max_overhead=0.05)
    record = record_of([probe], tmp_path, clock)
    overheads = [entry.overhead for entry in record.effects]
    assert overheads[0] is None, "before the first step there is no training time to take a share of"
    assert overheads[-1] <= 0.05
    assert overheads[-1] == pytest.approx(probe.seconds / 60, rel=1e-6)
    first = record.effects[0]
    assert (first.n, first.n_exact.min(), first.exact) == (8, 4, False)
    assert all(entry.n_exact is None or entry.n_exact.min() >= 4 for entry in record.effects)
    assert record.effects[-1].step == 59
    assert any("max_overhead=0.05" in note.message for note in record.notes)


def test_what_was_skipped_is_noted_with_its_steps(tmp_path, clock):
    probe = HeadAblation(PAIRS, kind="zero", metric="loss", every_n_train_steps=1, max_overhead=0.02)
    record = record_of([probe], tmp_path, clock)
    asked = [entry.step for entry in record.effects]
    skipped = [step for step in range(60) if step not in asked]
    [note] = [note.message for note in record.notes if "skipped" in note.message]
    named = ", ".join(map(str, skipped[:20]))
    assert note.endswith(f"skipped {len(skipped)} passes to keep to max_overhead=0.02: after {named}, ...")
    assert record.effects[-1].overhead <= 0.02


def test_probes_that_name_a_limit_share_it(tmp_path, clock):
    options = {"kind": "zero", "every_n_train_steps": 5, "max_overhead": 0.05}
    both = [HeadAblation(PAIRS, metric=metric, **options) for metric in ("loss", "kl")]
    record = record_of(both, tmp_path, clock)
    assert record.effects[-1].overhead <= 0.05
    assert all(probe.seconds / 60 <= 0.025 for probe in both)
    assert {entry.label for entry in record.effects if entry.step > 0} == {
        "ablation/z/zero/loss",
        "ablation/z/zero/kl",
    }


def test_passes_are_of_the_same_pairs_so_that_they_compare(tmp_path, clock):
    probe = HeadAblation(PAIRS, kind="mean", metric="loss", every_n_train_steps=10, max_overhead=0.05)
    record = record_of([probe], tmp_path, clock)
    first, last = record.effects[0].step, record.effects[-1].step
    assert np.isfinite(hw.compare(record, first, last).mean).all()
    assert record.prompts["ablation/z/mean/loss"].total == max(entry.n for entry in record.effects)


def test_what_has_only_exact_answers_is_asked_of_fewer_pairs(tmp_path, clock):
    options = {"by_position": True, "metric": "loss", "every_n_train_steps": 10, "max_overhead": 0.01}
    record = record_of([ActivationPatching(PAIRS, site="resid_pre", **options)], tmp_path, clock)
    assert all(entry.exact for entry in record.effects)
    assert {entry.n for entry in record.effects} <= {8, 16}
    assert record.effects[-1].overhead <= 0.01


def test_attention_maps_stay_those_of_the_same_prompts(tmp_path, clock):
    probe = AttentionMaps(PAIRS, n_maps=2, every_n_train_steps=10, max_overhead=0.02)
    record = record_of([probe], tmp_path, clock)
    tokens = {entry.tokens for entry in record.frames}
    assert tokens == {PAIRS[:2].tokens}
    assert probe.seconds / 60 <= 0.02


def test_a_pass_at_the_end_is_made_and_counted(tmp_path, clock):
    probe = HeadAblation(PAIRS, kind="zero", metric="loss", every_n_train_steps=59, max_overhead=0.05)
    record = record_of([probe], tmp_path, clock)
    assert [entry.step for entry in record.effects] == [-1, 58, 59]
    assert record.effects[-1].overhead <= 0.05


def test_training_is_the_same_bit_for_bit(tmp_path):
    without = trained([], tmp_path / "without").everything()
    probes = [
        HeadAblation(PAIRS, metric="loss", every_n_train_steps=1, max_overhead=0.5),
        ActivationPatching(PAIRS, site="resid_pre", every_n_train_steps=1, max_overhead=0.5),
        AttentionMaps(PAIRS, every_n_train_steps=1, max_overhead=0.5),
    ]
    found = trained(probes, tmp_path / "with").everything()
    assert not list(differences(without, found))


def test_a_limit_says_nothing_about_an_evaluation(tmp_path):
    probe = HeadAblation(PAIRS, metric="loss", max_overhead=0.001)
    validated = trainer([probe], tmp_path)
    validated.validate(Language(), batches(2, shuffle=False))
    [entry] = hw.Record.read(record_folder(validated)).effects
    assert (entry.n, entry.exact, entry.overhead) == (32, True, None)


@pytest.mark.parametrize("limit", [{}, {"max_overhead": 0.05}, {"budget": 0.5}], ids=str)
def test_fast_dev_run_takes_two_pairs(tmp_path, monkeypatch, limit):
    seen = []
    measure = Ablation.measure

    def noting(self, model, at, progress):
        [answer] = measure(self, model, at, progress)
        seen.append((answer.effects.n, answer.effects.exact))
        return [answer]

    monkeypatch.setattr(Ablation, "measure", noting)
    probe = HeadAblation(PAIRS, metric="loss", every_n_train_steps=1, **limit)
    trainer([probe], tmp_path, fast_dev_run=True).fit(Language(), batches(), batches(2, shuffle=False))
    assert set(seen) == {(2, True)}


def test_a_subset_is_balanced_over_tasks_and_within_the_larger_one():
    pairs = hw.PromptPairs.from_pairs(
        [
            hw.PromptPair(
                clean=(5, 6, 7 + i), corrupted=(5, 6, 40 + i), answer=20, foil=30, task=f"task {i % 4}"
            )
            for i in range(16)
        ],
        None,
    )
    eight, four = (balanced_subset(pairs, n) for n in (8, 4))
    assert sorted(eight.tasks) == sorted([f"task {i}" for i in range(4)] * 2)
    assert sorted(set(four.tasks)) == [f"task {i}" for i in range(4)]
    assert set(four.tokens) < set(eight.tokens)
    assert eight.tokens == balanced_subset(pairs, 8).tokens


def test_means_of_a_subset_are_those_of_all_pairs():
    """Else a pass of fewer pairs would be another intervention."""
    model = tiny_gpt2()
    rows = [PAIRS.tokens.index(tokens) for tokens in balanced_subset(PAIRS, 8).tokens]
    for options in ({}, {"by_position": True}):
        question = Ablation(PAIRS, metric="loss", **options)
        question.prepare(find_architecture(model))
        with torch.no_grad():
            [few] = question.reduced(Plan(8, None)).measure(model, Moment(0), no_progress)
        whole = hw.ablate_heads(model, PAIRS, metric="loss", **options).per_pair[rows]
        assert torch.allclose(few.effects.per_pair, whole, atol=1e-5)
        fewer = hw.ablate_heads(model, PAIRS[rows], metric="loss", **options).per_pair
        assert not torch.allclose(few.effects.per_pair, fewer, atol=1e-3)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: HeadAblation(PAIRS, max_overhead=0), "max_overhead=0: give the share of the training time"),
        (lambda: HeadAblation(PAIRS, max_overhead=1), "max_overhead=1: give the share of the training time"),
        (
            lambda: AttentionMaps(PAIRS, max_overhead=-0.1),
            "max_overhead=-0.1: give the share of the training time",
        ),
        (
            lambda: GradientImportance(every_n_train_steps=1, max_overhead=0.05),
            "max_overhead can't take effect: GradientImportance listens to the training's own backward pass",
        ),
        (
            lambda: HeadAblation(PAIRS, max_overhead=0.05, background=True),
            "max_overhead can't take effect with background",
        ),
    ],
)
def test_what_cannot_take_effect_is_refused_at_once(make, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)) as refused:
        make()
    assert "\n" not in str(refused.value)


def test_a_question_of_ones_own_is_asked_or_skipped(tmp_path):
    probe = Counting(every_n_train_steps=1, max_overhead=0.3)
    assert isinstance(probe, ProbeCallback)
    trainer([probe], tmp_path).fit(Language(), batches(), batches(2, shuffle=False))
    assert 1 <= len(probe.weights) <= 7


class TimedSteps(TrainerCallback):
    """Steps of a `transformers.Trainer` that take a second each."""

    def __init__(self, clock):
        self.clock = clock

    def on_step_begin(self, *_, **__):
        self.clock.now += STEP


def test_the_limit_is_kept_under_transformers_trainer(tmp_path, clock):
    probes = [
        HeadAblation(PAIRS, kind="zero", metric="loss", every_n_train_steps=2, max_overhead=0.05),
        ActivationPatching(PAIRS, metric="loss", log_spaced=5, max_overhead=0.05),
    ]
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"),
        max_steps=60,
        per_device_train_batch_size=4,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    data = [{"input_ids": row, "labels": row} for row in random_ids(32, 8)]
    callbacks = [TimedSteps(clock), HeadwatchCallback(probes, tmp_path / "run")]
    Trainer(tiny_gpt2(), arguments, train_dataset=data, callbacks=callbacks).train()
    record = hw.Record.read(tmp_path / "run")
    assert record.effects[-1].overhead <= 0.05
    assert [entry.overhead for entry in record.effects if entry.step == 0] == [None, None]
    assert any("skipped" in note.message and "max_overhead=0.05" in note.message for note in record.notes)
    for label in ("ablation/z/zero/loss", "patching/z/denoise/loss"):
        assert len([entry for entry in record.effects if entry.label == label]) >= 3
