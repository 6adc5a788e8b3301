"""What the fuzz tests draw: odd values, text that breaks things, and how many cases a test gets."""

from hypothesis import settings
from hypothesis import strategies as st


def share(of_all: float) -> settings:
    """A share of the profile's number of cases, for tests whose cases take long."""
    return settings(max_examples=max(1, round(settings.default.max_examples * of_all)))  # type: ignore[union-attr]


hostile_text = st.text(max_size=20) | st.sampled_from(
    [
        "",
        " ",
        ".",
        "..",
        "../../x",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "C:x",
        "\x00",
        "a\nb",
        "\ud83d",
        "\u202eabc",
        "</script><img src=x onerror=alert(1)>",
        "[red]x[/]",
        "%s%n",
        "x" * 3000,
        "𝔷",
        "z٣",
        "-1",
        "nan",
        "1e400",
        "9" * 5000,
    ]
)
odd_numbers = st.sampled_from(
    [
        0,
        -1,
        1,
        2,
        3,
        10**6,
        2**31,
        2**63,
        2**64,
        10**400,
        1.0,
        1.5,
        0.0,
        -0.0,
        float("nan"),
        float("inf"),
        1e-320,
    ]
)
odd_values = (
    st.none()
    | st.booleans()
    | odd_numbers
    | hostile_text
    | st.lists(st.integers(-2, 70), max_size=4)
    | st.just({})
    | st.just({"a": [1]})
)


def is_one_sentence(text: str) -> bool:
    """Whether a message reads as one sentence for people."""
    return bool(text.strip()) and "\n" not in text and len(text) < 6_000


def check_told(error: BaseException, names: str = "") -> None:
    """An error says in one sentence what is wrong, and names a file."""
    assert is_one_sentence(str(error)), error
    assert names in str(error), error
