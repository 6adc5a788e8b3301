"""headwatch, as its README says to use it; always the whole sweep."""

import torch
from transformers import GPT2LMHeadModel

import headwatch as hw
from benchmarks.jobs import Intervention, Job, Prompts
from benchmarks.tools import Outcome
from benchmarks.tools.clock import now


class Headwatch:
    """`ablate_heads` and `patch_activations`."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        self.model = model

    def _effects(self, job: Job, pairs: hw.PromptPairs) -> hw.Effects:
        if job.kind == "zero":
            return hw.ablate_heads(self.model, pairs, kind="zero", metric="logit_diff")
        return hw.patch_activations(
            self.model, pairs, site=job.site, direction=job.kind, by_position=job.by_position
        )

    def run(self, job: Job, prompts: Prompts, chosen: list[Intervention]) -> Outcome:
        """Run the job; `effects` are those of the chosen interventions."""
        pairs = hw.PromptPairs.from_tokens(*prompts)
        started = now()
        effects = self._effects(job, pairs)
        seconds = now() - started
        rows = [tuple(axis for axis in where if axis is not None) for where in chosen]
        some = torch.stack([effects.per_pair[:, *row] for row in rows])
        return Outcome(some, 0.0, seconds, 1.0, effects.per_pair.abs().max().item())
