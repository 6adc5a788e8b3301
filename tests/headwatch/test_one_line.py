"""Objects that are typed at a prompt say in one line what they are."""

from dataclasses import fields

import pytest
import torch

import headwatch as hw
from headwatch.effects import Effects
from headwatch.record import RecordWriter
from headwatch.scores.attention_patterns import HeadScores
from tests.models import random_ids, tiny_gpt2


def test_a_hooked_model_and_its_network_say_which_model_it_is_and_how_large():
    model = tiny_gpt2()
    assert repr(hw.find_architecture(model)) == "GPT2(GPT2LMHeadModel, 3 layers × 4 heads)"
    with hw.attach(model) as hooked:
        assert repr(hooked) == "HookedModel(GPT2LMHeadModel, 3 layers × 4 heads)"
    assert repr(hooked) == "HookedModel(GPT2LMHeadModel, 3 layers × 4 heads, its attach() block has ended)"
    assert repr(hw.attach(tiny_gpt2(n_layer=1))) == "HookedModel(GPT2LMHeadModel, 1 layer × 4 heads)"


def test_a_cache_names_the_first_activations_and_counts_the_rest():
    with torch.no_grad(), hw.attach(tiny_gpt2()) as hooked:
        _, cache = hooked.run_with_cache(random_ids(1, 4))
        _, few = hooked.run_with_cache(random_ids(1, 4), names=["z1", "k0"])
    first = "hook_embed, hook_pos_embed, blocks.0.hook_resid_pre, ..."
    assert repr(cache) == f"ActivationCache({len(cache)} activations: {first} and {len(cache) - 3} more)"
    assert repr(few) == "ActivationCache(2 activations: blocks.0.attn.hook_k, blocks.1.attn.hook_z)"


def test_a_metric_says_its_name_and_what_it_reads():
    assert repr(hw.metrics.METRICS["loss"]) == "Metric(name='loss', reads='vocabulary')"
    neuron = hw.metrics.activation("post3", neuron=17)
    assert repr(neuron) == "Metric(name='blocks.3.mlp.hook_post[17]', reads='activation')"


def test_scores_name_the_heads_that_are_most_of_each_kind():
    scores = {field.name: torch.full((2, 3), 0.125) for field in fields(HeadScores)}
    scores["previous_token"][1, 2] = 0.75
    scores["duplicate_token"][0, :] = torch.nan
    scores["duplicate_token"][1, 1] = 0.5
    scores["induction"][:] = torch.nan
    said = "most previous_token L1H2 0.75, duplicate_token NaN, induction NaN"
    assert repr(HeadScores(**scores)) == f"HeadScores(2 layers × 3 heads; {said})"


@pytest.mark.parametrize(
    ("steps", "said"), [((), "0 passes"), ((5,), "1 pass up to step 5"), ((5, 20), "2 passes up to step 20")]
)
def test_a_record_says_its_name_its_place_and_how_far_it_goes(steps, said, tmp_path):
    effects = Effects(torch.ones(2, 1, 2), torch.ones(2), None, ("layer", "head"), "z", "mean", "loss")
    with RecordWriter(tmp_path, name="mine", model={}) as writer:
        for step in steps:
            writer.effects(step, 0, "ablation", "a", effects, 0.1)
    assert repr(hw.Record.read(tmp_path)) == f"Record('mine' in {tmp_path}, {said})"
