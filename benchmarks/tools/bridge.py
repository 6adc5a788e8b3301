"""TransformerLens's TransformerBridge, on a deep copy: it rewrites the model that it is given."""

import tempfile
from copy import deepcopy
from typing import Any

from tokenizers import Tokenizer, models
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from benchmarks.jobs import Intervention, Job, Prompts
from benchmarks.tools import logit_difference
from benchmarks.tools.one_by_one import OneByOne, positions


def _bridge(model: GPT2LMHeadModel) -> Any:
    """A bridge over a copy of the model; it wants a folder with the configuration, and a tokenizer."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<eos>": 0}, unk_token="<eos>")),
        eos_token="<eos>",
        bos_token="<eos>",
        pad_token="<eos>",
    )
    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        return TransformerBridge.boot_transformers(
            folder, hf_model=deepcopy(model), tokenizer=tokenizer, device=str(model.device)
        )


class Bridge(OneByOne):
    """`run_with_cache` and `run_with_hooks`, as `transformer_lens.patching` uses them."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        self.config, self.bridge = model.config, _bridge(model).eval()

    def _name(self, job: Job, layer: int) -> str:
        return f"blocks.{layer}.attn.hook_z" if job.site == "z" else f"blocks.{layer}.hook_resid_pre"

    def read(self, job: Job, ids: Tensor, prompts: Prompts) -> tuple[Tensor, list[Tensor]]:
        """As promised by `OneByOne`."""
        names = [self._name(job, layer) for layer in range(self.config.n_layer)]
        logits, cache = self.bridge.run_with_cache(ids, names_filter=lambda name: name in names)
        return logit_difference(logits, prompts), [cache[name] for name in names]

    def forward(
        self, job: Job, ids: Tensor, prompts: Prompts, where: Intervention, new: Tensor | None
    ) -> Tensor:
        """As promised by `OneByOne`."""
        rows = positions(where)

        def replace(value: Tensor, hook: object) -> Tensor:
            place = (slice(None), rows) if where.head is None else (slice(None), rows, where.head)
            value[place] = 0 if new is None else new[place]
            return value

        hooks = [(self._name(job, where.layer), replace)]
        return logit_difference(self.bridge.run_with_hooks(ids, fwd_hooks=hooks), prompts)
