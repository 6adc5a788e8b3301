"""One set of options: defined once, spelled out where users look, refused where unknown."""

import inspect

import pytest

from headwatch.interventions.options import DEFAULTS, Options, SweepOptions, spell_out_options


def question(pairs, *, kind="mean", **options):
    """Ask.

    Args:
        pairs: the pairs.
        kind: which.
        **options: see `SweepOptions`.

    Returns:
        The answer.
    """
    return options


def test_every_option_has_a_default_and_a_description():
    assert list(SweepOptions.__annotations__) == list(DEFAULTS)
    described = inspect.cleandoc(SweepOptions.__doc__).partition("Attributes:\n")[2]
    entries = [line.split(":")[0].strip() for line in described.splitlines() if line[4] != " "]
    assert entries == list(DEFAULTS)


def test_help_and_completion_show_each_option_once_after_a_questions_own():
    shown = spell_out_options(question)
    parameters = inspect.signature(shown).parameters
    assert list(parameters) == ["pairs", "kind", *DEFAULTS]
    assert {name: parameters[name].default for name in DEFAULTS} == dict(DEFAULTS)
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in ("kind", *DEFAULTS))
    assert all(shown.__doc__.count(f"\n    {name}: ") == 1 for name in DEFAULTS)
    assert (
        shown.__doc__.index("    kind:")
        < shown.__doc__.index("    layers:")
        < shown.__doc__.index("Returns:")
    )
    assert "**options" not in shown.__doc__


def test_defaults_are_filled_in():
    assert Options.of({}) == Options()
    assert Options.of({"seed": 3}).seed == 3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layer": 2}, TypeError, "unknown option 'layer'; known: layers, heads, neurons"),
        ({"engine": "fast"}, ValueError, "unknown engine 'fast'; known: auto, hooks, exact"),
        (
            {"precision": "fp8"},
            ValueError,
            "unknown precision 'fp8'; known: bf16, or None for the model's own",
        ),
    ],
)
def test_what_is_no_option_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        Options.of(options)
