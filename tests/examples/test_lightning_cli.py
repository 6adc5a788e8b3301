"""The LightningCLI example, at a tiny size, from its own YAML file."""

from pathlib import Path

import pytest
from lightning.pytorch.cli import LightningCLI

from examples.lightning_cli import RepeatData, RepeatModule
from headwatch.record import Record
from headwatch_callbacks import record_folder
from tests.headwatch_callbacks.training import QUIET

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = [
    *(pytest.mark.filterwarnings(f"ignore:.*{text}") for text in QUIET),
    # Lightning 2.6 calls jsonargparse by names that it has deprecated.
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
]


@pytest.fixture(autouse=True)
def _own_arguments(monkeypatch):
    monkeypatch.setattr("sys.argv", ["lightning_cli.py"])


def run(*arguments):
    return LightningCLI(RepeatModule, RepeatData, save_config_callback=None, args=list(arguments))


def test_the_example_trains_and_every_probe_writes(tmp_path):
    cli = run(
        *("fit", "--config", str(EXAMPLES / "lightning_cli.yaml")),
        *("--trainer.max_steps=4", f"--trainer.default_root_dir={tmp_path}", "--data.rows=256"),
        *(
            "--trainer.logger=false",
            "--trainer.enable_progress_bar=false",
            "--trainer.enable_model_summary=false",
        ),
    )
    record = Record.read(record_folder(cli.trainer))
    assert {entry.label for entry in record.effects} == {
        "ablation/z/mean/logit_diff",
        "patching/z/denoise/logit_diff",
    }
    assert {entry.label for entry in record.scores} == {"patterns", "gradients"}


def test_a_misspelt_argument_is_refused(tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text(
        "trainer:\n  callbacks:\n    - class_path: headwatch_callbacks.HeadAblation\n"
        "      init_args:\n        pairs: pairs.jsonl\n        evry_n_train_steps: 3\n"
    )
    with pytest.raises(SystemExit):
        run("fit", "--config", str(config))
    assert "evry_n_train_steps" in capsys.readouterr().err


def test_a_file_and_a_tokenizer_can_be_named(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(
        "trainer:\n  callbacks:\n    - class_path: headwatch_callbacks.ActivationPatching\n"
        "      init_args:\n        pairs: pairs.jsonl\n        tokenizer: gpt2\n        neurons: [1, 2]\n"
        "        site: post\n        metric: [logit_diff, kl]\n        model: net.gpt\n"
        "        record: there\n        name: mine\n"
        "        on_validation: true\n"
    )

    cli = LightningCLI(
        RepeatModule,
        RepeatData,
        run=False,
        save_config_callback=None,
        args=[
            "--config",
            str(config),
            "--seed_everything=0",
            "--trainer.logger=false",
            "--trainer.enable_checkpointing=false",
        ],
    )
    probe = next(each for each in cli.trainer.callbacks if type(each).__name__ == "ActivationPatching")
    assert (probe.label, probe.model, str(probe.record)) == (
        "patching/post/denoise/logit_diff+kl/neurons_1+2/mine",
        "net.gpt",
        "there",
    )
    assert (str(probe.question.source.pairs), probe.question.source.tokenizer) == ("pairs.jsonl", "gpt2")
    assert list(probe.question.options["neurons"]) == [1, 2]
    assert probe.schedule.on_validation
