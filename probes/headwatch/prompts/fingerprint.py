"""What tells one set of prompt pairs from another: a hash of all that an effect on them depends on."""

import hashlib
import json

from headwatch.prompts.pairs import PromptPairs


def fingerprint(pairs: PromptPairs) -> str:
    """The SHA-256 of the pairs' tokens, answers, foils and positions, in their order; padding plays no part."""
    answers = pairs.answer[:, None] if pairs.answer_set is None else pairs.answer_set
    foils = pairs.foil[:, None] if pairs.foil_set is None else pairs.foil_set
    columns = (pairs.lengths, pairs.position, pairs.clean, pairs.corrupted, answers, foils)
    rows = [
        [length, position, clean[:length], corrupted[:length], _real(right), _real(wrong)]
        for length, position, clean, corrupted, right, wrong in zip(
            *(column.tolist() for column in columns), strict=True
        )
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _real(tokens: list[int]) -> list[int]:
    """A set's tokens without its padding."""
    return [token for token in tokens if token >= 0]
