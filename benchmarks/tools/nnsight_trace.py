"""nnsight: one trace per intervention."""

from typing import Any

from nnsight import NNsight
from torch import Tensor
from transformers import GPT2LMHeadModel

from benchmarks.jobs import Intervention, Job, Prompts
from benchmarks.tools import logit_difference
from benchmarks.tools.one_by_one import OneByOne, columns, positions


class Trace(OneByOne):
    """z is the input of `c_proj`, the residual stream the input of a block."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        self.config, self.nn = model.config, NNsight(model)

    def _module(self, job: Job, layer: int) -> Any:
        block = self.nn.transformer.h[layer]
        return block.attn.c_proj if job.site == "z" else block

    def read(self, job: Job, ids: Tensor, prompts: Prompts) -> tuple[Tensor, list[Tensor]]:
        """As promised by `OneByOne`."""
        modules = [self._module(job, layer) for layer in range(self.config.n_layer)]
        with self.nn.trace(ids, use_cache=False):
            values = [].save()
            for module in modules:
                values.append(module.input)
            logits = self.nn.output.logits.save()
        return logit_difference(logits, prompts), list(values)

    def forward(
        self, job: Job, ids: Tensor, prompts: Prompts, where: Intervention, new: Tensor | None
    ) -> Tensor:
        """As promised by `OneByOne`."""
        rows, cols = positions(where), columns(where, self.config.n_embd // self.config.n_head)
        replacement = 0 if new is None else new[:, rows, cols]
        module = self._module(job, where.layer)
        with self.nn.trace(ids, use_cache=False):
            module.input[:, rows, cols] = replacement
            logits = self.nn.output.logits.save()
        return logit_difference(logits, prompts)
