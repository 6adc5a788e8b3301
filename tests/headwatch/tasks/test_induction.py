import pytest
import torch

from headwatch.tasks import induction, make
from tests.tokenizers import word_level


def test_the_answer_follows_the_last_tokens_earlier_place() -> None:
    pairs = induction(n=20, seed=1, vocab_size=61, length=9)
    assert pairs.clean.shape == (20, 18)
    for ids, answer in zip(pairs.clean.tolist(), pairs.answer.tolist(), strict=True):
        places = [index for index, token in enumerate(ids) if token == ids[-1]]
        assert places == [8, 17]
        assert ids[places[0] + 1] == answer
        assert ids[:9] == ids[9:]
        assert len(set(ids)) == 9


def test_the_corrupted_prompt_has_nothing_to_copy_from() -> None:
    pairs = induction(n=20, seed=1, vocab_size=61, length=9)
    assert torch.equal(pairs.corrupted[:, 9:], pairs.clean[:, 9:])
    for ids in pairs.corrupted.tolist():
        assert len(set(ids)) == 18
    assert pairs.first_difference.tolist() == [0] * 20


def test_the_foil_is_another_token_of_the_sequence() -> None:
    pairs = induction(n=200, vocab_size=61, length=3)
    places = [ids.index(foil) for ids, foil in zip(pairs.clean.tolist(), pairs.foil.tolist(), strict=True)]
    assert set(places) == {1, 2}


def test_all_of_the_vocabulary_is_drawn_from_and_no_more() -> None:
    assert set(induction(n=200, vocab_size=20, length=5).clean.flatten().tolist()) == set(range(20))
    assert induction(n=40).clean.max() in range(50_000, 50_257)


def test_a_tokenizer_gives_the_vocabulary_and_the_texts() -> None:
    tokenizer = word_level([f"word{index}" for index in range(9)])
    pairs = make("induction", tokenizer, n=50, length=5)
    assert set(pairs.clean.flatten().tolist()) == set(range(10))
    assert pairs.tokens[0] == tuple(tokenizer.convert_ids_to_tokens(pairs.clean[0].tolist()))
    assert make("induction", tokenizer, n=50, length=2, vocab_size=4).clean.max() == 3


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"length": 1}, "length must be at least 2, not 1"),
        (
            {"vocab_size": 9, "length": 5},
            r"draws 10 different tokens a pair \(twice length=5\), .* vocabulary has 9",
        ),
    ],
)
def test_sizes_that_cannot_be_served_are_refused(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        induction(**sizes)


def test_the_second_halfs_loss_is_had_as_the_docstring_says() -> None:
    from headwatch.scores.in_context_learning import token_losses

    pairs = induction(n=4, vocab_size=30, length=6)
    copying = torch.zeros(4, 12, 30)
    for pair, ids in enumerate(pairs.clean.tolist()):
        for position in range(6, 12):
            copying[pair, position, ids[position - 5] if position < 11 else ids[6]] = 50.0
    losses = token_losses(copying, pairs.clean)[:, 6 - 1 :]
    assert losses.shape == (4, 6)
    chance = torch.log(torch.tensor(30.0))
    torch.testing.assert_close(losses.mean(1), (chance / 6).expand(4))
