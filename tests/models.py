"""Small models and prompt pairs that tests share: noise in every parameter, so that a wrong bias or gain shows."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from headwatch.prompts.pairs import PromptPairs


def tiny_gpt2(seed: int = 0, noise: float = 0.2, **settings: object) -> GPT2LMHeadModel:
    """A 3-layer GPT-2 in evaluation mode, with noise added to every parameter."""
    config = GPT2Config(
        **{
            "n_layer": 3,
            "n_head": 4,
            "n_embd": 32,
            "vocab_size": 61,
            "n_positions": 40,
            "bos_token_id": 0,
            "eos_token_id": 0,
            **settings,
        }  # type: ignore[arg-type]
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(noise * torch.randn(parameter.shape, generator=generator))
    return model


def random_ids(batch: int, length: int, vocab: int = 61, seed: int = 0) -> torch.Tensor:
    """Random token ids, `[batch, length]`."""
    return torch.randint(vocab, (batch, length), generator=torch.Generator().manual_seed(seed))


def random_pairs(
    n: int = 5,
    length: int = 9,
    vocab: int = 61,
    seed: int = 0,
    shared: int = 3,
    lengths: list[int] | None = None,
) -> PromptPairs:
    """Random pairs whose first `shared` tokens agree; `lengths` makes prompts of unequal length."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randint(vocab, (n, length), generator=generator)
    corrupted = torch.randint(vocab, (n, length), generator=generator)
    corrupted[:, :shared] = clean[:, :shared]
    answer = torch.randint(vocab, (n,), generator=generator)
    foil = (answer + torch.randint(1, vocab, (n,), generator=generator)) % vocab
    real = None if lengths is None else torch.tensor(lengths)
    return PromptPairs.from_tokens(clean, corrupted, answer, foil, lengths=real)


def seeded(kind: str, seed: int) -> dict[str, int]:
    """The option `seed`, for the one kind of ablation that draws."""
    return {"seed": seed} if kind == "resample" else {}
