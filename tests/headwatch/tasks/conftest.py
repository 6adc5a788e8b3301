import re
import sys
from collections.abc import Iterator

import pytest
from transformers import PreTrainedTokenizerFast

from headwatch.tasks import TASKS
from tests.tokenizers import word_level


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """A token for each word, mark and two-digit number that any task may write."""
    texts = " ".join(text for task in TASKS.values() for text in texts_in(vars(sys.modules[task.__module__])))
    words = re.findall(r"\d\d|[^\W\d]+|[^\w\s]", texts)
    return word_level([*words, *(f"{word}s" for word in words), *(f"{year:02d}" for year in range(100))])


def texts_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            if not str(name).startswith("__"):
                yield from texts_in([name, inner])
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts_in(inner)
