import math

import numpy as np
import pytest
import torch
from torch import Tensor

from headwatch.scores import attention_patterns as patterns
from tests.models import random_ids, tiny_gpt2


def one_head(rows: Tensor) -> Tensor:
    """Maps of one prompt, one layer, one head."""
    return rows.float()[None, None, None]


def causal_uniform(size: int) -> Tensor:
    rows = torch.ones(size, size).tril()
    return rows / rows.sum(-1, keepdim=True)


def looking_back(size: int, offset: int) -> Tensor:
    """Every query puts all its weight on the key `offset` before it, or on the first."""
    rows = torch.zeros(size, size)
    for query in range(size):
        rows[query, max(query - offset, 0)] = 1.0
    return rows


def random_maps(prompts: int, size: int, layers: int = 2, heads: int = 3) -> Tensor:
    scores = torch.randn(prompts, layers, heads, size, size, generator=torch.Generator().manual_seed(3))
    hidden = ~torch.ones(size, size, dtype=torch.bool).tril()
    return scores.masked_fill(hidden, -torch.inf).softmax(-1)


def test_a_previous_token_head_scores_one() -> None:
    scores = patterns.scores_of_maps(one_head(looking_back(8, 1)), torch.arange(8)[None])
    assert scores.previous_token.item() == 1.0
    assert scores.entropy.item() == 0.0
    assert scores.max_weight.item() == 1.0
    assert scores.first_token.item() == pytest.approx(
        1 / 7
    )  # only the second query's previous token is the first


@pytest.mark.parametrize(("offset", "name"), [(5, "duplicate_token"), (4, "induction")])
def test_planted_heads_on_a_doubled_sequence(offset: int, name: str) -> None:
    ids = patterns.doubled_sequences(1, 5, d_vocab=50)
    scores = patterns.scores_of_maps(one_head(looking_back(10, offset)), ids).as_dict()
    assert scores[name].item() == 1.0
    assert {other: value.item() for other, value in scores.items() if value.item() == 1.0}.keys() == {
        name,
        "max_weight",
    }


def test_uniform_attention_in_closed_form() -> None:
    size, length = 12, 6
    scores = patterns.scores_of_maps(
        one_head(causal_uniform(size)), patterns.doubled_sequences(1, length, d_vocab=30)
    )
    each = [1 / (query + 1) for query in range(1, size)]
    second_half = sum(1 / (query + 1) for query in range(length, size)) / length
    assert scores.previous_token.item() == pytest.approx(np.mean(each))
    assert scores.first_token.item() == pytest.approx(np.mean(each))
    assert scores.max_weight.item() == pytest.approx(np.mean(each))
    assert scores.duplicate_token.item() == pytest.approx(second_half)
    assert scores.induction.item() == pytest.approx(second_half)
    assert scores.entropy.item() == pytest.approx(np.mean([math.log(query + 1) for query in range(1, size)]))


def loop_scores(maps: Tensor, ids: Tensor, lengths: list[int]) -> dict[str, np.ndarray]:
    """The same scores, one prompt, head and query at a time."""
    n_prompts, n_layers, n_heads = maps.shape[:3]
    names = ("previous_token", "duplicate_token", "induction", "entropy", "first_token", "max_weight")
    found = {name: np.zeros((n_layers, n_heads)) for name in names}
    for layer in range(n_layers):
        for head in range(n_heads):
            seen: dict[str, list[float]] = {name: [] for name in names}
            for prompt in range(n_prompts):
                for query in range(1, lengths[prompt]):
                    row = maps[prompt, layer, head, query].double().numpy()
                    seen["previous_token"].append(row[query - 1])
                    seen["entropy"].append(-sum(w * math.log(w) for w in row if w > 0))
                    seen["first_token"].append(row[0])
                    seen["max_weight"].append(max(row))
                    copies = [key for key in range(query) if ids[prompt, key] == ids[prompt, query]]
                    if copies:
                        seen["duplicate_token"].append(sum(row[key] for key in copies))
                        seen["induction"].append(sum(row[key + 1] for key in copies))
            for name in names:
                found[name][layer, head] = np.mean(seen[name])
    return found


def test_scores_equal_loops_over_real_tokens_only() -> None:
    lengths = [9, 4, 7]
    ids = random_ids(3, 9, vocab=4)
    mask = (torch.arange(9) < torch.tensor(lengths)[:, None]).long()
    maps = random_maps(3, 9)
    maps = maps * mask[:, None, None, :, None]
    scores = patterns.scores_of_maps(maps, ids, mask).as_dict()
    for name, expected in loop_scores(maps, ids, lengths).items():
        np.testing.assert_allclose(scores[name].numpy(), expected, atol=1e-6, err_msg=name)


def test_what_padding_holds_changes_no_score() -> None:
    mask = (torch.arange(9) < torch.tensor([9, 5])[:, None]).long()
    ids, model = random_ids(2, 9, vocab=6), tiny_gpt2()
    other = torch.where(mask.bool(), ids, 60 - ids)
    scores = [patterns.head_scores(model, tokens, mask).as_dict() for tokens in (ids, other)]
    for name, value in scores[0].items():
        torch.testing.assert_close(value, scores[1][name], msg=name)


def test_no_repeated_token_is_nan_not_zero() -> None:
    scores = patterns.scores_of_maps(one_head(causal_uniform(5)), torch.arange(5)[None])
    assert scores.duplicate_token.isnan().all()
    assert scores.induction.isnan().all()
    assert not scores.previous_token.isnan().any()


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_patterns_equal_the_models_own_eager_attentions(implementation: str) -> None:
    ids = random_ids(3, 11)
    mask = (torch.arange(11) < torch.tensor([11, 6, 8])[:, None]).long()
    model = tiny_gpt2(attn_implementation=implementation, scale_attn_by_inverse_layer_idx=True)
    oracle = tiny_gpt2(attn_implementation="eager", scale_attn_by_inverse_layer_idx=True)
    oracle.load_state_dict(model.state_dict())
    expected = torch.stack(oracle(ids, attention_mask=mask, output_attentions=True).attentions, dim=1)
    maps = patterns.attention_patterns(model, ids, mask)
    real = mask.bool()
    for prompt in range(3):
        torch.testing.assert_close(
            maps[prompt][:, :, real[prompt]], expected[prompt][:, :, real[prompt]], atol=1e-6, rtol=0
        )
        assert (maps[prompt][:, :, ~real[prompt]] == 0).all()
    assert model.config._attn_implementation == implementation


def test_the_model_is_left_as_it_was() -> None:
    model = tiny_gpt2().train()
    model.transformer.h[1].eval()
    modes = [module.training for module in model.modules()]
    state = torch.random.get_rng_state()
    patterns.head_scores(model, random_ids(2, 8))
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_head_scores_read_position_scores_on_doubled_sequences() -> None:
    model, ids = tiny_gpt2(), random_ids(5, 7, vocab=5)
    scores = patterns.head_scores(model, ids, batch_size=2, n_sequences=3, length=6, seed=4)
    doubled = patterns.doubled_sequences(3, 6, d_vocab=61, seed=4)
    on_doubled = loop_scores(patterns.attention_patterns(model, doubled), doubled, [12] * 3)
    on_prompts = loop_scores(patterns.attention_patterns(model, ids), ids, [7] * 5)
    for name, source in {
        "previous_token": on_doubled,
        "duplicate_token": on_doubled,
        "induction": on_doubled,
        "entropy": on_prompts,
        "first_token": on_prompts,
        "max_weight": on_prompts,
    }.items():
        np.testing.assert_allclose(scores.as_dict()[name].numpy(), source[name], atol=1e-5, err_msg=name)


def test_without_prompts_everything_is_read_on_doubled_sequences() -> None:
    model = tiny_gpt2()
    doubled = patterns.doubled_sequences(8, 20, d_vocab=61)  # 40 positions hold 20 tokens twice
    expected = patterns.head_scores(model, doubled)
    for name, value in patterns.head_scores(model).as_dict().items():
        torch.testing.assert_close(value, expected.as_dict()[name], msg=name)


def test_doubled_sequences() -> None:
    ids = patterns.doubled_sequences(4, 10, d_vocab=12, seed=1)
    assert ids.shape == (4, 20)
    assert torch.equal(ids[:, :10], ids[:, 10:])
    assert all(len(set(row.tolist())) == 10 for row in ids)
    assert torch.equal(ids, patterns.doubled_sequences(4, 10, d_vocab=12, seed=1))
    assert not torch.equal(ids, patterns.doubled_sequences(4, 10, d_vocab=12, seed=2))


def test_bad_input_is_one_clear_sentence() -> None:
    model, ids = tiny_gpt2(), random_ids(2, 5)
    with pytest.raises(ValueError, match="row 1 has a real token after padding: pad on the right"):
        patterns.attention_patterns(model, ids, torch.tensor([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]]))
    with pytest.raises(ValueError, match=r"shape \(2, 4\), but ids has \(2, 5\)"):
        patterns.attention_patterns(model, ids, torch.ones(2, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="attention_mask without ids"):
        patterns.head_scores(model, attention_mask=torch.ones(2, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="length=21 does not fit: this model takes 2 to 20"):
        patterns.head_scores(model, length=21)
    with pytest.raises(ValueError, match="no prompt has two real tokens"):
        patterns.head_scores(model, ids[:, :1])
    with pytest.raises(ValueError, match="vocabulary of 12"):
        patterns.doubled_sequences(1, 13, d_vocab=12)
