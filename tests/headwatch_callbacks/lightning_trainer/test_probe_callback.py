"""When probes run, where their results stand, what stops a run and what doesn't."""

import json
import re
import warnings

import lightning.pytorch as pl
import pytest
import pytorch_lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

import headwatch as hw
from headwatch.record import Record
from headwatch_callbacks import (
    ActivationPatching,
    AttentionMaps,
    GradientImportance,
    HeadAblation,
    TaskPairs,
    probe_share,
    record_folder,
)
from tests.headwatch_callbacks.training import QUIET, Counting, Language, Trace, batches, trained, trainer
from tests.models import random_pairs

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in QUIET]


def fit(probe, root, module=None, **settings):
    """Train with a probe and return the trainer."""
    settings = {"val_check_interval": 3, "num_sanity_val_steps": 1} | settings
    run = trainer([probe] if isinstance(probe, pl.Callback) else probe, root, **settings)
    run.fit(module or Language(), batches(), batches(2, shuffle=False))
    return run


def steps_in(run):
    """The x of every result in the record, in the order in which they were written."""
    lines = (record_folder(run) / "probes.jsonl").read_text().splitlines()
    return [line["step"] for line in map(json.loads, lines) if line["type"] == "effects"]


@pytest.mark.parametrize(
    ("options", "settings", "expected"),
    [
        ({}, {}, [0, 5]),
        ({"at_end": False}, {}, [0]),
        ({"before_first": False, "every_n_train_steps": 2}, {}, [1, 3, 5]),
        ({"every_n_train_steps": 4}, {}, [0, 3, 5]),
        (
            {"before_first": False, "every_n_train_steps": 1},
            {"accumulate_grad_batches": 2, "max_steps": 3},
            [0, 1, 2],
        ),
        ({"on_validation": True, "at_end": False, "before_first": False}, {}, [2, 5]),
        ({"every_n_epochs": 1, "at_end": False}, {"max_steps": -1, "max_epochs": 2}, [0, 5, 11]),
        ({"log_spaced": 3}, {"max_steps": 8, "max_epochs": 2}, [0, 1, 3, 7]),
    ],
)
def test_a_probe_runs_on_its_schedule(options, settings, expected, tmp_path):
    run = fit(Counting(**options), tmp_path, **settings)
    assert steps_in(run) == expected


def test_a_probe_after_step_k_shares_its_x_with_the_loss_of_step_k(tmp_path):
    logger = CSVLogger(tmp_path, name="csv")
    probe = Counting(every_n_train_steps=2, before_first=False)
    run = fit(probe, tmp_path, logger=logger, log_every_n_steps=2, accumulate_grad_batches=1)
    rows = (tmp_path / "csv" / "version_0" / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("train/loss")
    at = rows[0].split(",").index("step")
    loss_steps = [int(row.split(",")[at]) for row in rows[1:] if row.split(",")[column]]
    assert steps_in(run) == loss_steps == [1, 3, 5]
    assert list(Record.read(record_folder(run)).scalars["train/loss"].steps) == loss_steps


def test_the_probe_before_the_first_step_sees_the_untrained_model(tmp_path):
    module, probe = Language(), Counting()
    untrained = module.gpt.transformer.wte.weight.detach().clone()
    fit(probe, tmp_path, module)
    assert torch.equal(probe.weights[0], untrained)
    assert torch.equal(probe.weights[1], module.gpt.transformer.wte.weight)
    assert not torch.equal(probe.weights[1], untrained)


def test_validate_and_test_probe_once_at_the_step_of_the_checkpoint(tmp_path):
    checkpoint = tmp_path / "kept.ckpt"
    fit(Counting(), tmp_path / "fit").save_checkpoint(checkpoint)
    for stage in ("validate", "test"):
        probe = Counting(every_n_train_steps=2)
        run = trainer([probe], tmp_path / stage)
        getattr(run, stage)(Language(), batches(2, shuffle=False), ckpt_path=checkpoint, verbose=False)
        assert steps_in(run) == [5]
        assert len(probe.weights) == 1


def test_a_checkpoint_without_callback_states_stands_at_its_step_too(tmp_path):
    checkpoint = tmp_path / "kept.ckpt"
    fit(Counting(), tmp_path / "fit").save_checkpoint(checkpoint, weights_only=True)
    run = trainer([Counting()], tmp_path)
    run.validate(Language(), batches(2, shuffle=False), ckpt_path=checkpoint, verbose=False)
    assert steps_in(run) == [5]


def test_many_checkpoints_make_one_record(tmp_path):
    probe = Counting(every_n_train_steps=2)
    keep = ModelCheckpoint(tmp_path / "kept", every_n_train_steps=2, save_top_k=-1, filename="{step}")
    fit([probe, keep], tmp_path / "fit", enable_checkpointing=True)
    run = trainer([Counting(record=tmp_path / "evaluated"), keep], tmp_path, enable_checkpointing=True)
    for step in (2, 4, 6):
        run.validate(
            Language(),
            batches(2, shuffle=False),
            ckpt_path=tmp_path / "kept" / f"step={step}.ckpt",
            verbose=False,
        )
    assert steps_in(run) == [1, 3, 5]
    assert record_folder(run) == tmp_path / "evaluated"


def test_resuming_repeats_and_loses_no_probe(tmp_path):
    record = tmp_path / "record"
    whole = [0, 1, 3, 5, 7]
    options = {"every_n_train_steps": 2, "at_end": False, "record": record}
    run = fit(Counting(**options), tmp_path, max_steps=4)
    assert steps_in(run) == whole[:3]
    run.save_checkpoint(tmp_path / "kept.ckpt")
    later = trainer([Counting(**options)], tmp_path, max_steps=8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        later.fit(Language(), batches(), batches(2, shuffle=False), ckpt_path=tmp_path / "kept.ckpt")
    assert steps_in(later) == whole


def test_state_is_primitives_and_two_callbacks_of_a_class_have_their_own(tmp_path):
    probes = [
        HeadAblation(random_pairs(), kind="zero"),
        HeadAblation(random_pairs(), kind="mean"),
        HeadAblation(random_pairs(), kind="mean", name="again"),
    ]
    run = fit(probes, tmp_path, max_steps=2)
    run.save_checkpoint(tmp_path / "kept.ckpt")
    saved = torch.load(tmp_path / "kept.ckpt", weights_only=True)["callbacks"]
    assert [saved[probe.state_key] for probe in probes] == [{"probed_after": 2}] * 3


def test_model_checkpoint_can_monitor_a_summary(tmp_path):
    name = "headwatch/patching/z/denoise/logit_diff/clean"
    keep = ModelCheckpoint(tmp_path, monitor=name, every_n_train_steps=2, mode="max", save_top_k=1)
    fit(
        [ActivationPatching(random_pairs(), every_n_train_steps=2), keep], tmp_path, enable_checkpointing=True
    )
    record = Record.read(next((tmp_path / "headwatch_runs").iterdir()))
    best = max(entry.clean for entry in record.effects if entry.step > 0)
    assert keep.best_model_score.item() == pytest.approx(best, abs=1e-6)


def test_fast_dev_run_probes_and_writes_nothing(tmp_path):
    probe = Counting()
    run = fit(probe, tmp_path, fast_dev_run=True)
    assert len(probe.weights) == 2
    assert record_folder(run) is None
    assert list(tmp_path.iterdir()) == []


class Unlucky(Counting):
    def measure(self, model, progress):
        super().measure(model, progress)
        raise RuntimeError("no such luck")


def test_a_probe_that_raises_is_warned_about_once_and_training_goes_on(tmp_path):
    probe, trace = Unlucky(every_n_train_steps=1), Trace()
    with pytest.warns(
        UserWarning, match="the probe counting failed after step 0: RuntimeError: no such luck"
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

    monkeypatch.setattr("headwatch.record.writer.os.write", full)
    trace = Trace()
    with pytest.warns(UserWarning, match="writes nothing more into the record in .* no space left") as caught:
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
        (lambda: AttentionMaps(random_pairs(), prompts=0), "prompts=0 can't take effect"),
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
    with pytest.raises(RuntimeError, match="state_key` must be unique"):
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


def test_every_callback_writes_into_the_one_record_of_its_trainer(tmp_path):
    pairs = random_pairs()
    probes = [
        HeadAblation(pairs),
        ActivationPatching(pairs),
        AttentionMaps(pairs, prompts=2),
        GradientImportance(),
    ]
    run = fit(probes, tmp_path)
    record = Record.read(record_folder(run))
    assert {entry.label for entry in record.effects} == {
        "ablation/z/mean/loss",
        "patching/z/denoise/logit_diff",
    }
    assert {entry.label for entry in record.scores} == {"patterns", "gradients"}
    assert [len(record.patterns(entry.step).maps) for entry in record.frames] == [2, 2]
    assert record.prompts["ablation/z/mean/loss"].total == len(pairs)
    assert record.model["n_heads"] == 4
    assert {"train/loss", "val/loss"} <= set(record.scalars)


def test_effects_in_the_record_are_those_of_the_trained_model(tmp_path):
    from headwatch.ablation import ablate_heads

    module, pairs = Language(), random_pairs()
    run = fit(HeadAblation(pairs, kind="zero"), tmp_path, module)
    found = Record.read(record_folder(run)).effects[-1]
    expected = ablate_heads(module.eval(), pairs, kind="zero", metric="loss").mean
    torch.testing.assert_close(torch.from_numpy(found.mean), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "ask", "question"),
    [
        (
            lambda pairs: HeadAblation(pairs, precision="bf16", max_tokens_per_batch=50),
            lambda model, pairs: hw.ablate_heads(model, pairs, precision="bf16", metric="loss"),
            "ablation/z/mean/loss/bf16",
        ),
        (
            lambda pairs: ActivationPatching(pairs, precision="bf16", max_tokens_per_batch=50),
            lambda model, pairs: hw.patch_activations(model, pairs, precision="bf16"),
            "patching/z/denoise/logit_diff/bf16",
        ),
    ],
)
def test_a_screening_in_bf16_says_so_in_its_name(make, ask, question, tmp_path):
    module, pairs = Language(), random_pairs()
    run = fit(make(pairs), tmp_path, module)
    found = Record.read(record_folder(run)).effects[-1]
    assert found.label == question
    rough = ask(module.eval(), pairs).mean
    torch.testing.assert_close(
        torch.from_numpy(found.mean), rough, rtol=0, atol=0.02 * rough.abs().max().item()
    )


def test_a_loss_that_is_not_logged_is_recorded_as_the_batch_has_it(tmp_path):
    module, trace = Language(), Trace()
    module.log = lambda *_, **__: None
    run = fit(
        [trace, Counting(every_n_train_steps=1)], tmp_path, module, accumulate_grad_batches=2, max_steps=2
    )
    recorded = Record.read(record_folder(run)).scalars["loss"].values
    expected = [2 * trace.losses[1].item(), 2 * trace.losses[3].item()]
    assert list(recorded) == pytest.approx(expected, rel=1e-6)


def test_the_end_of_fit_says_where_the_record_is(tmp_path, caplog):
    probe = Counting()
    run = fit(probe, tmp_path)
    said = [message for message in caplog.messages if "headwatch" in message]
    assert len(said) == 1
    assert f"headwatch report {record_folder(run)}" in said[0]
    assert 0 < probe_share(run) < 1
    assert probe.seconds > 0


def test_probes_run_under_pytorch_lightning_too(tmp_path):
    class Plain(pytorch_lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = Language()

        def training_step(self, batch, batch_idx):
            return self.net.gpt(**batch).loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01)

    run = pytorch_lightning.Trainer(
        max_steps=3,
        callbacks=[HeadAblation(random_pairs()), GradientImportance()],
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    run.fit(Plain(), batches())
    record = Record.read(record_folder(run))
    assert [entry.step for entry in record.effects] == [0, 2]
    assert [entry.step for entry in record.scores] == [2]


def test_the_task_induction_needs_no_tokenizer(tmp_path):
    run = fit(AttentionMaps(TaskPairs("induction", n=4)), tmp_path, max_steps=1)
    assert Record.read(record_folder(run)).prompts["patterns"].total == 4


def test_a_trace_without_probes_is_the_same_twice(tmp_path):
    assert trained([], tmp_path).losses[0] == trained([], tmp_path).losses[0]
