"""What an ablation writes, worked out once for all pairs and handed out for any of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from headwatch.interventions.batch import Sweep
from headwatch.interventions.options import Options
from headwatch.interventions.sites import DIRECTIONS, Replacement, Site, replacement
from headwatch.model.hooked_model import HookedModel
from headwatch.prompts.pairs import PromptPairs


@dataclass(frozen=True)
class AblationValues:
    """The new values of a site under one kind of ablation, whichever of the pairs are run.

    Attributes:
        hooked: the model.
        pairs: all pairs.
        replacement: where the values come from.
    """

    hooked: HookedModel
    pairs: PromptPairs
    replacement: Replacement

    @classmethod
    def of(
        cls,
        hooked: HookedModel,
        pairs: PromptPairs,
        sweep: Sweep,
        kind: str,
        options: Options,
        reference: PromptPairs | None = None,
    ) -> "AblationValues | None":
        """Work them out; None for patching, whose values come from the pairs' own other prompt.

        Args:
            hooked: the model.
            pairs: all pairs, on the model's device.
            sweep: where something is written.
            kind: an ablation or a patching direction.
            options: the seed and the batch size.
            reference: the prompts that the values come from; None for the clean prompts of all pairs.
        """
        if kind in DIRECTIONS:
            return None
        found = replacement(
            kind,
            pairs,
            sweep.site,
            sweep.written,
            partial(_activations, hooked),
            reference=reference,
            seed=options.seed,
            batch_size=options.batch_size,
        )
        return cls(hooked, pairs, found)

    @property
    def fixed(self) -> bool:
        """Whether the same is written on all pairs."""
        return self.replacement.run is None

    def on(self, rows: Tensor, site: Site, layers: tuple[int, ...]) -> Mapping[int, Tensor]:
        """The new values by layer for some pairs, broadcastable to the site's activation."""
        run = partial(_activations, self.hooked)
        return self.replacement.values(rows, site, layers, run)

    def first_change(self) -> Tensor:
        """The first position of each pair at which a new value can differ from the one that it replaces, `[pair]`."""
        clean, source, run = self.pairs.clean, self.replacement.prompts, self.replacement.run
        if run is None or source is None:
            return torch.zeros_like(self.pairs.lengths)
        differs = clean != source.clean[run.to(clean.device)]
        return torch.where(differs.any(1), differs.int().argmax(1), self.pairs.lengths)


def _activations(
    hooked: HookedModel, ids: Tensor, mask: Tensor, names: tuple[str, ...]
) -> Mapping[str, Tensor]:
    """Activations of some prompts, for which no more logits are worked out than need be."""
    return hooked.run_with_cache(ids, mask, list(names), logits_at=ids.shape[1] - 1)[1]
