"""The options that every question takes: one set for functions, callbacks, the command line and YAML."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypedDict, TypeVar, get_args, get_type_hints

import numpy as np
from torch import Tensor

from headwatch.registry import one_of, unknown

Engine = Literal["auto", "hooks", "exact"]
Precision = Literal["bf16"]
Indices = int | Sequence[int] | Tensor | np.ndarray
Heads = Sequence[tuple[int, int]] | Tensor | np.ndarray
Progress = Callable[[int, int], None]
F = TypeVar("F", bound=Callable[..., Any])

ENGINES: tuple[str, ...] = get_args(Engine)
PRECISIONS: tuple[str, ...] = get_args(Precision)


class SweepOptions(TypedDict, total=False):
    """What every question may be told beside its own arguments; each has a default.

    An option that can't take effect on a question is refused there.

    Attributes:
        layers: only these layers, in this order: a number, numbers, or a range; None for all.
        heads: only these heads of each layer, where heads are replaced one by one; None for all.
        neurons: only these neurons of each layer, where neurons are replaced one by one; None for all.
        given: heads, as (layer, head), that are replaced in every run, at site `z`: effects are then those of
            replacing one more, metric(given heads and this one) − metric(given heads). That shows backup heads,
            which step in where a head is missing (Wang et al. 2022) and which single interventions miss.
        by_position: one position at a time rather than all at once; needs prompts of one length.
        batch_size: pairs whose base runs are kept at once.
        max_tokens_per_batch: tokens of interventions that are under way at once, which bounds the memory; None for
            a default that suits the device. Running out of memory halves it, with a warning.
        precision: `bf16` for a quick screening in bfloat16, at an error of some per cent of the largest effect
            (docs/precision.md has figures); None for the model's own and its surroundings'.
        engine: `auto` answers by the sweep engine where it agrees with the model's own forward, else, with a
            warning, by one forward per intervention with hooks; `hooks` always takes hooks; `exact` takes the
            engine, and is an error that says why where it can't follow the model.
        seed: for `resample`.
        progress: called with the pairs done and all pairs.
    """

    layers: Indices | None
    heads: Indices | None
    neurons: Indices | None
    given: Heads
    by_position: bool
    batch_size: int
    max_tokens_per_batch: int | None
    precision: Precision | None
    engine: Engine
    seed: int
    progress: Progress | None


@dataclass(frozen=True)
class Options:
    """`SweepOptions` with its defaults filled in; the values are as the user gave them, `make_spec` checks them."""

    layers: Any = None
    heads: Any = None
    neurons: Any = None
    given: Any = ()
    by_position: Any = False
    batch_size: Any = 64
    max_tokens_per_batch: Any = None
    precision: Any = None
    engine: Any = "auto"
    seed: Any = 0
    progress: Any = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Options":
        """The options that a question was given, and the defaults of the others.

        Raises:
            TypeError: there is no such option.
            ValueError: an unknown engine or precision.
        """
        for name in options:
            if name not in DEFAULTS:
                raise TypeError(str(unknown("option", name, DEFAULTS)))
        chosen = cls(**options)
        one_of("engine", chosen.engine, ENGINES)
        if chosen.precision is not None and chosen.precision not in PRECISIONS:
            raise unknown("precision", chosen.precision, PRECISIONS, ", or None for the model's own")
        return chosen

    def asks_for(self, name: str) -> bool:
        """Whether an option has another value than its default."""
        value, default = getattr(self, name), DEFAULTS[name]
        return type(value) is not type(default) or bool(value != default)


DEFAULTS: Mapping[str, Any] = {field.name: field.default for field in fields(Options)}


def spell_out_options(function: F) -> F:
    """Let `help()` and tab completion show each of `SweepOptions` where a function takes `**options`."""
    shown = inspect.signature(function)
    hints = get_type_hints(SweepOptions)
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[name])
        for name, default in DEFAULTS.items()
    ]
    own = [each for each in shown.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    function.__signature__ = shown.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    if function.__doc__ is not None:
        function.__doc__ = _with_options(inspect.cleandoc(function.__doc__))
    return function


def _with_options(text: str) -> str:
    """A docstring with the line about `**options` replaced by one entry an option."""
    lines = text.splitlines()
    place = next(number for number, line in enumerate(lines) if line.strip().startswith("**options:"))
    described = inspect.cleandoc(SweepOptions.__doc__ or "").partition("Attributes:\n")[2]
    return "\n".join([*lines[:place], described, *lines[place + 1 :]])
