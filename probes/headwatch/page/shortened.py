"""Names and tokens as the page draws them: whole, unless they are longer than anybody reads."""

import hashlib

LONGEST = 200
LONGEST_NOTE = 2_000


def shortened(text: str, longest: int = LONGEST) -> str:
    """A text, or of one that is longer its beginning, its length and what tells it from others that begin alike.

    Drawn whole, a name of 100,000 characters ends the tab that draws it.

    Example:
        >>> shortened("x" * 100_000)[195:]
        'xxxxx… (100,000 characters, 2cf24dba)'
    """
    if len(text) <= longest:
        return text
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{text[:longest]}… ({len(text):,} characters, {digest})"


def shortened_tokens(prompts: tuple[tuple[str, ...], ...]) -> list[list[str]]:
    """The tokens of each prompt."""
    return [[shortened(token) for token in tokens] for tokens in prompts]
