"""Does a model use what it read earlier: the in-context-learning score (one forward per batch of prompts)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from headwatch.model.eval_mode import eval_mode
from headwatch.model.find import find_architecture


def token_losses(
    prompt_logits: Float[Tensor, "prompt position vocab"], ids: Int[Tensor, "prompt position"]
) -> Float[Tensor, "prompt predicted"]:
    """How surprised the model is by each token but the first, −log p in nats, `[prompt, position - 1]`."""
    log_probs = prompt_logits[:, :-1].float().log_softmax(-1)
    return -log_probs.gather(-1, ids[:, 1:, None]).squeeze(-1)


def in_context_learning_score(
    model: nn.Module,
    ids: Int[Tensor, "prompt position"],
    *,
    early: int = 50,
    late: int = 500,
    batch_size: int = 4,
) -> Float[Tensor, " prompt"]:
    """Loss at a late token minus loss at an early one, in nats: below 0 where context helps (Olsson et al. 2022).

    Example:
        >>> prompts = torch.randint(len(tokenizer), (2, 60))               # [prompt, position]
        >>> hw.in_context_learning_score(model, prompts, early=10, late=60).shape
        torch.Size([2])

    Args:
        model: Hugging Face's GPT-2, or a module that holds one.
        ids: prompts of at least `late` real tokens, `[prompt, position]`.
        early: the early token, counted from 1.
        late: the late token, counted from 1.
        batch_size: prompts per forward.

    Returns:
        One score per prompt; the paper's score is their mean.

    Raises:
        ValueError: not 2 <= early < late (a first token is never predicted), or prompts shorter than `late`.
    """
    if not 2 <= early < late:
        raise ValueError(f"early={early} and late={late}: token numbers with 2 <= early < late are needed")
    if ids.shape[1] < late:
        raise ValueError(
            f"late={late}, but the prompts have {ids.shape[1]} tokens: pass longer ones or a smaller late"
        )
    network = find_architecture(model)
    scores = []
    with eval_mode(network.model):
        for batch in ids[:, :late].to(network.device).split(batch_size):
            losses = token_losses(network.forward(batch, None), batch)
            scores.append(losses[:, late - 2] - losses[:, early - 2])
    return torch.cat(scores)
