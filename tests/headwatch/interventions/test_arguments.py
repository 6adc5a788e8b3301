"""Every way of writing an argument is taken, or refused in one sentence that names the argument and the value."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import headwatch as hw
from headwatch.interventions.arguments import as_whole, heads, indices, shown, whole_number
from headwatch.interventions.options import Options
from tests.models import random_pairs, tiny_gpt2

N_LAYERS, N_HEADS = 3, 4
MODEL, PAIRS = tiny_gpt2(), random_pairs(2, 4)

QUESTIONS = {
    "heads": lambda **more: hw.ablate_heads(MODEL, PAIRS, kind="zero", **more),
    "sets": lambda **more: hw.ablate_head_sets(MODEL, PAIRS, [[(0, 1)]], kind="zero", **more),
    "layers": lambda **more: hw.ablate(MODEL, PAIRS, "mlp_out", kind="zero", **more),
    "neurons": lambda **more: hw.ablate(MODEL, PAIRS, "post", kind="zero", **{"neurons": [1, 2], **more}),
    "patching": lambda **more: hw.patch_activations(MODEL, PAIRS, **more),
    "paths": lambda **more: hw.patch_paths(MODEL, PAIRS, **more),
    "attribution": lambda **more: hw.attribute_heads(MODEL, PAIRS, **more),
}


@pytest.mark.parametrize(
    ("layers", "taken"),
    [
        (2, (2,)),
        (np.int64(1), (1,)),
        (torch.tensor(2), (2,)),
        ([2, 0], (2, 0)),
        ((1,), (1,)),
        (range(1, 3), (1, 2)),
        (np.array([0, 2]), (0, 2)),
        (torch.tensor([1, 0]), (1, 0)),
        ([np.int32(1), torch.tensor(0)], (1, 0)),
        (None, (0, 1, 2)),
    ],
)
@pytest.mark.parametrize("question", ["heads", "layers", "patching", "paths", "attribution"])
def test_layers_in_any_form(question, layers, taken):
    assert QUESTIONS[question](layers=layers, engine="hooks").coords["layer"] == taken


@pytest.mark.parametrize(
    "given",
    [
        [(1, 2), (0, 3)],
        ((1, 2), [0, 3]),
        np.array([[1, 2], [0, 3]]),
        torch.tensor([[1, 2], [0, 3]]),
        [np.unravel_index(6, (3, 4)), np.unravel_index(3, (3, 4))],
        [torch.tensor([1, 2]), np.array([0, 3])],
    ],
)
def test_heads_in_any_form(given):
    effects = QUESTIONS["heads"](given=given)
    assert effects.per_pair.equal(QUESTIONS["heads"](given=[(1, 2), (0, 3)]).per_pair)
    assert effects.per_pair[:, 1, 2].abs().max() < 1e-6


def test_numbers_in_any_form():
    expected = QUESTIONS["heads"](batch_size=1, max_tokens_per_batch=8)
    found = QUESTIONS["heads"](
        batch_size=np.int64(1), max_tokens_per_batch=torch.tensor(8), by_position=np.bool_(False)
    )
    assert found.per_pair.equal(expected.per_pair)


REFUSED = [
    ({"layers": []}, r"layers=\[\]: give some of 0 to 2"),
    ({"layers": [1, 1]}, r"layers=\[1, 1\]: 1 is named twice"),
    ({"layers": -1}, "layers=-1: give some of 0 to 2"),
    ({"layers": 3}, "layers=3: give some of 0 to 2"),
    ({"layers": True}, "layers=True: give a list"),
    ({"layers": 1.0}, "layers=1.0: give a list"),
    ({"layers": "2"}, "layers='2': give a list"),
    ({"layers": ["2"]}, r"layers=\['2'\]: give some of 0 to 2"),
    ({"layers": [0.5]}, r"layers=\[0.5\]: give some of 0 to 2"),
    ({"layers": {0, 1}}, r"layers=\{0, 1\}: give a list"),
    ({"layers": [[0, 1]]}, r"layers=\[\[0, 1\]\]: give some of 0 to 2"),
    ({"layers": np.array([0.0, 1.0])}, r"layers=\[0.0, 1.0\]: give some of 0 to 2"),
    ({"layers": torch.tensor([True, False, True])}, r"layers=\[True, False, True\]: give some of 0 to 2"),
    ({"batch_size": 2.5}, "batch_size=2.5: give a whole number"),
    ({"batch_size": True}, "batch_size=True: give a whole number"),
    ({"batch_size": "64"}, "batch_size='64': give a whole number"),
    ({"batch_size": None}, "batch_size=None: give a whole number"),
    ({"batch_size": 0}, "batch_size=0: give 1 or more"),
    ({"max_tokens_per_batch": -5}, "max_tokens_per_batch=-5: give 1 or more"),
    ({"max_tokens_per_batch": 1e3}, "max_tokens_per_batch=1000.0: give a whole number"),
    ({"seed": -1}, "seed=-1: give 0 or more"),
    ({"seed": 2**70}, r"seed=\d+: give less than 2\*\*63"),
    ({"seed": "0"}, "seed='0': give a whole number"),
    ({"by_position": 1}, "by_position=1: give True or False"),
    ({"by_position": "no"}, "by_position='no': give True or False"),
    ({"progress": 5}, "progress=5: give a function"),
    ({"engine": "fast"}, "unknown engine 'fast'; known: auto, hooks, exact"),
    ({"engine": None}, "unknown engine None; known: auto, hooks, exact"),
    ({"precision": "fp8"}, "unknown precision 'fp8'; known: bf16, or None for the model's own"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("question", QUESTIONS)
def test_bad_options_are_one_clear_sentence_in_every_question(question, options, message):
    if question == "sets" and "layers" in options:
        message = "layers= has no effect on sets of heads"
    with pytest.raises(ValueError, match=f"^{message}"):
        QUESTIONS[question](**options)


@pytest.mark.parametrize(
    ("question", "options", "message"),
    [
        ("heads", {"heads": 4}, "heads=4: give some of 0 to 3"),
        ("heads", {"heads": [0, 0]}, r"heads=\[0, 0\]: 0 is named twice"),
        ("neurons", {"neurons": [128]}, r"neurons=\[128\]: give some of 0 to 127"),
        ("heads", {"given": (1, 2)}, r"given: 1 is no \(layer, head\): give heads such as"),
        ("heads", {"given": [(1, 2, 3)]}, r"given: \(1, 2, 3\) is no \(layer, head\)"),
        ("heads", {"given": [(1, 9)]}, r"given: \(1, 9\) is no \(layer, head\) of this model: layers 0 to 2"),
        ("heads", {"given": [(True, 1)]}, r"given: \(True, 1\) is no \(layer, head\)"),
        ("heads", {"given": ["01"]}, r"given: '01' is no \(layer, head\)"),
        ("heads", {"given": [(0, 1), (0, 1)]}, r"given=\[\(0, 1\), \(0, 1\)\]: \(0, 1\) is named twice"),
        ("heads", {"given": None}, "given=None: give a list"),
    ],
)
def test_bad_heads_and_neurons_are_one_clear_sentence(question, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        QUESTIONS[question](**options)


WITHOUT_EFFECT = [
    ("heads", {"neurons": [1]}, "neurons= has no effect at site='z': use site='post' or 'pre'"),
    ("layers", {"heads": [1]}, "heads= has no effect at site='mlp_out': it is replaced layer by layer"),
    ("neurons", {"heads": [1]}, "heads= has no effect at site='post': it is replaced neuron by neuron"),
    ("layers", {"given": [(0, 1)]}, "given= has no effect at site='mlp_out': given heads are replaced at"),
    ("heads", {"seed": 3}, "seed= has no effect with kind='zero': only kind='resample' draws"),
    ("patching", {"seed": 3}, "seed= has no effect with direction='denoise': only kind='resample' draws"),
    ("paths", {"seed": 3}, "seed= has no effect with direction='noise'"),
    ("paths", {"given": [(0, 1)]}, "given= has no effect on paths"),
    ("paths", {"by_position": True}, "by_position= has no effect on paths"),
    ("sets", {"layers": 1}, "layers= has no effect on sets of heads"),
    ("sets", {"heads": 1}, "heads= has no effect on sets of heads"),
    ("sets", {"given": [(0, 1)]}, "given= has no effect on sets of heads"),
    ("sets", {"by_position": True}, "by_position= has no effect on sets of heads"),
    ("sets", {"neurons": 1}, "neurons= has no effect at site='z'"),
    ("attribution", {"max_tokens_per_batch": 9}, "max_tokens_per_batch= has no effect on a first-order"),
    ("attribution", {"engine": "exact"}, "engine='exact' has no effect on a first-order"),
]


@pytest.mark.parametrize(("question", "options", "message"), WITHOUT_EFFECT)
def test_an_option_without_effect_is_refused(question, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        QUESTIONS[question](**options)


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_defaults_may_be_written_out_everywhere(question):
    options = {
        "layers": None, "heads": None, "given": (), "by_position": False, "batch_size": 64, "seed": 0,
        "max_tokens_per_batch": None, "precision": None, "engine": "auto", "progress": None,
    }  # fmt: skip
    assert QUESTIONS[question](**options).per_pair.equal(QUESTIONS[question]().per_pair)


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_option_that_is_none_lists_those_that_are(question):
    with pytest.raises(TypeError, match="unknown option 'layer'; known: layers, heads, neurons, given"):
        QUESTIONS[question](layer=2)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.integers(-3, 5).map(np.int64)
    | st.integers(-3, 5).map(torch.tensor),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=6,
)


def taken_or_refused(function) -> tuple[object, str]:
    """What a function returns, or the sentence with which it refuses."""
    try:
        return function(), ""
    except ValueError as error:
        return None, str(error)


@given(value=anything)
@settings(max_examples=300)
def test_indices_are_whole_numbers_in_range_or_a_sentence(value):
    chosen, sentence = taken_or_refused(lambda: indices("layers", value, N_LAYERS))
    assert bool(chosen) == (sentence == "")
    assert sentence == "" or (sentence.startswith("layers=") and "\n" not in sentence)
    assert all(type(number) is int and 0 <= number < N_LAYERS for number in chosen or ())
    assert len(set(chosen or ())) == len(chosen or ())


@given(value=anything)
@settings(max_examples=300)
def test_heads_are_pairs_of_whole_numbers_or_a_sentence(value):
    chosen, sentence = taken_or_refused(lambda: heads("given", value))
    assert (chosen is None) == bool(sentence)
    assert sentence == "" or (sentence.startswith("given") and "\n" not in sentence)
    assert all(type(layer) is int and type(head) is int for layer, head in chosen or ())


@given(value=anything, name=st.sampled_from(["batch_size", "max_tokens_per_batch", "seed", "by_position"]))
@settings(max_examples=300)
def test_options_are_taken_or_refused_in_a_sentence(value, name):
    taken, sentence = taken_or_refused(lambda: getattr(Options.of({name: value}), name))
    assert sentence == "" or (sentence.startswith(f"{name}=") and "\n" not in sentence)
    assert type(taken) in (int, bool, type(None))
    assert bool(sentence) or taken == value


@given(number=st.integers(-(2**64), 2**64))
def test_a_whole_number_is_itself_in_every_form(number):
    assert as_whole(number) == number
    if -(2**63) <= number < 2**63:
        forms = (np.int64(number), np.array(number), torch.tensor(number))
        assert [as_whole(form) for form in forms] == [number] * 3
    if 1 <= number < 2**63:
        assert whole_number("batch_size", number, at_least=1) == number


def test_a_long_value_is_cut_short():
    assert shown(torch.arange(1000)).startswith("[0, 1, 2")
    assert len(shown(list(range(1000)))) == 80
