"""What goes into a Trainer says in one line what it asks and when."""

import pytest

from headwatch_callbacks import ActivationPatching, AttentionMaps, GradientImportance, HeadAblation, Trackers
from headwatch_callbacks.hf_trainer import HeadwatchCallback
from headwatch_callbacks.questions import Ablation


@pytest.mark.parametrize(
    ("callback", "said"),
    [
        (HeadAblation("pairs.jsonl"), "HeadAblation('ablation/z/mean/own')"),
        (
            HeadAblation("pairs.jsonl", kind="zero", metric="loss", name="held-out", every_n_train_steps=100),
            "HeadAblation('ablation/z/zero/loss/held-out', every_n_train_steps=100)",
        ),
        (
            ActivationPatching("p.jsonl", site="q", log_spaced=9, before_first=False, at_end=False),
            "ActivationPatching('patching/q/denoise/own', log_spaced=9, before_first=False, at_end=False)",
        ),
        (AttentionMaps("p.jsonl", on_validation=True), "AttentionMaps('patterns', on_validation=True)"),
        (
            GradientImportance(every_n_epochs=2),
            "GradientImportance('gradients', every_n_epochs=2, before_first=False)",
        ),
        (
            Trackers(per_head=True),
            "Trackers(per_head=True, mosaic_every=5, pictures_at_full_rate=100, alerts=False)",
        ),
        (Ablation("pairs.jsonl", metric=["loss", "prob"]), "Ablation('ablation/z/mean/loss+prob')"),
        (
            HeadwatchCallback([AttentionMaps("p.jsonl")], "runs/mine"),
            "HeadwatchCallback([AttentionMaps('patterns')], 'runs/mine')",
        ),
    ],
)
def test_one_line(callback, said):
    assert repr(callback) == said
