"""PyTorch's own forward hooks on the Hugging Face model."""

from torch import Tensor, nn
from transformers import GPT2LMHeadModel

from benchmarks.jobs import Intervention, Job, Prompts
from benchmarks.tools import logit_difference
from benchmarks.tools.one_by_one import OneByOne, columns, positions


class PlainHooks(OneByOne):
    """Plain hooks; z is the input of `c_proj`, the residual stream the input of a block.

    Args:
        model: the model.
        last_only: unembed only the last position, for a user who knows `logits_to_keep`.
    """

    def __init__(self, model: GPT2LMHeadModel, last_only: bool = False) -> None:
        self.model, self.config, self.logits_to_keep = model, model.config, int(last_only)

    def _module(self, job: Job, layer: int) -> nn.Module:
        block = self.model.transformer.h[layer]
        return block.attn.c_proj if job.site == "z" else block

    def _metric(self, ids: Tensor, prompts: Prompts) -> Tensor:
        output = self.model(ids, use_cache=False, logits_to_keep=self.logits_to_keep)
        return logit_difference(output.logits, prompts)

    def read(self, job: Job, ids: Tensor, prompts: Prompts) -> tuple[Tensor, list[Tensor]]:
        """As promised by `OneByOne`."""
        values: list[Tensor] = []
        handles = [
            self._module(job, layer).register_forward_pre_hook(lambda module, args: values.append(args[0]))
            for layer in range(self.config.n_layer)
        ]
        try:
            return self._metric(ids, prompts), values
        finally:
            for handle in handles:
                handle.remove()

    def forward(
        self, job: Job, ids: Tensor, prompts: Prompts, where: Intervention, new: Tensor | None
    ) -> Tensor:
        """As promised by `OneByOne`."""
        rows, cols = positions(where), columns(where, self.config.n_embd // self.config.n_head)

        def replace(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            value = args[0].clone()
            value[:, rows, cols] = 0 if new is None else new[:, rows, cols]
            return (value, *args[1:])

        handle = self._module(job, where.layer).register_forward_pre_hook(replace)
        try:
            return self._metric(ids, prompts)
        finally:
            handle.remove()
