import pytest
import torch

from headwatch.scores.in_context_learning import in_context_learning_score, token_losses
from tests.models import random_ids, tiny_gpt2


def test_score_equals_the_models_own_loss_on_single_tokens() -> None:
    model, ids = tiny_gpt2(), random_ids(5, 20)

    def loss_of(prompt: torch.Tensor, number: int) -> float:
        labels = torch.full_like(prompt, -100)
        labels[0, number - 1] = prompt[0, number - 1]
        return model(prompt, labels=labels).loss.item()

    with torch.no_grad():
        expected = [loss_of(row[None], 15) - loss_of(row[None], 4) for row in ids]
    score = in_context_learning_score(model, ids, early=4, late=15, batch_size=2)
    torch.testing.assert_close(score, torch.tensor(expected), atol=1e-5, rtol=0)


def test_uniform_logits_cost_log_vocabulary() -> None:
    losses = token_losses(torch.zeros(2, 6, 8), random_ids(2, 6, vocab=8))
    torch.testing.assert_close(losses, torch.full((2, 5), 8.0).log())


def test_token_numbers_that_cannot_be_read() -> None:
    model, ids = tiny_gpt2(), random_ids(2, 20)
    with pytest.raises(ValueError, match="late=500, but the prompts have 20 tokens"):
        in_context_learning_score(model, ids)
    for early, late in [(1, 5), (5, 5)]:
        with pytest.raises(ValueError, match="2 <= early < late"):
            in_context_learning_score(model, ids, early=early, late=late)
