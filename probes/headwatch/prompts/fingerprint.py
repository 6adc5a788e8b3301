"""What tells one prompt pair from another: a hash of all that an effect on it depends on."""

import hashlib
import json
from collections import Counter

import numpy as np
from jaxtyping import UInt64

from headwatch.prompts.pairs import PromptPairs


def fingerprints(pairs: PromptPairs) -> UInt64[np.ndarray, " pair"]:
    """The first 64 bits of the SHA-256 of each pair's tokens, answers, foils and position; padding plays no part.

    A pair that is there several times has a fingerprint each time.
    """
    answers = pairs.answer[:, None] if pairs.answer_set is None else pairs.answer_set
    foils = pairs.foil[:, None] if pairs.foil_set is None else pairs.foil_set
    columns = (pairs.lengths, pairs.position, pairs.clean, pairs.corrupted, answers, foils)
    seen: Counter[str] = Counter()
    found = []
    for length, position, clean, corrupted, right, wrong in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        row = json.dumps([position, clean[:length], corrupted[:length], _real(right), _real(wrong)])
        seen[row] += 1
        found.append(hashlib.sha256(f"{row}{seen[row]}".encode()).digest()[:8])
    return np.frombuffer(b"".join(found), np.uint64)


def _real(tokens: list[int]) -> list[int]:
    """A set's tokens without its padding."""
    return [token for token in tokens if token >= 0]
