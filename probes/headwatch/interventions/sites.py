"""What replaces an activation, and where: the sites, and the values written there.

| kind | an activation becomes |
|---|---|
| `zero` | 0 |
| `mean` | its mean over all real tokens of the clean prompts |
| `position_mean` | its mean over the clean prompts, position by position (prompts of one length) |
| `resample` | what it is on another pair's clean prompt (prompts of one length), by `derangement` |
| `denoise` | in the corrupted run, what it is in the clean run |
| `noise` | in the clean run, what it is in the corrupted run |
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Int
from torch import Tensor

from headwatch.model.activation_names import ALIASES, act_name
from headwatch.prompts.pairs import PromptPairs
from headwatch.registry import one_of, unknown

AblationKind = Literal["zero", "mean", "position_mean", "resample"]
Direction = Literal["denoise", "noise"]
SiteName = Literal[
    "z", "q", "k", "v", "pattern", "result",
    "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out",
    "pre", "post",
    "attn", "query", "key", "value", "mlp_pre", "mlp_post",
]  # fmt: skip

ABLATIONS: tuple[str, ...] = get_args(AblationKind)
DIRECTIONS: tuple[str, ...] = get_args(Direction)
KINDS_OF_MEANS = ("mean", "position_mean")

Stage = Literal["pre", "mid", "post"]
RunPrompts = Callable[[Tensor, Tensor, tuple[str, ...]], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Site:
    """An activation that can be replaced, and what its parts are.

    Attributes:
        name: the activation's short name.
        unit: what one intervention replaces: a `head`, a `neuron`, or the whole `layer`.
    """

    name: str
    unit: str

    def at(self, layer: int) -> str:
        """The activation's full name in a layer."""
        return act_name(self.name, layer)

    @property
    def stage(self) -> Stage:
        """Where a change of it enters the stream: before a layer, between attention and MLP, or after it."""
        if self.name == "resid_pre":
            return "pre"
        return "mid" if self.unit == "head" or self.name in ("resid_mid", "attn_out") else "post"

    @property
    def is_pattern(self) -> bool:
        """Whether the activation is `[pair, head, query, key]` rather than `[pair, position, ...]`."""
        return self.name == "pattern"


SITES = {
    **{name: Site(name, "head") for name in ("z", "q", "k", "v", "pattern", "result")},
    **{name: Site(name, "layer") for name in ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")},
    **{name: Site(name, "neuron") for name in ("pre", "post")},
}


def get_site(name: str) -> Site:
    """The site of a name or an alias.

    Raises:
        ValueError: no such site.
    """
    short = ALIASES.get(name, name) if isinstance(name, str) else ""
    if short not in SITES:
        raise unknown("site", name, SITES)
    return SITES[short]


def takes_means(kind: str) -> bool:
    """Whether what is written are means over prompts."""
    return kind in KINDS_OF_MEANS


def check_kind(kind: str, site: Site, pairs: PromptPairs) -> None:
    """Refuse a kind of ablation that is unknown or that these prompts don't allow.

    Raises:
        ValueError: an unknown kind, prompts of several lengths where one is needed, a lone pair to resample.
    """
    one_of("kind", kind, ABLATIONS)
    if kind == "mean" and site.is_pattern:
        raise ValueError(
            "kind='mean' has no meaning for patterns of several lengths: use kind='position_mean'"
        )
    if kind in ("position_mean", "resample"):
        check_one_length(f"kind={kind!r}", pairs)
    if kind == "resample" and len(pairs) < 2:
        raise ValueError("kind='resample' takes activations from another pair: give two pairs or more")


def check_one_length(what: str, pairs: PromptPairs) -> None:
    """Refuse prompts of several lengths.

    Raises:
        ValueError: the prompts have several lengths.
    """
    if not pairs.one_length:
        lengths = ", ".join(str(length) for length in pairs.lengths.unique().tolist())
        raise ValueError(
            f"{what} needs prompts of one length, these have {lengths} tokens: split them with pairs.by_length()"
        )


def derangement(n: int, seed: int = 0) -> Int[Tensor, " pair"]:
    """A seeded permutation that leaves nothing in place: a random single cycle (Sattolo 1986).

    Args:
        n: how many, at least 2.
        seed: its own generator's seed; the global one is not touched.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.arange(n)
    for last in range(n - 1, 0, -1):
        other = int(torch.randint(last, (1,), generator=generator))
        order[[last, other]] = order[[other, last]]
    return order


def shared_out(n: int, n_pairs: int, seed: int = 0) -> Int[Tensor, " pair"]:
    """One of n prompts for each pair, in a seeded order, each as often as any other to within one."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return order.repeat(-(-n_pairs // n))[:n_pairs]


@dataclass(frozen=True)
class Replacement:
    """Where the new values come from, layer by layer, for any choice of pairs.

    Attributes:
        fixed: the same value for all pairs, by layer, broadcast against the activation; or None.
        prompts: the pairs whose clean prompts are run for the values, where they come from a run.
        run: which of these, one entry a pair that is ablated.
    """

    fixed: Mapping[int, Tensor] | None = None
    prompts: PromptPairs | None = None
    run: Int[Tensor, " pair"] | None = None

    def values(self, rows: Tensor, site: Site, layers: tuple[int, ...], run: RunPrompts) -> dict[int, Tensor]:
        """The new values by layer for the pairs `rows`, broadcastable to the site's activation."""
        if self.fixed is not None:
            return {layer: self.fixed[layer] for layer in layers}
        assert self.run is not None
        assert self.prompts is not None
        source, names = self.run[rows], tuple(site.at(layer) for layer in layers)
        length = int(self.prompts.lengths[source.to(self.prompts.lengths.device)].max())
        ids, mask = self.prompts.clean[source, :length], self.prompts.attention_mask[source, :length]
        cache = run(ids, mask, names)
        return {layer: cache[site.at(layer)] for layer in layers}


def replacement(
    kind: str,
    pairs: PromptPairs,
    site: Site,
    layers: tuple[int, ...],
    run: RunPrompts,
    *,
    reference: PromptPairs | None = None,
    seed: int = 0,
    batch_size: int = 64,
) -> Replacement:
    """What an ablation writes at a site.

    Args:
        kind: one of `ABLATIONS`.
        pairs: the prompt pairs, on the model's device.
        site: where.
        layers: in which layers.
        run: `run(ids, attention_mask, names)` gives activations by full name.
        reference: the prompts that the values come from; None for all pairs'.
        seed: for `resample`.
        batch_size: prompts a run, for the means.
    """
    if kind == "zero":
        return Replacement(fixed={layer: torch.zeros(1) for layer in layers})
    if takes_means(kind):
        prompts = pairs if reference is None else reference
        return Replacement(fixed=_means(kind == "position_mean", prompts, site, layers, run, batch_size))
    if reference is None:
        return Replacement(prompts=pairs, run=derangement(len(pairs), seed))
    return Replacement(prompts=reference, run=shared_out(len(reference), len(pairs), seed))


def _means(
    by_position: bool,
    pairs: PromptPairs,
    site: Site,
    layers: tuple[int, ...],
    run: RunPrompts,
    batch_size: int,
) -> dict[int, Tensor]:
    """The mean of each layer's activation over the clean prompts' real tokens, or position by position."""
    totals: dict[int, Tensor] = {}
    for rows in torch.arange(len(pairs)).split(batch_size):
        mask = pairs.attention_mask[rows]
        cache = run(pairs.clean[rows], mask, tuple(site.at(layer) for layer in layers))
        for layer in layers:
            value = cache[site.at(layer)].double()
            total = value.sum(0) if by_position else value[mask.bool()].sum(0)
            totals[layer] = totals.get(layer, torch.zeros_like(total)) + total
    count = len(pairs) if by_position else int(pairs.lengths.sum())
    means = {layer: (total / count).float()[None] for layer, total in totals.items()}
    return means if by_position else {layer: mean[None] for layer, mean in means.items()}
