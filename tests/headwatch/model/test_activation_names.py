import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwatch.model.activation_names import act_name, all_names, parse, resolve

ATTENTION = ["q", "k", "v", "z", "attn_scores", "pattern", "result"]
MLP = ["pre", "mid", "post"]
STREAM = ["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"]
# The whole table, written out: short name and layer type of what stands in every layer, by its full name in layer 7.
IN_A_LAYER = {
    **{f"blocks.7.attn.hook_{name}": (name, "attn") for name in ATTENTION},
    **{f"blocks.7.mlp.hook_{name}": (name, "mlp") for name in MLP},
    **{f"blocks.7.hook_{name}": (name, "") for name in STREAM},
    **{
        f"blocks.7.{norm}.hook_{name}": (name, norm)
        for norm in ("ln1", "ln2")
        for name in ("scale", "normalized")
    },
}
ONCE = {
    "hook_embed": "embed",
    "hook_pos_embed": "pos_embed",
    "ln_final.hook_scale": "scale",
    "ln_final.hook_normalized": "normalized",
}


@pytest.mark.parametrize("full", IN_A_LAYER)
def test_a_layers_name_is_found_by_tuple_shorthand_and_itself(full):
    name, layer_type = IN_A_LAYER[full]
    assert act_name(full) == full
    assert act_name(name, 7, layer_type) == resolve((name, 7, layer_type)) == full
    if layer_type not in ("ln1", "ln2"):
        assert act_name(name, 7) == resolve((name, 7)) == resolve(f"{name}7") == full
    if layer_type:
        assert act_name(f"{name}7{layer_type}") == full


@pytest.mark.parametrize("full", ONCE)
def test_a_name_that_stands_once_needs_no_layer(full):
    assert act_name(full) == act_name(ONCE[full]) == full


@pytest.mark.parametrize(
    ("alias", "full"),
    [
        ("attn", "blocks.5.attn.hook_pattern"),
        ("attn_logits", "blocks.5.attn.hook_attn_scores"),
        ("key", "blocks.5.attn.hook_k"),
        ("query", "blocks.5.attn.hook_q"),
        ("value", "blocks.5.attn.hook_v"),
        ("mlp_pre", "blocks.5.mlp.hook_pre"),
        ("mlp_mid", "blocks.5.mlp.hook_mid"),
        ("mlp_post", "blocks.5.mlp.hook_post"),
    ],
)
def test_an_activations_alias(alias, full):
    assert act_name(alias, 5) == resolve(f"{alias}5") == full


@pytest.mark.parametrize(
    ("name", "layer_type", "full"),
    [
        ("k", "a", "blocks.6.attn.hook_k"),
        ("k", "attention", "blocks.6.attn.hook_k"),
        ("pre", "m", "blocks.6.mlp.hook_pre"),
        ("resid_pre", "b", "blocks.6.hook_resid_pre"),
        ("resid_pre", "block", "blocks.6.hook_resid_pre"),
        ("resid_pre", "blocks", "blocks.6.hook_resid_pre"),
    ],
)
def test_a_layer_types_alias(name, layer_type, full):
    assert act_name(name, 6, layer_type) == resolve(f"{name}6{layer_type}") == full


def test_the_parts_of_a_name():
    parts = parse("scale4ln1")
    assert (parts.name, parts.layer, parts.layer_type) == ("scale", 4, "ln1")
    assert parse("embed").layer is None


@pytest.mark.parametrize(
    "nonsense",
    [
        "",
        "zebra",
        "z-1",
        "k6zebra",
        "hook_k",
        "hook_hook_k",
        "hook_embed_",
        "blocks.-1.attn.hook_k",
        "blocks.x.attn.hook_k",
        "blocks.5.attn.hook_hook_k",
        "blocks.5.attn.hook_attn",
        "blocks.5.hook_k",
        "blocks.5.mlp.hook_k",
        "blocks.5.attn.hook_resid_pre",
        "blocks.5.hook_embed",
        "blocks.5.ln_final.hook_scale",
        "ln1.hook_scale",
        "attn.hook_k",
        " blocks.5.attn.hook_k",
        "blocks.5.attn.hook_k\n",
        "blocks.5.attn.hook_k.extra",
    ],
)
def test_nonsense_is_an_error_and_never_a_name(nonsense):
    with pytest.raises(ValueError, match=r"unknown activation|belongs to"):
        act_name(nonsense)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("z",), r"'z' needs a layer, 0 or above, such as \('z', 5\)"),
        (("z", -1), "needs a layer, 0 or above.*layer=-1"),
        (("z", True), "needs a layer.*layer=True"),
        (("z", 5, "m"), "'z' belongs to 'attn', not to layer_type='m'"),
        (("z", 5, "zebra"), "'z' belongs to 'attn', not to layer_type='zebra'"),
        (("z", 5, "b"), "'z' belongs to 'attn', not to layer_type='b'"),
        (("post", 5, "attn"), "'post' belongs to 'mlp', not to layer_type='attn'"),
        (("resid_pre", 5, "attn"), "'resid_pre' belongs to 'the block', not to layer_type='attn'"),
        (("k6m",), "'k' belongs to 'attn', not to layer_type='m'"),
        (("scale", 5), "'scale' in a layer needs layer_type 'ln1' or 'ln2', got None"),
        (("scale5attn",), "'scale' in a layer needs layer_type 'ln1' or 'ln2', got 'attn'"),
        (("scale", None, "ln1"), "'scale' needs a layer"),
        (("embed", 0), "'embed' stands once in the model: it takes no layer=0"),
        (("embed", None, "attn"), "'embed' stands once in the model: .*'attn'"),
        (("blocks.5.attn.hook_k", 6), "unknown activation 'blocks.5.attn.hook_k'"),
    ],
)
def test_contradictory_parts_are_an_error_that_says_what_would_work(arguments, message):
    with pytest.raises(ValueError, match=message):
        act_name(*arguments)


def test_the_error_lists_every_name():
    with pytest.raises(ValueError, match="zebra") as error:
        act_name("zebra", 3)
    for name in [*ATTENTION, *MLP, *STREAM, *ONCE.values()]:
        assert f" {name}," in str(error.value)


def test_all_names_are_the_designs_table_in_the_order_of_a_forward_pass():
    names = all_names(8)
    in_layer_7 = [name for name in names if name.startswith("blocks.7.")]
    assert len(names) == len(set(names)) == 4 + 8 * len(in_layer_7)
    assert set(in_layer_7) | {"blocks.7.mlp.hook_mid"} == set(IN_A_LAYER)
    assert names[:2] + names[-2:] == list(ONCE)
    order = ["resid_pre", "q", "pattern", "z", "attn_out", "resid_mid", "post", "mlp_out", "resid_post"]
    places = [in_layer_7.index(act_name(name, 7)) for name in order]
    assert places == sorted(places)


@given(st.sampled_from([*IN_A_LAYER, *ONCE]), st.integers(0, 10**6))
def test_a_full_name_survives_being_taken_apart(in_layer_7, layer):
    full = in_layer_7.replace("blocks.7.", f"blocks.{layer}.")
    parts = parse(full)
    assert parts.full == full
    assert parse(parts.name, parts.layer, parts.layer_type or None) == parts


@given(st.text(max_size=30))
def test_any_text_is_a_name_or_a_value_error(text):
    try:
        full = act_name(text)
    except ValueError:
        return
    assert act_name(full) == full
