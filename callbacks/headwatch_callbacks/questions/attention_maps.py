"""What every head attends to, on a schedule, while the model trains."""

from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor
from transformers import GPT2LMHeadModel

from headwatch.model.gpt2 import layout
from headwatch.prompts.pairs import PromptPairs
from headwatch.scores.attention_patterns import attention_patterns, head_scores
from headwatch_callbacks.lightning_trainer.probe_callback import Findings, ProbeCallback, ProbeOptions
from headwatch_callbacks.lightning_trainer.progress import PassProgress
from headwatch_callbacks.questions.prompt_source import PromptSource, TaskPairs, Tokenizer
from headwatch_callbacks.questions.result import AttentionFrame


class AttentionMaps(ProbeCallback):
    """Attention maps of a few clean prompts, and scores that say which kind of head each one is.

    Example:
        >>> probe = AttentionMaps("pairs.jsonl", tokenizer="gpt2", every_n_epochs=1)
        >>> trainer = L.Trainer(callbacks=[probe])
        >>> trainer.fit(module, data)
        >>> sorted(hw.Record.read(record_folder(trainer)).scores[-1].scores)[:3]
        ['duplicate_token', 'entropy', 'first_token']

    Previous-token, duplicate-token and induction scores are read on random repeated tokens, entropy, attention to
    the first token and the largest weight on all clean prompts; see `headwatch.head_scores`.

    Args:
        pairs: prompt pairs: a JSON Lines file, a task, or the pairs themselves.
        tokenizer: a tokenizer, its name on the Hugging Face hub, or its folder; None where pairs are token ids.
        prompts: how many maps of a head are kept at each pass: those of the first so many clean prompts.
        seed: of the random repeated tokens.
        **options: when and where; see `ProbeCallback`.

    Raises:
        ValueError: options that contradict each other or can't take effect.
    """

    probe = "patterns"

    def __init__(
        self,
        pairs: str | Path | TaskPairs | PromptPairs,
        tokenizer: Tokenizer | None = None,
        prompts: int = 4,
        seed: int = 0,
        **options: Unpack[ProbeOptions],
    ) -> None:
        super().__init__(**options)
        if prompts < 1:
            raise ValueError(f"prompts={prompts} can't take effect: give 1 or more")
        self.source = PromptSource(pairs, tokenizer)
        self.prompts, self.seed = prompts, seed
        self._pairs: PromptPairs | None = None

    @property
    def question(self) -> str:
        """`patterns`."""
        return "patterns"

    def prepare(self, model: GPT2LMHeadModel) -> None:
        """Read the pairs."""
        self._pairs = self.source.read(layout(model)).to(model.device)

    def measure(self, model: GPT2LMHeadModel, progress: PassProgress) -> Findings:
        """Look at every head."""
        assert self._pairs is not None
        shown = self._pairs[: self.prompts]
        maps = attention_patterns(model, shown.clean, shown.attention_mask)
        found = head_scores(model, self._pairs.clean, self._pairs.attention_mask, seed=self.seed)
        scores = {name: score.cpu() for name, score in found.as_dict().items()}
        frame = AttentionFrame(maps.float().cpu(), shown.tokens)
        return Findings(scores=scores, frame=frame, scalars=_largest(scores), pairs=self._pairs)


def _largest(scores: dict[str, Tensor]) -> dict[str, float]:
    """The score of the head that is most of each kind."""
    kinds = ("previous_token", "duplicate_token", "induction")
    return {f"largest_{kind}": scores[kind].nan_to_num(-torch.inf).max().item() for kind in kinds}
