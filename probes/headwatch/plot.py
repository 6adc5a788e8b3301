"""Pictures of results with matplotlib: `hw.plot.heads(effects)`, `hw.plot.attention(maps, tokens)`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from torch import Tensor

from headwatch.cell_names import Head, cell_name
from headwatch.effects.measured import MeasuredCells
from headwatch.pictures import attention_maps, heat_map
from headwatch.pictures.cell_map import score_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["attention", "heads"]


def __dir__() -> list[str]:
    """What completion offers."""
    return __all__


def heads(
    values: MeasuredCells | Float[Tensor, "..."], *, title: str = "", ax: "Axes | None" = None
) -> "Axes":
    """Draw one number a head, or another unit, as a map: blue below 0, white at 0, red above.

    Example:
        >>> axes = hw.plot.heads(hw.ablate_heads(model, pairs))
        >>> axes = hw.plot.heads(hw.copying_scores(model), title="copying")

    A dot marks what is significant at a false discovery rate of 5 % over all cells (Benjamini & Hochberg 1995).

    Args:
        values: effects, or one number a head, `[layer, head]`, without marks.
        title: what stands above; by default what the effects are of.
        ax: where to draw; None for a new figure.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: numbers of another shape than `[layer, head]`.
    """
    if isinstance(values, MeasuredCells):
        unit = f"effect on {values.metric}"
        return heat_map.draw(values.cell_map(), title=title or values.title, unit=unit, ax=ax)
    if values.ndim != 2:
        raise ValueError(f"values of shape {tuple(values.shape)}: give one number a head, [layer, head]")
    shown = score_map(values.detach().double().cpu().numpy())
    return heat_map.draw(shown, title=title, unit="", ax=ax, signed=bool((values < 0).any()))


def attention(
    maps: Float[Tensor, "*heads query key"], tokens: Sequence[str], heads: Sequence[Head] | None = None
) -> "Figure":
    """Draw attention maps of one prompt: a small map a head, queries down, keys across.

    Example:
        >>> maps = hw.attention_patterns(model, ids)                       # [prompt, layer, head, query, key]
        >>> figure = hw.plot.attention(maps[0], pairs.tokens[0])
        >>> figure = hw.plot.attention(maps[0], pairs.tokens[0], heads=[(9, 6), (9, 9)])

    The tokens stand at the left and the lower edge where the maps are large enough to read them; where they are not,
    a few `heads` have larger maps.

    Args:
        maps: attention weights, `[layer, head, query, key]`; or of a single head, `[query, key]`.
        tokens: the text of each token; padding that follows them is left out.
        heads: only these, as (layer, head), in a row; None for all.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: maps of another shape, fewer positions than tokens, or a head that the maps lack.
    """
    if maps.ndim not in (2, 4) or maps.shape[-1] != maps.shape[-2] or maps.shape[-1] < len(tokens):
        raise ValueError(
            f"maps of shape {tuple(maps.shape)} with {len(tokens)} tokens: give [layer, head, query, key] of one "
            "prompt, or [query, key] of one head, over at least as many positions"
        )
    weights = maps[..., : len(tokens), : len(tokens)].detach().double().cpu().numpy()
    if maps.ndim == 2:
        return attention_maps.draw(weights[None, None], tokens, [[""]])
    grid = _chosen(heads, *maps.shape[:2])
    picked = np.stack([np.stack([weights[head] for head in row]) for row in grid])
    return attention_maps.draw(
        picked, tokens, [[cell_name(("layer", "head"), head) for head in row] for row in grid]
    )


def _chosen(heads: Sequence[Head] | None, layers: int, n_heads: int) -> list[list[Head]]:
    """Which heads are drawn, row by row, if there are such heads."""
    if heads is None:
        return [[(layer, head) for head in range(n_heads)] for layer in range(layers)]
    if not heads:
        raise ValueError("heads=[]: give some as (layer, head), or None for all")
    for layer, head in heads:
        if not (0 <= layer < layers and 0 <= head < n_heads):
            raise ValueError(
                f"heads: {(layer, head)} is none of these maps: layers 0 to {layers - 1}, heads 0 to {n_heads - 1}"
            )
    return [[(layer, head) for layer, head in heads]]
