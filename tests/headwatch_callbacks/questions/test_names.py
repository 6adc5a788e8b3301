"""Names that no series can end in are refused where a probe is made, by every way that makes one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.cli import LightningCLI
from typer.testing import CliRunner

from examples.lightning_cli import RepeatData, RepeatModule
from headwatch_callbacks import ActivationPatching, AttentionMaps, GradientImportance, HeadAblation
from headwatch_callbacks.cli import app
from headwatch_callbacks.questions.question import check_name
from tests.models import random_pairs

OF_LIGHTNING = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")
BAD = [
    "../../x",
    "a/../b",
    "/etc/x",
    "a/",
    "a//b",
    ".",
    "",
    " ",
    "x\\y",
    "a\ud800",
    "a\nb",
    "\x00",
    "x" * 201,
]


@pytest.mark.parametrize("name", BAD, ids=lambda name: ascii(name)[:12])
def test_a_name_that_leads_elsewhere_or_cannot_be_shown_is_refused_in_one_sentence(name):
    with pytest.raises(ValueError, match=r"^name=.*: .*give ") as refused:
        check_name(name)
    said = str(refused.value)
    assert said.encode("utf-8")
    assert "\n" not in said
    assert len(said) < 200


@pytest.mark.parametrize(
    "name", ["held-out", "long prompts", "tasks/ioi", "é", "日本", ".hidden", "a..b", "x" * 200]
)
def test_words_are_names(name):
    check_name(name)


@pytest.mark.parametrize(
    "make",
    [
        lambda: HeadAblation(random_pairs(), name="../../x"),
        lambda: ActivationPatching(random_pairs(), name="../../x"),
        lambda: AttentionMaps(random_pairs(), name="../../x"),
        lambda: GradientImportance(name="../../x"),
    ],
)
def test_every_probe_checks_its_name(make):
    with pytest.raises(ValueError, match=r"name='\.\./\.\./x': give words"):
        make()


@given(st.text(alphabet=st.characters(), max_size=30))
def test_what_is_taken_can_be_written_and_leads_nowhere_else(name):
    try:
        check_name(name)
    except ValueError:
        return
    assert name.encode("utf-8").decode("utf-8") == name
    assert not {"", ".", ".."} & set(name.split("/"))


def test_the_command_line_refuses_it(tmp_path):
    arguments = [
        "eval",
        str(tmp_path),
        "--pairs",
        "pairs.jsonl",
        "--record",
        str(tmp_path / "run"),
        "--name",
        "../../x",
    ]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert "give words that can be shown" in " ".join(result.output.split())
    assert not (tmp_path / "run").exists()


@OF_LIGHTNING
@pytest.mark.parametrize(
    ("line", "said"), [("name: ../../x", "give words"), ("every_n_train_steps: 0", "give 1 or more")]
)
def test_a_yaml_file_is_refused_too(tmp_path, line, said, monkeypatch):
    monkeypatch.setattr("sys.argv", ["x"])
    config = tmp_path / "config.yaml"
    config.write_text(
        "trainer:\n  callbacks:\n    - class_path: headwatch_callbacks.HeadAblation\n"
        f"      init_args:\n        pairs: pairs.jsonl\n        {line}\n"
    )
    arguments = ["--config", str(config), "--trainer.logger=false", "--seed_everything=0"]
    with pytest.raises(ValueError, match=said):
        LightningCLI(RepeatModule, RepeatData, run=False, save_config_callback=None, args=arguments)


@OF_LIGHTNING
@pytest.mark.parametrize("value", ["1.5", ".inf", "true"])
def test_a_yaml_file_with_a_schedule_of_another_type_is_refused(tmp_path, value, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["x"])
    config = tmp_path / "config.yaml"
    config.write_text(
        "trainer:\n  callbacks:\n    - class_path: headwatch_callbacks.HeadAblation\n"
        f"      init_args:\n        pairs: pairs.jsonl\n        every_n_train_steps: {value}\n"
    )
    arguments = ["--config", str(config), "--trainer.logger=false", "--seed_everything=0"]
    with pytest.raises((SystemExit, ValueError)) as refused:
        LightningCLI(RepeatModule, RepeatData, run=False, save_config_callback=None, args=arguments)
    assert "every_n_train_steps" in capsys.readouterr().err + str(refused.value)
