"""When probes run, where their results stand, and what a resumed run and many checkpoints make of it."""

import warnings

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from headwatch.record import Record
from headwatch.record.description import read_description
from headwatch_callbacks import HeadAblation, record_folder
from tests.headwatch_callbacks.lightning_trainer.fit import fit, steps_in
from tests.headwatch_callbacks.training import QUIET, Counting, Language, batches, trainer
from tests.models import random_pairs

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in QUIET]


@pytest.mark.parametrize(
    ("options", "settings", "expected"),
    [
        ({}, {}, [-1, 5]),
        ({"at_end": False}, {}, [-1]),
        ({"before_first": False, "every_n_train_steps": 2}, {}, [1, 3, 5]),
        ({"every_n_train_steps": 4}, {}, [-1, 3, 5]),
        ({"every_n_train_steps": 1, "at_end": False}, {"max_steps": 3}, [-1, 0, 1, 2]),
        (
            {"before_first": False, "every_n_train_steps": 1},
            {"accumulate_grad_batches": 2, "max_steps": 3},
            [0, 1, 2],
        ),
        ({"on_validation": True, "at_end": False, "before_first": False}, {}, [2, 5]),
        (  # after 3 batches of 6, one step was taken: of the first two
            {"on_validation": True, "at_end": False, "before_first": False},
            {"accumulate_grad_batches": 2, "max_steps": 3},
            [0, 2],
        ),
        ({"every_n_epochs": 1, "at_end": False}, {"max_steps": -1, "max_epochs": 2}, [-1, 5, 11]),
        ({"log_spaced": 3}, {"max_steps": 8, "max_epochs": 2}, [-1, 0, 2, 7]),
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
    whole = [-1, 1, 3, 5, 7]
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
        HeadAblation(random_pairs(), kind="zero", metric="loss"),
        HeadAblation(random_pairs(), kind="mean", metric="loss"),
        HeadAblation(random_pairs(), kind="mean", metric="loss", name="again"),
    ]
    run = fit(probes, tmp_path, max_steps=2)
    run.save_checkpoint(tmp_path / "kept.ckpt")
    saved = torch.load(tmp_path / "kept.ckpt", weights_only=True)["callbacks"]
    assert [saved[probe.state_key] for probe in probes] == [
        {"probed_after": 2, "run": read_description(record_folder(run)).id, "record": str(record_folder(run))}
    ] * 3


def test_fast_dev_run_probes_and_writes_nothing(tmp_path):
    probe = Counting()
    run = fit(probe, tmp_path, fast_dev_run=True)
    assert len(probe.weights) == 2
    assert record_folder(run) is None
    assert list(tmp_path.iterdir()) == []
