"""`background=True` under Lightning: training as without it, results as in the foreground, and what goes wrong."""

import subprocess
import sys
import textwrap
import types
from itertools import pairwise

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from headwatch.record import Record
from headwatch_callbacks import (
    ActivationPatching,
    AttentionMaps,
    GradientImportance,
    HeadAblation,
    ProbeCallback,
    record_folder,
)
from headwatch_callbacks.lightning_trainer.isolation import preserve_rng
from headwatch_callbacks.lightning_trainer.trainer_run import run_of
from tests.headwatch_callbacks.background.questions import Fails, Says, Waits, Warns
from tests.headwatch_callbacks.lightning_trainer.fit import fit
from tests.headwatch_callbacks.training import QUIET, Language, batches, differences, trained, trainer
from tests.models import random_pairs

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in QUIET]

PAIRS = random_pairs()


def kinds(**options):
    return [
        HeadAblation(PAIRS, kind="resample", metric="loss", **options),
        ActivationPatching(PAIRS, site="q", **options),
        AttentionMaps(PAIRS, **options),
    ]


class OneStepLater(pl.Callback):
    """Waits, after each step that no probe is due at, for what is under way: while it ran, a step was taken."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step % 2 == 1:
            with preserve_rng():  # beartype, which tests run under, draws from Python's own random states
                run_of(trainer).background.collect(wait=True)


def worker_of(trainer):
    [worker] = run_of(trainer).background._workers.values()
    return worker


def record(run):
    return Record.read(record_folder(run))


def values(record):
    effects = {(entry.label, entry.step): entry.mean for entry in record.effects}
    scores = {
        (entry.label, entry.step, name): value
        for entry in record.scores
        for name, value in entry.scores.items()
    }
    return effects | scores


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_results_and_training_are_those_of_the_foreground(precision, tmp_path):
    without = trained([], tmp_path / "none", precision=precision).everything()
    probes = kinds(every_n_train_steps=2, background=True, record=tmp_path / "back")
    found = trained([OneStepLater(), *probes], tmp_path, precision=precision).everything()
    assert list(differences(found, without)) == []
    trained(kinds(every_n_train_steps=2, record=tmp_path / "front"), tmp_path, precision=precision)
    back, front = (Record.read(tmp_path / name) for name in ("back", "front"))
    wanted = values(front)
    assert sorted({key[1] for key in wanted}) == [-1, 1, 3, 5]
    assert values(back).keys() == wanted.keys()
    for key, value in values(back).items():
        np.testing.assert_allclose(value, wanted[key], rtol=0, atol=1e-6, err_msg=str(key))
    assert back.notes == ()


def test_they_differ_from_step_to_step_by_more_than_the_tolerance(tmp_path):
    probe = HeadAblation(PAIRS, kind="resample", metric="loss", every_n_train_steps=2)
    means = [entry.mean for entry in record(fit(probe, tmp_path)).effects]
    assert all(np.abs(one - two).max() > 1e-4 for one, two in pairwise(means))


class Opens(pl.Callback):
    """Lets the waiting question go on when training is over, unless it was killed before."""

    def __init__(self, gate, kill_at=None):
        self.gate, self.kill_at = gate, kill_at

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.kill_at:
            worker_of(trainer)._process.kill()
            worker_of(trainer)._process.wait()

    def on_train_end(self, trainer, pl_module):
        self.gate.touch()


def test_the_end_waits_for_a_pass_and_the_record_counts_those_that_came_meanwhile(tmp_path):
    question = Waits(tmp_path / "gate")
    probe = ProbeCallback(question, every_n_train_steps=1, at_end=False, background=True)
    module = Language()
    first = module.gpt.transformer.wte.weight[0, 0].item()
    run = fit([Opens(question.gate), probe], tmp_path, module)
    [entry] = record(run).scores
    assert entry.step == -1
    assert entry.scores["s"][0, 0] == pytest.approx(first)
    [note] = record(run).notes
    assert note.level == "info"
    assert note.message == "the probe says skipped 6 passes in the background: after 0, 1, 2, 3, 4, 5"


def test_the_pass_at_the_end_is_asked_even_where_all_before_it_were_skipped(tmp_path):
    question = Waits(tmp_path / "gate")
    run = fit([Opens(question.gate), ProbeCallback(question, background=True)], tmp_path)
    assert [entry.step for entry in record(run).scores] == [-1, 5]


def test_probes_that_are_due_at_one_step_share_a_snapshot(tmp_path):
    gate = tmp_path / "gate"
    probes = [
        ProbeCallback(Waits(gate), background=True, at_end=False),
        ProbeCallback(Waits(gate, "other"), background=True, at_end=False),
    ]
    run = fit([Opens(gate), *probes], tmp_path)
    one, two = record(run).scores
    assert {one.label, two.label} == {"says", "says/other"}
    assert one.scores["s"][0, 0] == two.scores["s"][0, 0]
    assert record(run).notes == ()


def test_a_worker_that_is_killed_is_told_once_and_training_goes_on(tmp_path):
    without = trained([], tmp_path / "none").everything()
    question = Waits(tmp_path / "gate")
    probe = ProbeCallback(question, every_n_train_steps=1, background=True, record=tmp_path / "run")
    with pytest.warns(UserWarning, match="in the background died .signal 9.; training goes on") as caught:
        found = trained([Opens(question.gate, kill_at=3), probe], tmp_path).everything()
    assert len([each for each in caught if "died" in str(each.message)]) == 1
    assert list(differences(found, without)) == []
    kept = Record.read(tmp_path / "run")
    assert [entry.step for entry in kept.scores] == [5]
    assert [note.level for note in kept.notes] == ["warning", "info"]
    assert "skipped 7 passes" in kept.notes[1].message


@pytest.mark.parametrize("what", ["a failure", "a warning"])
def test_what_a_pass_says_is_said_here(what, tmp_path):
    question, text = {
        "a failure": (Fails(), "the probe says failed before training: RuntimeError: no such luck; training"),
        "a warning": (Warns(), "a word of warning"),
    }[what]
    with pytest.warns((UserWarning, RuntimeWarning), match=text):
        fit(ProbeCallback(question, at_end=False, background=True), tmp_path)


class LeavesALambda(pl.Callback):
    def setup(self, trainer, pl_module, stage):
        pl_module.gpt.register_forward_hook(lambda *_: None)


def test_a_model_that_can_not_be_pickled_is_asked_in_the_foreground(tmp_path):
    probe = ProbeCallback(Says(), every_n_train_steps=2, background=True)
    with pytest.warns(
        UserWarning, match="background can't take effect for the probe says.*holds up.*lambda"
    ) as told:
        run = fit([LeavesALambda(), probe], tmp_path)
    assert len([each for each in told if "background" in str(each.message)]) == 1
    assert [entry.step for entry in record(run).scores] == [-1, 1, 3, 5]
    assert [note.level for note in record(run).notes] == ["warning"]


def test_what_the_other_process_can_not_import_is_asked_in_the_foreground_from_then_on(tmp_path, monkeypatch):
    here = types.ModuleType("only_here")
    here.OnlyHere = type("OnlyHere", (Says,), {"__module__": "only_here"})
    monkeypatch.setitem(sys.modules, "only_here", here)
    probe = ProbeCallback(here.OnlyHere(), every_n_train_steps=2, background=True)
    with pytest.warns(
        UserWarning, match="the other process found ModuleNotFoundError: No module named 'only"
    ):
        run = fit([OneStepLater(), probe], tmp_path)
    assert [entry.step for entry in record(run).scores] == [1, 3, 5]
    warning, skipped = record(run).notes
    assert warning.message.startswith("background can't take effect for the probe says")
    assert skipped.message == "the probe says skipped 1 pass in the background: after -1"


def test_gradient_importance_beside_it_changes_nothing(tmp_path):
    probe = HeadAblation(PAIRS, metric="loss", background=True, at_end=False)
    run = fit([GradientImportance(every_n_train_steps=1), probe], tmp_path)
    assert [entry.step for entry in record(run).effects] == [-1]
    assert record(run).notes == ()


class Crash(pl.Callback):
    def on_train_batch_end(self, trainer, *_):
        self.worker = worker_of(trainer)._process
        raise KeyError("crash")


def test_a_training_that_crashes_leaves_no_process_behind(tmp_path):
    crash = Crash()
    probe = ProbeCallback(Waits(tmp_path / "never"), background=True)
    with pytest.raises(KeyError, match="crash"):
        fit([crash, probe], tmp_path)
    assert crash.worker.poll() is not None


def test_an_evaluation_is_asked_in_the_foreground(tmp_path):
    probe = HeadAblation(PAIRS, metric="loss", background=True)
    run = trainer([probe], tmp_path)
    run.validate(Language(), batches(2, shuffle=False), verbose=False)
    assert [entry.step for entry in record(run).effects] == [0]
    assert not run_of(run).background.under_way


def test_where_it_can_not_take_effect_it_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="background can't take effect: GradientImportance listens"):
        GradientImportance(background=True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match="background='cuda:1' can't take effect: this machine has 0"):
        fit(HeadAblation(PAIRS, background="cuda:1"), tmp_path)


SCRIPT = """
    import sys
    import lightning.pytorch as pl
    from headwatch.record import Record
    from headwatch_callbacks import HeadAblation, record_folder
    from headwatch_callbacks.lightning_trainer.trainer_run import run_of
    from tests.headwatch_callbacks.training import Language, batches, trainer
    from tests.models import random_pairs

    print("the script runs")
    class Mine(Language): ...
    probe = HeadAblation(random_pairs(), metric="loss", background=True, at_end=False)
    run = trainer([probe], sys.argv[1], max_steps=2)
    run.fit(Mine(), batches(), batches(2, shuffle=False))
    kept = Record.read(record_folder(run))
    print([entry.step for entry in kept.effects], kept.notes)
"""


def test_a_script_without_a_guard_runs_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    path = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(tmp_path)],
        env=path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith(("the script", "["))]
    assert said == ["the script runs", "[-1] ()"]
