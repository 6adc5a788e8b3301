"""Questions as objects that know no trainer: what they answer, what they are called, and what they refuse."""

import re

import pytest
import torch

import headwatch as hw
from headwatch.model.find import find_architecture
from headwatch_callbacks.questions import QUESTIONS, Ablation, Attention, Moment, Patching
from headwatch_callbacks.questions.prompt_source import TaskPairs
from headwatch_callbacks.questions.run_pass import no_progress
from tests.compare import effects_are_identical
from tests.models import random_pairs, tiny_gpt2

MODEL = tiny_gpt2()
NETWORK = find_architecture(MODEL)
PAIRS = random_pairs(n=4, length=6)
OF_SETS = hw.PromptPairs.from_pairs(
    [
        hw.PromptPair(clean=(5, 6, 7), corrupted=(5, 6, 8), answer=(20, 21), foil=(30, 31)),
        hw.PromptPair(clean=(9, 4, 2), corrupted=(9, 3, 2), answer=(22, 23), foil=(33, 32)),
    ],
    None,
)
AT = Moment(step=7, epoch=2)


def answers_of(question, progress=no_progress):
    question.prepare(NETWORK)
    with torch.no_grad():
        return list(question.measure(MODEL, AT, progress))


SWEEPS = {
    "ablation": (Ablation, hw.ablate_heads, {}),
    "kind": (Ablation, hw.ablate_heads, {"kind": "zero"}),
    "seed": (Ablation, hw.ablate_heads, {"kind": "resample", "seed": 3}),
    "ablation given": (Ablation, hw.ablate_heads, {"given": [(0, 1), (1, 2)]}),
    "ablation layers and heads": (Ablation, hw.ablate_heads, {"layers": [2, 0], "heads": [3, 1]}),
    "ablation by position": (Ablation, hw.ablate_heads, {"by_position": True}),
    "ablation hooks": (Ablation, hw.ablate_heads, {"engine": "hooks"}),
    "patching": (Patching, hw.patch_activations, {}),
    "site and direction": (Patching, hw.patch_activations, {"site": "resid_pre", "direction": "noise"}),
    "neurons": (Patching, hw.patch_activations, {"site": "post", "neurons": [5, 3], "by_position": True}),
    "patching given": (Patching, hw.patch_activations, {"given": [(1, 2)], "layers": [1]}),
}


@pytest.mark.parametrize(("question", "function", "options"), SWEEPS.values(), ids=SWEEPS)
def test_a_sweep_answers_what_its_function_gives(question, function, options):
    [answer] = answers_of(question(PAIRS, metric="kl", **options))
    effects_are_identical(
        answer.effects, function(MODEL, PAIRS, metric="kl", **options), but_for=("seconds",)
    )


NARROWED = [case for case in SWEEPS if case not in ("ablation", "patching")]


@pytest.mark.parametrize("case", NARROWED)
def test_each_of_those_options_tells_two_answers_apart(case):
    """Else the test above could not see an option that doesn't arrive."""
    _, function, options = SWEEPS[case]
    narrowed = function(MODEL, PAIRS, metric="kl", **options)
    plain = function(MODEL, PAIRS, metric="kl")
    assert narrowed.coords != plain.coords or not torch.equal(narrowed.per_pair, plain.per_pair)


def test_an_answer_says_when_it_was_taken_of_what_and_on_which_pairs():
    [answer] = answers_of(Patching(PAIRS, metric="loss"))
    assert (answer.probe, answer.step, answer.epoch) == ("patching", 7, 2)
    assert answer.label == "patching/z/denoise/loss"
    assert torch.equal(answer.pairs.clean, PAIRS.clean)
    assert torch.equal(answer.pairs.corrupted, PAIRS.corrupted)
    wanted = hw.patch_activations(MODEL, PAIRS, metric="loss")
    assert answer.scalars == {
        "clean": wanted.clean.mean().item(),
        "corrupted": wanted.corrupted.mean().item(),
        "largest_effect": wanted.per_pair.mean(0).abs().max().item(),
    }


def test_attention_answers_what_head_scores_and_attention_patterns_give():
    [answer] = answers_of(Attention(PAIRS, n_maps=2, seed=5))
    wanted = hw.head_scores(MODEL, PAIRS.clean, PAIRS.attention_mask, seed=5).as_dict()
    assert answer.scores.keys() == wanted.keys()
    for name, score in wanted.items():
        assert torch.equal(answer.scores[name].nan_to_num(-7), score.nan_to_num(-7)), name
    maps = hw.attention_patterns(MODEL, PAIRS.clean[:2], PAIRS.attention_mask[:2])
    assert torch.equal(answer.frame.maps, maps)
    assert answer.frame.tokens == PAIRS[:2].tokens
    assert answer.scalars["largest_induction"] == wanted["induction"].max().item()


def test_attention_reads_another_seed_on_other_tokens():
    one, other = (answers_of(Attention(PAIRS, seed=seed))[0] for seed in (0, 5))
    assert not torch.equal(one.scores["induction"], other.scores["induction"])


@pytest.mark.parametrize("question", [Ablation, Patching])
@pytest.mark.parametrize(("pairs", "own"), [(PAIRS, "logit_diff"), (OF_SETS, "prob_diff")], ids=str)
def test_no_metric_is_the_pairs_own(question, pairs, own):
    asked = question(pairs)
    [answer] = answers_of(asked)
    assert asked.labels(NETWORK.sizes) == (answer.label,)
    [wanted] = answers_of(question(pairs, metric=own))
    assert answer.effects.metric == own
    assert answer.label == wanted.label
    assert answer.label.endswith(f"/{own}")
    effects_are_identical(answer.effects, wanted.effects, but_for=("seconds",))


@pytest.mark.parametrize("question", [Ablation, Patching])
def test_several_metrics_are_one_answer_each(question):
    asked = question(PAIRS, metric=["loss", "kl"])
    answers = answers_of(asked)
    assert [answer.effects.metric for answer in answers] == ["loss", "kl"]
    assert tuple(answer.label for answer in answers) == asked.labels(NETWORK.sizes)
    for answer in answers:
        [alone] = answers_of(question(PAIRS, metric=answer.effects.metric))
        assert answer.label == alone.label
        effects_are_identical(answer.effects, alone.effects, but_for=("seconds",))


def test_several_metrics_cost_one_sweep():
    told = []
    answers_of(Ablation(PAIRS, metric=["loss", "kl"]), lambda done, total: told.append((done, total)))
    assert told[-1] == (4, 4)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


QUESTIONS_OF = {
    "ablation": lambda **options: Ablation(PAIRS, **options),
    "patching": lambda **options: Patching(PAIRS, site="q", direction="noise", **options),
    "patterns": lambda **options: Attention(PAIRS, **options),
}
LABELS = {
    "ablation": ("ablation/z/mean/logit_diff",),
    "patching": ("patching/q/noise/logit_diff",),
    "patterns": ("patterns",),
}


def test_these_are_all_questions():
    assert set(QUESTIONS_OF) == set(LABELS) == set(QUESTIONS)


@pytest.mark.parametrize("probe", QUESTIONS_OF)
def test_labels_are_those_of_the_answers(probe):
    question = QUESTIONS_OF[probe]()
    assert question.labels(NETWORK.sizes) == LABELS[probe]
    assert tuple(answer.label for answer in answers_of(question)) == LABELS[probe]
    assert {answer.probe for answer in answers_of(question)} == {probe} == {question.probe}


@pytest.mark.parametrize("probe", QUESTIONS_OF)
def test_a_name_tells_two_questions_apart(probe):
    named = QUESTIONS_OF[probe](name="mine")
    assert named.labels(NETWORK.sizes) == tuple(f"{label}/mine" for label in LABELS[probe])
    assert tuple(answer.label for answer in answers_of(named)) == named.labels(NETWORK.sizes)
    assert named.identity != QUESTIONS_OF[probe]().identity


@pytest.mark.parametrize("probe", QUESTIONS_OF)
def test_the_identity_is_known_before_the_pairs_are_read_and_stays(probe):
    question = QUESTIONS_OF[probe]()
    before = question.identity
    question.prepare(NETWORK)
    assert question.identity == before


@pytest.mark.parametrize("question", [Ablation, Patching, Attention])
def test_the_identity_needs_no_file(question):
    absent = question("no/such/file.jsonl")
    assert absent.identity
    with pytest.raises(FileNotFoundError, match=re.escape("no/such/file.jsonl")):
        absent.prepare(NETWORK)


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "zero"},
        {"metric": "loss"},
        {"metric": ["loss", "kl"]},
        {"given": [(0, 1)]},
        {"layers": [1, 2]},
        {"heads": [0, 3]},
        {"by_position": True},
        {"precision": "bf16"},
    ],
    ids=str,
)
def test_what_makes_another_question_makes_another_identity_and_other_labels(options):
    plain, other = Ablation(PAIRS), Ablation(PAIRS, **options)
    assert plain.identity != other.identity
    assert not set(plain.labels(NETWORK.sizes)) & set(other.labels(NETWORK.sizes))


def test_what_only_changes_how_it_is_computed_leaves_the_series_as_it_is():
    plain = Ablation(PAIRS, metric="loss")
    other = Ablation(PAIRS, metric="loss", batch_size=2, max_tokens_per_batch=64, engine="hooks")
    assert plain.identity == other.identity
    assert plain.labels(NETWORK.sizes) == other.labels(NETWORK.sizes)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Ablation(PAIRS, kind="nonsense"), "unknown kind 'nonsense'; known: zero, mean"),
        (lambda: Ablation(PAIRS, metric="nonsense"), "unknown metric 'nonsense'"),
        (lambda: Ablation(PAIRS, metric=["loss", "nonsense"]), "unknown metric 'nonsense'"),
        (lambda: Ablation(PAIRS, engine="nonsense"), "unknown engine 'nonsense'; known: auto, hooks, exact"),
        (lambda: Ablation(PAIRS, precision="fp8"), "unknown precision 'fp8'; known: bf16"),
        (lambda: Ablation(PAIRS, batch_size=0), "batch_size=0: give 1 or more"),
        (lambda: Ablation(PAIRS, by_position="yes"), "by_position='yes': give True or False"),
        (lambda: Ablation(PAIRS, seed=-1), "seed=-1: give 0 or more"),
        (lambda: Patching(PAIRS, site="nonsense"), "unknown site 'nonsense'; known:"),
        (lambda: Patching(PAIRS, direction="up"), "unknown direction 'up'; known: denoise, noise"),
        (lambda: Attention(PAIRS, n_maps=0), "n_maps=0: give 1 or more"),
        (
            lambda: Ablation(PAIRS, "gpt2"),
            "tokenizer can't take effect: these PromptPairs are tokenised already",
        ),
    ],
)
def test_a_value_that_is_none_for_its_option_is_refused_at_once(make, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)) as refused:
        make()
    assert "\n" not in str(refused.value)


def test_an_option_that_there_is_not_is_refused_at_once():
    with pytest.raises(TypeError, match="unknown option 'depth'; known: layers, heads"):
        Ablation(PAIRS, depth=2)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Ablation(PAIRS, layers=[3]), "layers=[3]: give some of 0 to 2"),
        (lambda: Ablation(PAIRS, heads=[0, 4]), "heads=[0, 4]: give some of 0 to 3"),
        (lambda: Ablation(PAIRS, heads=[1, 1]), "heads=[1, 1]: 1 is named twice"),
        (lambda: Ablation(PAIRS, neurons=[1]), "neurons= has no effect at site='z'"),
        (lambda: Ablation(PAIRS, given=[(5, 0)]), "given: (5, 0) is no (layer, head) of this model"),
        (lambda: Patching(PAIRS, site="post", heads=[1]), "heads= has no effect at site='post'"),
        (lambda: Patching(PAIRS, site="post", neurons=[128]), "neurons=[128]: give some of 0 to 127"),
        (lambda: Patching(PAIRS, seed=3), "seed= has no effect with direction='denoise'"),
        (lambda: Ablation(random_pairs(vocab=99)), "outside the model's vocabulary of 61"),
        (lambda: Attention(TaskPairs("nonsense")), "unknown task 'nonsense'; known:"),
    ],
)
def test_what_only_the_model_and_the_pairs_can_tell_is_refused_before_the_first_pass(make, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)) as refused:
        make().prepare(NETWORK)
    assert "\n" not in str(refused.value)
