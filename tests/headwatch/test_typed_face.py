"""What a type checker says of users' code: every string that is one of a few is checked, and so is every option."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import headwatch as hw
from headwatch.interventions.options import DEFAULTS

QUESTIONS = [
    hw.ablate,
    hw.ablate_heads,
    hw.ablate_head_sets,
    hw.attribute_heads,
    hw.patch_activations,
    hw.patch_paths,
]
WRONG = [
    'hw.ablate_heads(model, pairs, kind="meen")',
    'hw.ablate(model, pairs, "zebra")',
    'hw.ablate_head_sets(model, pairs, [[(9, 6)]], kind="none")',
    'hw.patch_activations(model, pairs, direction="up")',
    'hw.patch_paths(model, pairs, "logit")',
    'hw.patch_paths(model, pairs, [(9, 6)], receiver_input="z")',
    'hw.patch_paths(model, pairs, mlps="thawed")',
    'hw.attribute_heads(model, pairs, target="patch")',
    'hw.attribute_heads(model, pairs, site="mlp_out")',
    'hw.ablate_heads(model, pairs, engine="fast")',
    'hw.ablate_heads(model, pairs, precision="fp8")',
    "hw.ablate_heads(model, pairs, layer=2)",
    "hw.ablate_heads(model, pairs, batch_size=2.5)",
    'hw.ablate_heads(model, pairs, "mean")',
    'hw.ablate_heads(model, pairs, metric=["loss"]).mean',
    'hw.ablate_heads(model, pairs, metric="loss")["loss"]',
]
RIGHT = [
    'hw.ablate_heads(model, pairs, kind="mean", metric="loss", layers=range(3), given=[(9, 6)]).mean',
    'hw.ablate(model, pairs, "post", neurons=torch.tensor([1]), layers=2, engine="hooks").mean',
    'hw.patch_activations(model, pairs, "resid_pre", direction="noise", by_position=True).normalized',
    'hw.patch_paths(model, pairs, [(9, 6)], receiver_input="q", mlps="frozen", precision="bf16").mean',
    'hw.attribute_heads(model, pairs, target="resample", seed=1, metric=["loss", "kl"])["loss"].mean',
]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="needs Unpack")
def test_a_type_checker_refuses_what_is_wrong_and_takes_what_is_right(tmp_path):
    head = [
        "import torch",
        "import headwatch as hw",
        "def ask(model: torch.nn.Module, pairs: hw.PromptPairs) -> None:",
    ]
    program = tmp_path / "program.py"
    program.write_text("\n".join([*head, *(f"    {line}" for line in [*WRONG, *RIGHT])]))
    root = Path(hw.__file__).parents[2]
    command = [sys.executable, "-m", "mypy", "--config-file", str(root / "pyproject.toml"), str(program)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    errors = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line}
    first = len(head) + 1
    assert errors == set(range(first, first + len(WRONG))), done.stdout + done.stderr


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_every_question_takes_one_set_of_options_in_one_order(question):
    parameters = inspect.signature(question).parameters
    names = list(parameters)
    assert names[:2] == ["model", "pairs"]
    assert names[-len(DEFAULTS) :] == list(DEFAULTS)
    assert {name: parameters[name].default for name in DEFAULTS} == dict(DEFAULTS)
    keyword_only = [name for name, each in parameters.items() if each.kind is each.KEYWORD_ONLY]
    site = ["site", "sets", "receivers"] if question is not hw.attribute_heads else []
    assert keyword_only == [name for name in names if name not in ("model", "pairs", *site)]
    assert parameters["metric"].default is None


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_help_describes_every_argument_once(question):
    entries = [
        line.partition(":")[0] for line in inspect.getdoc(question).splitlines() if line.startswith("    ")
    ]
    for name in list(inspect.signature(question).parameters):
        assert entries.count(f"    {name}") == 1, name
