"""What the probes of a trainer leave: one record, summaries that can be monitored, and a word on where it is."""

import pytest
import pytorch_lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

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
from tests.headwatch_callbacks.lightning_trainer.fit import fit
from tests.headwatch_callbacks.training import (
    QUIET,
    Counting,
    Language,
    PytorchLightningLanguage,
    Trace,
    batches,
    trained,
)
from tests.models import random_pairs

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in QUIET]


def test_every_callback_writes_into_the_one_record_of_its_trainer(tmp_path):
    pairs = random_pairs()
    probes = [
        HeadAblation(pairs, metric="loss"),
        ActivationPatching(pairs),
        AttentionMaps(pairs, n_maps=2),
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
    run = fit(HeadAblation(pairs, kind="zero", metric="loss"), tmp_path, module)
    found = Record.read(record_folder(run)).effects[-1]
    expected = ablate_heads(module.eval(), pairs, kind="zero", metric="loss").mean
    torch.testing.assert_close(torch.from_numpy(found.mean), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "ask", "question"),
    [
        (
            lambda pairs: HeadAblation(pairs, metric="loss", precision="bf16", max_tokens_per_batch=50),
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


def test_model_checkpoint_can_monitor_a_summary(tmp_path):
    name = "headwatch/patching/z/denoise/logit_diff/clean"
    keep = ModelCheckpoint(tmp_path, monitor=name, every_n_train_steps=2, mode="max", save_top_k=1)
    fit(
        [ActivationPatching(random_pairs(), every_n_train_steps=2), keep], tmp_path, enable_checkpointing=True
    )
    record = Record.read(next((tmp_path / "headwatch_runs").iterdir()))
    best = max(entry.clean for entry in record.effects if entry.step > 0)
    assert keep.best_model_score.item() == pytest.approx(best, abs=1e-6)


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
    run.fit(PytorchLightningLanguage(), batches())
    record = Record.read(record_folder(run))
    assert [entry.step for entry in record.effects] == [-1, 2]
    assert [entry.step for entry in record.scores] == [2]


def test_the_task_induction_needs_no_tokenizer(tmp_path):
    run = fit(AttentionMaps(TaskPairs("induction", n=4)), tmp_path, max_steps=1)
    assert Record.read(record_folder(run)).prompts["patterns"].total == 4


def test_a_trace_without_probes_is_the_same_twice(tmp_path):
    assert trained([], tmp_path).losses[0] == trained([], tmp_path).losses[0]
