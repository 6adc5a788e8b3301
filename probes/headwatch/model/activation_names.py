"""Activation names, those of TransformerLens, and their aliases and shorthands."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

ATTENTION = ("q", "k", "v", "z", "attn_scores", "pattern", "result")
MLP = ("pre", "mid", "post")
STREAM = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
NORM = ("scale", "normalized")
MODEL = ("embed", "pos_embed")

ALIASES = {
    "attn": "pattern",
    "attn_logits": "attn_scores",
    "key": "k",
    "query": "q",
    "value": "v",
    "mlp_pre": "pre",
    "mlp_mid": "mid",
    "mlp_post": "post",
}
LAYER_TYPE_ALIASES = {"a": "attn", "attention": "attn", "m": "mlp", "b": "", "block": "", "blocks": ""}
LAYER_TYPES = {"attn": ATTENTION, "mlp": MLP, "": STREAM, "ln1": NORM, "ln2": NORM}

NameLike = str | tuple[str, int] | tuple[str, int, str]

_FULL = re.compile(r"(?:blocks\.(\d+)\.)?(?:(attn|mlp|ln1|ln2|ln_final)\.)?hook_([a-z_]+)", re.ASCII)
_SHORTHAND = re.compile(r"([a-z_]+?)(\d+)([a-z][a-z0-9]*)?", re.ASCII)


@dataclass(frozen=True)
class ActName:
    """An activation's name in its parts.

    Attributes:
        name: the short name, such as `pattern`.
        layer: the layer, or None for an activation that the model has once.
        layer_type: `attn`, `mlp`, `ln1`, `ln2`, `ln_final` or the empty string.
    """

    name: str
    layer: int | None
    layer_type: str

    @property
    def full(self) -> str:
        """The full name, such as `blocks.5.attn.hook_pattern`."""
        layer = "" if self.layer is None else f"blocks.{self.layer}."
        layer_type = f"{self.layer_type}." if self.layer_type else ""
        return f"{layer}{layer_type}hook_{self.name}"


def act_name(name: str, layer: int | None = None, layer_type: str | None = None) -> str:
    """The full name of an activation.

    Example:
        >>> hw.act_name("pattern", 5)
        'blocks.5.attn.hook_pattern'
        >>> hw.act_name("k6")
        'blocks.6.attn.hook_k'

    Args:
        name: a full name, a short name or alias (`z`, `resid_pre`, `attn`), or a shorthand (`k6`, `scale4ln1`).
        layer: the layer, for a short name.
        layer_type: `attn`, `mlp`, `ln1`, `ln2` or an alias; needed only for `scale` and `normalized`.

    Returns:
        The name, such as `blocks.5.attn.hook_pattern`.

    Raises:
        ValueError: no such activation; the message says what would work.
    """
    return parse(name, layer, layer_type).full


def resolve(name: NameLike) -> str:
    """The full name for a full name, a shorthand or a tuple such as `("k", 6)` or `("k", 6, "a")`.

    Raises:
        ValueError: no such activation.
    """
    return act_name(name) if isinstance(name, str) else act_name(*name)


def parse(name: str, layer: int | None = None, layer_type: str | None = None) -> ActName:
    """The parts of an activation's name; arguments and errors as for `act_name`."""
    if layer is None and layer_type is None:
        if (full := _FULL.fullmatch(name)) is not None:
            return _check_full(name, *full.groups())
        if (short := _SHORTHAND.fullmatch(name)) is not None:
            return _from_parts(short[1], int(short[2]), short[3])
    return _from_parts(name, layer, layer_type)


def _check_full(full: str, layer: str | None, layer_type: str | None, name: str) -> ActName:
    known = name in (NORM if layer_type == "ln_final" else MODEL if layer_type is None else ())
    if layer is not None:
        known = name in LAYER_TYPES.get(layer_type or "", ())
    if not known:
        raise _unknown(full)
    return ActName(name, None if layer is None else int(layer), layer_type or "")


def _from_parts(name: str, layer: int | None, layer_type: str | None) -> ActName:
    short = ALIASES.get(name, name)
    in_final_norm = short in NORM and layer is None and layer_type in (None, "", "ln_final")
    if short in MODEL or in_final_norm:
        return _without_layer(short, layer, layer_type)
    natural = next((kind for kind, names in LAYER_TYPES.items() if short in names), None)
    if natural is None:
        raise _unknown(name)
    if layer is None or layer < 0 or isinstance(layer, bool):
        raise ValueError(f"{name!r} needs a layer, 0 or above, such as ({name!r}, 5); got layer={layer}")
    given = None if layer_type is None else LAYER_TYPE_ALIASES.get(layer_type, layer_type)
    if short in NORM:
        if given not in ("ln1", "ln2"):
            raise ValueError(f"{name!r} in a layer needs layer_type 'ln1' or 'ln2', got {layer_type!r}")
        return ActName(short, layer, given)
    if given not in (None, natural):
        raise ValueError(f"{name!r} belongs to {natural or 'the block'!r}, not to layer_type={layer_type!r}")
    return ActName(short, layer, natural)


def _without_layer(name: str, layer: int | None, layer_type: str | None) -> ActName:
    if layer is not None or (name in MODEL and layer_type):
        raise ValueError(f"{name!r} stands once in the model: it takes no layer={layer}, {layer_type!r}")
    return ActName(name, None, "ln_final" if name in NORM else "")


def _unknown(name: str) -> ValueError:
    known = ", ".join((*ATTENTION, *MLP, *STREAM, *NORM, *MODEL))
    return ValueError(
        f"unknown activation {name!r}; known: {known}, with a layer as in ('z', 5), 'z5' or 'blocks.5.attn.hook_z'"
    )


def all_names(n_layers: int) -> list[str]:
    """Every name that a GPT-2 of so many layers has, in the order in which a forward pass makes them."""
    per_layer: Iterable[tuple[str, str]] = (
        *(("resid_pre", ""), ("scale", "ln1"), ("normalized", "ln1")),
        *((name, "attn") for name in ("q", "k", "v", "attn_scores", "pattern", "z", "result")),
        *(("attn_out", ""), ("resid_mid", ""), ("scale", "ln2"), ("normalized", "ln2")),
        *(("pre", "mlp"), ("post", "mlp"), ("mlp_out", ""), ("resid_post", "")),
    )
    blocks = [ActName(name, layer, kind).full for layer in range(n_layers) for name, kind in per_layer]
    return ["hook_embed", "hook_pos_embed", *blocks, "ln_final.hook_scale", "ln_final.hook_normalized"]
