"""10,000 passes of one training: memory, open files and hooks stay what they were."""

import gc
import os
from pathlib import Path

import lightning.pytorch as pl
import pytest

from headwatch.record import Record
from headwatch_callbacks import HeadAblation
from tests.matrix import processes
from tests.matrix.lightning_training import trainer_of
from tests.matrix.trace import HOOKS
from tests.matrix.training import Training, data, module_of, seed
from tests.models import random_pairs

PASSES = 10_000


def passes(folder, n):
    """Memory in MB, open files and hooks after a tenth of them and after the last."""
    seed()
    seen = []
    pairs = random_pairs(n=1, length=4, shared=1)
    probe = HeadAblation(
        pairs, metric="loss", every_n_train_steps=1, record=folder / "record", layers=[2], heads=[0]
    )

    class Looks(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, *_):
            if trainer.global_step in (n // 10, n - 1):
                gc.collect()
                hooks = sum(len(getattr(module, kind)) for module in pl_module.modules() for kind in HOOKS)
                memory = (
                    int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
                )
                seen.append((memory, len(os.listdir("/proc/self/fd")), hooks))

    training = Training(dropout=0.0, validated=False)
    trainer = trainer_of(training, [probe, Looks()], folder, n, max_epochs=-1)
    trainer.fit(module_of(training), data(50))
    return seen


@pytest.mark.matrix
def test_ten_thousand_passes_are_flat(tmp_path):
    [seen] = processes.run(passes, tmp_path, PASSES, folder=tmp_path, timeout=850)
    assert len(Record.read(tmp_path / "record").effects) >= PASSES
    (early, files, hooks), (late, files_late, hooks_late) = seen
    assert (files_late, hooks_late) == (files, hooks)
    assert late - early < 20  # MB, of which the allocator takes some: passes that kept 3 kB each would show
    written = [path for path in (tmp_path / "record").rglob("*") if path.is_file()]
    assert len([path for path in written if path.suffix == ".tmp"]) == 0
