"""What holds for every task."""

import logging
import random
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from headwatch import tasks
from headwatch.prompts.pairs import PromptPairs
from tests.tokenizers import word_level

WORDY = [name for name in tasks.TASKS if name != "induction"]


@pytest.mark.parametrize("name", tasks.TASKS)
def test_pairs_are_different_aligned_and_of_one_length(name: str, tokenizer: PreTrainedTokenizerFast) -> None:
    pairs = tasks.make(name, tokenizer, n=100, seed=3)
    assert len(set(pairs.pairs)) == len(pairs) == 100
    assert pairs.one_length
    assert (pairs.first_difference < pairs.lengths).all()
    assert torch.equal(pairs.position, pairs.lengths - 1)
    assert set(pairs.tasks) == {name}
    assert (pairs.dropped, pairs.dropped_words) == (0, ())


@pytest.mark.parametrize("name", tasks.TASKS)
def test_a_seed_decides_everything_and_nothing_else_does(
    name: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    random.seed(1)
    torch.manual_seed(1)
    first = tasks.make(name, tokenizer, n=10, seed=5)
    random.seed(2)
    torch.manual_seed(2)
    again = tasks.make(name, tokenizer, n=10, seed=5)
    assert again.pairs == first.pairs
    assert tasks.make(name, tokenizer, n=10, seed=6).pairs != first.pairs


@pytest.mark.parametrize("name", tasks.TASKS)
def test_the_global_generators_are_left_alone(
    name: str, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in ("choice", "sample", "randrange", "shuffle"):
        monkeypatch.delattr(random, method)
    state = torch.get_rng_state()
    tasks.make(name, tokenizer, n=5)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", tasks.TASKS)
def test_a_pair_file_brings_the_task_back(
    name: str, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    pairs = tasks.make(name, tokenizer, n=5)
    pairs.to_jsonl(tmp_path / "pairs.jsonl")
    again = PromptPairs.from_jsonl(tmp_path / "pairs.jsonl", tokenizer)
    assert (again.pairs, again.metric) == (pairs.pairs, pairs.metric)
    assert torch.equal(again.corrupted, pairs.corrupted)


@pytest.mark.parametrize("name", tasks.TASKS)
def test_the_docstring_says_prompt_corruption_metric_and_source(name: str) -> None:
    text = tasks.TASKS[name].__doc__ or ""
    assert all(f"{part}:" in text for part in ("Clean", "Corrupted", "Metric", "Source"))


@pytest.mark.parametrize("name", WORDY)
def test_a_tokenizer_may_be_a_folder(name: str, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    assert tasks.make(name, tmp_path, n=3).pairs == tasks.make(name, tokenizer, n=3).pairs


@pytest.mark.parametrize("name", WORDY)
def test_a_tokenizer_that_serves_none_of_the_words_is_refused(name: str) -> None:
    with pytest.raises(
        ValueError, match=rf"^{name} needs at least \d .*dropped \d+: .* and \d+ more|dropped 2: he, she"
    ):
        tasks.make(name, word_level(["foo", "bar"]))


def test_a_refusal_names_a_few_of_what_it_lacks_and_counts_the_rest() -> None:
    only_words = word_level("Mary John Tom store ring".split())  # noqa: SIM905
    lacks = (
        (word_level(["foo"]), r"names .* dropped 120: Mary, Elizabeth, [\w, ]* and 1\d\d more"),
        (only_words, r"templates .* dropped 8: When \{first\} and [^:]* gave a \{gift\} to and 7 more"),
    )
    for tokenizer, names in lacks:
        with pytest.raises(ValueError, match=rf"^ioi needs at least \d {names}$") as refused:
            tasks.make("ioi", tokenizer)
        assert len(str(refused.value)) < 250


@pytest.mark.parametrize("name", WORDY)
def test_a_task_of_words_needs_a_tokenizer(name: str) -> None:
    with pytest.raises(ValueError, match=f"the task '{name}' is made of words and needs tokenizer="):
        tasks.make(name)


def test_an_unknown_task_lists_the_known_ones() -> None:
    with pytest.raises(
        ValueError,
        match=r"unknown task 'iou'; known: capitals, gendered_pronoun, greater_than, induction, ioi",
    ):
        tasks.make("iou")


@pytest.mark.parametrize("name", tasks.TASKS)
def test_n_must_be_positive(name: str, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match="n must be at least 1, not 0"):
        tasks.make(name, tokenizer, n=0)


def test_more_pairs_than_there_are_is_refused() -> None:
    few = word_level("The capital of France Paris Japan Tokyo is the city".split())  # noqa: SIM905
    assert len(tasks.make("capitals", few, n=2)) == 2
    with pytest.raises(ValueError, match=r"capitals has only 2 different pairs .*, not n=3; dropped \d+: "):
        tasks.make("capitals", few, n=3)


def test_dropped_words_are_counted_named_and_logged(
    caplog: pytest.LogCaptureFixture, tokenizer: PreTrainedTokenizerFast
) -> None:
    known = [word for word in tokenizer.get_vocab() if word not in ("Mary", "Evan", "zoo")]
    with caplog.at_level(logging.INFO):
        pairs = tasks.make("ioi", word_level(known), n=200)
    assert (pairs.dropped, sorted(pairs.dropped_words)) == (3, ["Evan", "Mary", "zoo"])
    assert "ioi: dropped 3 words that are not one token with this tokenizer: Mary, Evan, zoo" in caplog.text
    assert not any({"Mary", "Evan", "zoo"} & set(tokens) for tokens in pairs.tokens)


def test_what_was_dropped_stays_with_a_part_of_the_pairs(tokenizer: PreTrainedTokenizerFast) -> None:
    known = [word for word in tokenizer.get_vocab() if word != "Mary"]
    assert tasks.make("ioi", word_level(known), n=4)[:2].dropped_words == ("Mary",)


def test_a_users_own_task_is_made_by_its_name(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.TASKS, "_known", dict(tasks.TASKS))

    @tasks.TASKS.register("first_ioi")
    def first_ioi(tokenizer: PreTrainedTokenizerFast, n: int = 64, seed: int = 0) -> PromptPairs:
        return tasks.ioi(tokenizer, n=n, seed=seed)[:1]

    assert len(tasks.make("first_ioi", tokenizer, n=5)) == 1
    with pytest.raises(ValueError, match="task 'ioi' is registered already"):
        tasks.TASKS.register("ioi", first_ioi)
