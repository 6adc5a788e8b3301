"""pyvene: one IntervenableModel per intervention, a function at a module's input as its intervention."""

from collections.abc import Callable

import pyvene
from torch import Tensor
from transformers import GPT2LMHeadModel

from benchmarks.jobs import Intervention, Job, Prompts
from benchmarks.tools import logit_difference
from benchmarks.tools.one_by_one import OneByOne, columns, positions


class Unit(OneByOne):
    """z is the input of `c_proj`, the residual stream the input of a block."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        self.model, self.config = model, model.config

    def _component(self, job: Job, layer: int) -> str:
        return f"transformer.h[{layer}]{'.attn.c_proj' if job.site == 'z' else ''}.input"

    def read(self, job: Job, ids: Tensor, prompts: Prompts) -> tuple[Tensor, list[Tensor]]:
        """As promised by `OneByOne`."""
        values: list[Tensor] = []

        def keep(base: Tensor, source: None) -> Tensor:
            values.append(base.clone())
            return base

        layers = range(self.config.n_layer)
        chosen = [{"component": self._component(job, layer), "intervention": keep} for layer in layers]
        return self._metric(chosen, ids, prompts), values

    def forward(
        self, job: Job, ids: Tensor, prompts: Prompts, where: Intervention, new: Tensor | None
    ) -> Tensor:
        """As promised by `OneByOne`."""
        place = (slice(None), positions(where), columns(where, self.config.n_embd // self.config.n_head))
        chosen = {"component": self._component(job, where.layer), "intervention": _replace(place, new)}
        return self._metric(chosen, ids, prompts)

    def _metric(self, chosen: object, ids: Tensor, prompts: Prompts) -> Tensor:
        intervenable = pyvene.IntervenableModel(chosen, model=self.model)
        _, output = intervenable({"input_ids": ids}, use_cache=False)
        return logit_difference(output.logits, prompts)


def _replace(place: tuple[slice, ...], new: Tensor | None) -> Callable[[Tensor, None], Tensor]:
    def replace(base: Tensor, source: None) -> Tensor:
        value = base.clone()
        value[place] = 0 if new is None else new[place]
        return value

    return replace
