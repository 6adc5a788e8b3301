"""Which prompt pairs a probe looks at, in a form that a YAML file can hold."""

from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from headwatch import tasks
from headwatch.model.architecture import Sizes
from headwatch.prompts.pairs import PromptPairs

Tokenizer = str | Path | PreTrainedTokenizerBase


@dataclass(frozen=True)
class TaskPairs:
    """Prompt pairs that a task of `headwatch.tasks` makes.

    Example:
        >>> probe = HeadAblation(TaskPairs("induction", n=32), every_n_train_steps=100)

    Args:
        task: the task's name, such as `ioi`; `induction` needs no tokenizer and fits itself to the model.
        n: how many pairs.
        seed: which ones.
    """

    task: str
    n: int = 64
    seed: int = 0


@dataclass(frozen=True)
class PromptSource:
    """Prompt pairs that are still to be made.

    Args:
        pairs: a JSON Lines file, a task, or the pairs themselves.
        tokenizer: a tokenizer, its name on the Hugging Face hub, or its folder; None where the file holds token
            ids, the pairs are there already, or the task needs none.
    """

    pairs: str | Path | TaskPairs | PromptPairs
    tokenizer: Tokenizer | None

    def __post_init__(self) -> None:
        if isinstance(self.pairs, PromptPairs) and self.tokenizer is not None:
            raise ValueError("tokenizer can't take effect: these PromptPairs are tokenised already")

    def read(self, sizes: Sizes) -> PromptPairs:
        """Make the pairs, and check that a model of these sizes can run them.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: pairs that can't be used; the message names file and line.
        """
        pairs = self._make(sizes)
        pairs.check(sizes)
        return pairs

    def _make(self, sizes: Sizes) -> PromptPairs:
        if isinstance(self.pairs, PromptPairs):
            return self.pairs
        tokenizer = str(self.tokenizer) if isinstance(self.tokenizer, Path) else self.tokenizer
        if isinstance(self.pairs, TaskPairs):
            return self._make_task(self.pairs, tokenizer, sizes)
        return PromptPairs.from_jsonl(self.pairs, tokenizer)

    def _make_task(
        self, wanted: TaskPairs, tokenizer: PreTrainedTokenizerBase | str | None, sizes: Sizes
    ) -> PromptPairs:
        if wanted.task == "induction" and tokenizer is None:
            length = min(25, sizes.n_positions // 2, sizes.d_vocab // 2)
            fitting = {"vocab_size": sizes.d_vocab, "length": length}
            return tasks.make("induction", None, wanted.n, wanted.seed, **fitting)
        return tasks.make(wanted.task, tokenizer, wanted.n, wanted.seed)
