"""captum: LayerFeatureAblation, layer by layer, one feature a head or position.

z is the input of `c_proj`. The residual stream before a block is the output of what comes before it, since captum
takes no block input with an empty argument.
"""

import torch
from captum.attr import LayerFeatureAblation
from torch import Tensor, nn
from transformers import GPT2LMHeadModel

from benchmarks.jobs import Intervention, Job, Prompts
from benchmarks.tools import Outcome, logit_difference
from benchmarks.tools.clock import now
from benchmarks.tools.one_by_one import columns, positions
from benchmarks.tools.plain_hooks import PlainHooks

FORWARDS_PER_LAYER = 2  # that LayerFeatureAblation runs before the first feature is ablated


class Layers:
    """Groups of a layer's inputs, replaced one group a forward by the baselines."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        self.model, self.config, self.hooks = model, model.config, PlainHooks(model)

    @torch.no_grad()
    def run(self, job: Job, prompts: Prompts, chosen: list[Intervention]) -> Outcome:
        """Run the chosen interventions; what was not chosen in a layer is one group more."""
        started = now()
        values = self.hooks.read(job, prompts.clean, prompts)[1] if job.kind == "denoise" else None
        ready = now()
        effects, forwards = [], 0
        for layer in range(self.config.n_layer):
            here = [where for where in chosen if where.layer == layer]
            if here:
                some, count = self._layer(job, prompts, here, None if values is None else values[layer])
                effects += some
                forwards += count
        every = job.interventions(self.config.n_layer, self.config.n_head)
        share = forwards / (len(every) + FORWARDS_PER_LAYER * self.config.n_layer)
        return Outcome(torch.stack(effects), ready - started, now() - ready, share)

    def _layer(
        self, job: Job, prompts: Prompts, here: list[Intervention], new: Tensor | None
    ) -> tuple[list[Tensor], int]:
        ids = prompts.clean if new is None else prompts.corrupted
        mask = self._groups(here, ids.shape[1]).to(ids.device)
        module = self._module(job, here[0].layer)

        def metric(ids: Tensor) -> Tensor:
            return logit_difference(self.model(ids, use_cache=False).logits, prompts)

        lost = LayerFeatureAblation(metric, module).attribute(
            ids,
            layer_baselines=0 if new is None else new,
            layer_mask=mask,
            attribute_to_layer_input=job.site == "z",
        )
        lost = lost[0] if isinstance(lost, tuple) else lost
        effects = [-lost[:, *(mask[0] == group).nonzero()[0]] for group in range(len(here))]
        return effects, len(mask.unique()) + FORWARDS_PER_LAYER

    def _module(self, job: Job, layer: int) -> nn.Module:
        gpt2 = self.model.transformer
        if job.site == "z":
            return gpt2.h[layer].attn.c_proj
        return gpt2.drop if layer == 0 else gpt2.h[layer - 1]

    def _groups(self, here: list[Intervention], length: int) -> Tensor:
        """The number of the intervention that each input belongs to, `[1, position, d_model]`."""
        mask = torch.full((1, length, self.config.n_embd), len(here))
        for number, where in enumerate(here):
            mask[:, positions(where), columns(where, self.config.n_embd // self.config.n_head)] = number
        return mask
