"""The options that every question takes: one set for functions, callbacks, the command line and YAML."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from typing import Any, Literal, TypedDict, TypeVar, get_args, get_type_hints

import numpy as np
import torch
from torch import Tensor

from headwatch.interventions.arguments import function_or_none, switch, whole_number
from headwatch.registry import one_of, unknown

Engine = Literal["auto", "hooks", "exact"]
Precision = Literal["bf16"]
Indices = int | Sequence[int] | Tensor | np.ndarray
Heads = Sequence[tuple[int, int]] | Tensor | np.ndarray
Progress = Callable[[int, int], None]
F = TypeVar("F", bound=Callable[..., Any])

ENGINES: tuple[str, ...] = get_args(Engine)
PRECISIONS: tuple[str, ...] = get_args(Precision)


class SweepSettings(TypedDict, total=False):
    """Those of `SweepOptions` that a file can hold."""

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


class SweepOptions(SweepSettings, total=False):
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
            (figures: the page 'precision' of the documentation); None for the model's own and its surroundings'.
        engine: `auto` answers by the sweep engine where it agrees with the model's own forward, else, with a
            warning, by one forward per intervention with hooks; `hooks` always takes hooks; `exact` takes the
            engine, and is an error that says why where it can't follow the model.
        seed: for `resample`.
        progress: called with the pairs done and all pairs.
    """

    progress: Progress | None


@dataclass(frozen=True)
class Options:
    """`SweepOptions`, complete and checked, but for what only a model's sizes can tell: `make_spec` checks that."""

    layers: Any = None
    heads: Any = None
    neurons: Any = None
    given: Any = ()
    by_position: bool = False
    batch_size: int = 64
    max_tokens_per_batch: int | None = None
    precision: Precision | None = None
    engine: Engine = "auto"
    seed: int = 0
    progress: Progress | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Options":
        """The options that a question was given, and the defaults of the others.

        Raises:
            TypeError: there is no such option.
            ValueError: a value that is none for its option.
        """
        for name in options:
            if name not in DEFAULTS:
                raise TypeError(str(unknown("option", name, DEFAULTS)))
        return cls(**{name: _CHECKS[name](name, value) for name, value in options.items()})

    def asks_for(self, name: str) -> bool:
        """Whether an option has another value than its default."""
        value, default = getattr(self, name), DEFAULTS[name]
        return type(value) is not type(default) or bool(value != default)


DEFAULTS: Mapping[str, Any] = {field.name: field.default for field in fields(Options)}


def _size(name: str, value: object) -> int:
    return whole_number(name, value, at_least=1)


def _size_or_none(name: str, value: object) -> int | None:
    return None if value is None else _size(name, value)


def _seed(name: str, value: object) -> int:
    return whole_number(name, value, at_least=0)


def _engine(name: str, value: Any) -> str:
    return one_of(name, value, ENGINES)


def _precision(name: str, value: Any) -> str | None:
    if value is not None and value not in PRECISIONS:
        raise unknown(name, value, PRECISIONS, ", or None for the model's own")
    return value


def _as_given(name: str, value: Any) -> Any:
    return value


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "layers": _as_given,
    "heads": _as_given,
    "neurons": _as_given,
    "given": _as_given,
    "by_position": switch,
    "batch_size": _size,
    "max_tokens_per_batch": _size_or_none,
    "precision": _precision,
    "engine": _engine,
    "seed": _seed,
    "progress": function_or_none,
}


def in_precision(name: Precision | None, device: torch.device) -> AbstractContextManager[object]:
    """The precision of products: as the model and its surroundings have it, or bfloat16."""
    return nullcontext() if name is None else torch.autocast(device.type, dtype=torch.bfloat16)


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
