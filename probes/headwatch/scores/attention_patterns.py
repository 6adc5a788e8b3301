"""What each head attends to: attention maps, and scores that say which kind of head it is.

The scores are pure functions of maps: one number per query first, then the mean over real queries. A prompt's
first query is left out everywhere, since it can only attend to itself. A query of padding is never counted.
One forward per batch; a map takes layers × heads × tokens² floats per prompt and is dropped once it is scored.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from headwatch.cell_names import cell_name, how_many
from headwatch.model.eval_mode import eval_mode
from headwatch.model.find import find_architecture
from headwatch.model.hooked_model import attach
from headwatch.registry import one_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Maps = Float[Tensor, "prompt layer head query key"]
PerQuery = Float[Tensor, "prompt layer head query"]
Targets = Bool[Tensor, "prompt query key"]
Ids = Int[Tensor, "prompt position"]
Mask = Int[Tensor, "_ _"] | Bool[Tensor, "_ _"]


@dataclass(frozen=True, repr=False)
class HeadScores:
    """What each head attends to, each score `[layer, head]`, averaged over the real queries of all prompts.

    Example:
        >>> list(hw.head_scores(model).as_dict())[:3]
        ['previous_token', 'duplicate_token', 'induction']

    Attributes:
        previous_token: attention to the token before, 0 to 1 (as are all but entropy).
        duplicate_token: attention to earlier copies of the query's own token; NaN where no token repeats.
        induction: attention to the tokens right after those copies (Olsson et al. 2022); NaN likewise.
        entropy: of the attention weights, in nats: 0 = one key, log(i + 1) = uniform for the query at i.
        first_token: attention to the prompt's first token.
        max_weight: the largest weight of each query (the "confidence" of Voita et al. 2019).
    """

    previous_token: Float[Tensor, "layer head"]
    duplicate_token: Float[Tensor, "layer head"]
    induction: Float[Tensor, "layer head"]
    entropy: Float[Tensor, "layer head"]
    first_token: Float[Tensor, "layer head"]
    max_weight: Float[Tensor, "layer head"]

    def __repr__(self) -> str:
        layers, heads = self.entropy.shape
        strongest = (f"{name} {_strongest(self.as_dict()[name])}" for name in _KINDS)
        return f"HeadScores({how_many(layers, 'layer')} × {how_many(heads, 'head')}; most {', '.join(strongest)})"

    def as_dict(self) -> dict[str, Float[Tensor, "layer head"]]:
        """The scores by name, each `[layer, head]`."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def plot(self, *names: str) -> "Figure":
        """Draw the scores with matplotlib, a map a score; without names all of them.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
            ValueError: no score has this name.
        """
        from headwatch.pictures.cell_map import score_map
        from headwatch.pictures.heat_map import draw_scores

        scores = self.as_dict()
        shown = [scores[one_of("score", name, tuple(scores))] for name in names] or scores.values()
        arrays = [score.detach().double().cpu().numpy() for score in shown]
        return draw_scores(list(map(score_map, arrays, names or scores)))


_KINDS = ("previous_token", "duplicate_token", "induction")


def _strongest(score: Float[Tensor, "layer head"]) -> str:
    """The head with the largest score, and the score; NaN where any is."""
    layer, head = divmod(int(score.argmax()), score.shape[1])
    name = cell_name(("layer", "head"), (layer, head))
    return "NaN" if score.isnan().any() else f"{name} {score[layer, head].item():.2f}"


def attention_patterns(model: nn.Module, ids: Ids, attention_mask: Mask | None = None) -> Maps:
    """The attention weights of every head on some prompts, whatever attention implementation the model uses.

    Example:
        >>> maps = hw.attention_patterns(model, ids)
        >>> maps.shape                                                     # [prompt, layer, head, query, key]
        torch.Size([4, 12, 12, 14, 14])

    Args:
        model: Hugging Face's GPT-2, or a module that holds one.
        ids: token ids, right-padded, `[prompt, position]`.
        attention_mask: 1 for real tokens and 0 for padding, `[prompt, position]`; None = all are real.

    Returns:
        `[prompt, layer, head, query, key]`: a real query's row sums to 1, a padding query's row is 0. In a model
        that has diverged a row is NaN where the softmax is.

    Raises:
        ValueError: the mask is not right-padded, or has another shape than `ids`.
    """
    real = _real_tokens(ids, attention_mask)
    with attach(model) as hooked, eval_mode(hooked.model):
        names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(hooked.sizes.n_layers)]
        _, cache = hooked.run_with_cache(ids, attention_mask=real.long(), names=names)
    maps = torch.stack([cache[name] for name in names], dim=1)
    return maps.masked_fill(~real.to(maps.device)[:, None, None, :, None], 0.0)


def head_scores(
    model: nn.Module,
    ids: Ids | None = None,
    attention_mask: Mask | None = None,
    *,
    batch_size: int = 8,
    n_sequences: int = 8,
    length: int | None = None,
    seed: int = 0,
) -> HeadScores:
    """Score every head: what it attends to on random repeated tokens, and how widely on given prompts.

    Example:
        >>> scores = hw.head_scores(model)
        >>> scores.induction.shape                                         # [layer, head]
        torch.Size([12, 12])

    `previous_token`, `duplicate_token` and `induction` are read on doubled random sequences (see
    `doubled_sequences`), where attention by position and by content cannot be confused with attention by
    meaning; `entropy`, `first_token` and `max_weight` on `ids`, or on the same sequences without `ids`.

    Args:
        model: Hugging Face's GPT-2, or a module that holds one.
        ids: prompts, right-padded, `[prompt, position]`.
        attention_mask: 1 for real tokens, `[prompt, position]`; None = all are real.
        batch_size: prompts per forward.
        n_sequences: how many doubled random sequences.
        length: tokens in a sequence before doubling; by default 50, or what the context and vocabulary allow.
        seed: of the random sequences.

    Raises:
        ValueError: a mask without ids, no prompt of two tokens, or a length that the model can't take.
    """
    if ids is None and attention_mask is not None:
        raise ValueError("head_scores got an attention_mask without ids: pass the prompts it belongs to")
    network = find_architecture(model)
    shape = network.sizes
    longest = min(shape.n_positions // 2, shape.d_vocab)
    length = min(50, longest) if length is None else length
    if not 1 < length <= longest:
        raise ValueError(
            f"length={length} does not fit: this model takes 2 to {longest} tokens before doubling "
            f"({shape.n_positions} positions, {shape.d_vocab} tokens in the vocabulary)"
        )
    doubled = doubled_sequences(n_sequences, length, shape.d_vocab, seed=seed).to(network.device)
    on_doubled = _score(network.model, doubled, None, batch_size)
    on_prompts = on_doubled if ids is None else _score(network.model, ids, attention_mask, batch_size)
    return HeadScores(
        previous_token=on_doubled.previous_token,
        duplicate_token=on_doubled.duplicate_token,
        induction=on_doubled.induction,
        entropy=on_prompts.entropy,
        first_token=on_prompts.first_token,
        max_weight=on_prompts.max_weight,
    )


def scores_of_maps(maps: Maps, ids: Ids, attention_mask: Mask | None = None) -> HeadScores:
    """Every score of given attention maps, `[prompt, layer, head, query, key]`, on the prompts they come from.

    Raises:
        ValueError: the mask is not right-padded, or no prompt has two tokens.
    """
    return _mean_scores(_per_query(maps, ids), ids, _real_tokens(ids, attention_mask))


def doubled_sequences(n: int, length: int, d_vocab: int, seed: int = 0) -> Ids:
    """Random sequences r r: `length` distinct tokens, drawn uniformly and then repeated, `[n, 2 * length]`.

    No token occurs twice within r, so every token of the second half has exactly one earlier copy. A generator
    of its own draws them: the global random state is neither used nor changed.

    Raises:
        ValueError: more distinct tokens asked for than the vocabulary holds.
    """
    if length > d_vocab:
        raise ValueError(f"length={length} distinct tokens can't be drawn from a vocabulary of {d_vocab}")
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randperm(d_vocab, generator=generator)[:length] for _ in range(n)]
    return torch.stack(rows).repeat(1, 2)


def previous_targets(ids: Ids) -> Targets:
    """For each query, the key just before it, `[prompt, query, key]`."""
    size = ids.shape[1]
    before = torch.eye(size, dtype=torch.bool, device=ids.device).roll(-1, dims=1)
    before[0] = False
    return before.expand(len(ids), size, size)


def duplicate_targets(ids: Ids) -> Targets:
    """For each query, the earlier keys that hold the same token, `[prompt, query, key]`."""
    return (ids[:, :, None] == ids[:, None, :]).tril(-1)


def induction_targets(ids: Ids) -> Targets:
    """For each query, the keys right after an earlier copy of its token, `[prompt, query, key]`."""
    return duplicate_targets(ids).roll(1, dims=2)


def attention_to(maps: Maps, targets: Targets) -> PerQuery:
    """The total weight of each query on its targets, `[prompt, layer, head, query]`."""
    return torch.einsum("plhqk,pqk->plhq", maps, targets.to(maps))


def entropy(maps: Maps) -> PerQuery:
    """The entropy of each query's weights in nats, `[prompt, layer, head, query]`."""
    return torch.special.entr(maps).sum(-1)


def mean_over_queries(values: PerQuery, use: Bool[Tensor, "prompt query"]) -> Float[Tensor, "layer head"]:
    """The mean of `values` over the queries of all prompts where `use` holds; NaN where it never does."""
    return torch.einsum("plhq,pq->lh", values, use.to(values)) / use.sum()


def _score(model: nn.Module, ids: Ids, attention_mask: Mask | None, batch_size: int) -> HeadScores:
    real = _real_tokens(ids, attention_mask)
    batches = [
        _per_query(attention_patterns(model, ids[rows], real[rows].long()), ids[rows])
        for rows in _batches(len(ids), batch_size)
    ]
    values = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    return _mean_scores(values, ids, real)


def _batches(n: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, n, size))


def _per_query(maps: Maps, ids: Ids) -> dict[str, PerQuery]:
    ids = ids.to(maps.device)
    return {
        "previous_token": attention_to(maps, previous_targets(ids)),
        "duplicate_token": attention_to(maps, duplicate_targets(ids)),
        "induction": attention_to(maps, induction_targets(ids)),
        "entropy": entropy(maps),
        "first_token": maps[..., 0],
        "max_weight": maps.amax(-1),
    }


def _mean_scores(values: dict[str, PerQuery], ids: Ids, real: Bool[Tensor, "prompt position"]) -> HeadScores:
    chooses = real.clone()
    chooses[:, 0] = False
    if not chooses.any():
        raise ValueError("no prompt has two real tokens, and a first token can only attend to itself")
    repeats = chooses & duplicate_targets(ids).any(-1)
    use = {"duplicate_token": repeats, "induction": repeats}
    return HeadScores(
        **{
            name: mean_over_queries(value, use.get(name, chooses).to(value.device))
            for name, value in values.items()
        }
    )


def _real_tokens(ids: Ids, attention_mask: Mask | None) -> Bool[Tensor, "prompt position"]:
    if attention_mask is None:
        return torch.ones_like(ids, dtype=torch.bool)
    if attention_mask.shape != ids.shape:
        raise ValueError(
            f"attention_mask has shape {tuple(attention_mask.shape)}, but ids has {tuple(ids.shape)}"
        )
    real = attention_mask.to(device=ids.device, dtype=torch.bool)
    rows = (real[:, 1:] & ~real[:, :-1]).any(1).nonzero()
    if len(rows):
        raise ValueError(
            f"attention_mask row {rows[0].item()} has a real token after padding: pad on the right, "
            "since GPT-2's positions count from the first column"
        )
    return real
