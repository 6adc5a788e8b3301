"""Names of activations: taken as what they say, or refused in one sentence."""

from hypothesis import given
from hypothesis import strategies as st

from headwatch.model.activation_names import ALIASES, all_names, resolve
from tests.fuzz.strategies import check_told, hostile_text

KNOWN = {*all_names(200)} | {f"blocks.{layer}.mlp.hook_mid" for layer in range(200)}
WORDS = [
    "z",
    "q",
    "k6",
    "hook_",
    "blocks",
    ".",
    "0",
    "5",
    "-1",
    "attn",
    "mlp",
    "ln1",
    "scale",
    "pattern",
    "ln_final",
    "hook_z",
    "resid_pre",
    "embed",
    "٣",
    "²",
    "_",
]
parts = st.sampled_from([*WORDS, " ", *ALIASES])
names = st.lists(parts, min_size=1, max_size=7).map("".join) | hostile_text | st.sampled_from(sorted(KNOWN))
tuples = st.tuples(names, st.integers(-3, 300)) | st.tuples(names, st.integers(-3, 300), names)


@given(names | tuples)
def test_a_name_is_one_of_the_models_or_is_refused(asked):
    try:
        found = resolve(asked)
    except ValueError as error:
        check_told(error)
        return
    assert resolve(found) == found
    layers = [int(part) for part in found.split(".") if part.isdecimal()]
    assert found in KNOWN or (layers and layers[0] >= 200), found
    text = asked if isinstance(asked, str) else "".join(map(str, asked))
    assert text.isascii(), f"{asked!r} was read as {found}"
