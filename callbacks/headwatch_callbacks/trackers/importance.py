"""From a pass to one number a head: which heads matter most, and over how many the importance is spread."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from headwatch.cell_names import Place, place_name
from headwatch.pictures.cell_map import CellMap, score_map
from headwatch_callbacks.questions.result import ProbeResult

TABLE_COLUMNS = (
    "label",
    "rank",
    "unit",
    "row",
    "column",
    "value",
    "stderr",
    "low",
    "high",
    "n",
    "significant",
)
MOST_COLUMNS = 2048  # a wider map (single neurons) is left to the record


def head_maps(result: ProbeResult) -> list[CellMap]:
    """The maps of one pass: its effects if they fit on a picture, then every score."""
    maps = [] if result.effects is None else [result.effects.cell_map()]
    maps += [score_map(score.detach().double().cpu().numpy(), name) for name, score in result.scores.items()]
    return [each for each in maps if each.values.shape[1] <= MOST_COLUMNS]


def entropy(values: Float[np.ndarray, "*shape"]) -> float:
    """How evenly importance is spread, in nats: the entropy of each magnitude's share of their sum.

    0 when one head does everything or none does anything, log(number of heads) when all do the same; NaN when no
    value is a number. Its exponential is the effective number of heads.
    """
    if not np.isfinite(values).any():
        return float("nan")
    magnitude = np.abs(values[np.isfinite(values)]).astype(np.float64)
    magnitude = magnitude[magnitude > 0]
    share = magnitude / magnitude.sum() if magnitude.size else magnitude
    return float(max(0.0, -(share * np.log(share)).sum()))


def effective_heads(values: Float[np.ndarray, "*shape"]) -> float:
    """The number of equally important heads with the same entropy, exp(entropy); 0 when nothing has an effect.

    NaN when no effect is a number.
    """
    known = values[np.isfinite(values)]
    return 0.0 if known.size and not known.any() else float(np.exp(entropy(values)))


def measures_importance(result: ProbeResult) -> bool:
    """Whether a pass says how much heads matter, rather than what they attend to."""
    return result.effects is not None or result.probe == "gradients"


def table_rows(result: ProbeResult) -> Iterator[list[object]]:
    """One row a head and map of one pass, in the order of `TABLE_COLUMNS`, strongest first.

    The interval is each head's own, at 95 %; `significant` is by the false discovery rate over all heads.
    """
    for each in head_maps(result):
        label = f"{result.label}/{each.name}" if each.name else result.label
        for rank, cell in enumerate(each.ranked(), start=1):
            places = [_plain(place) for place in (*each.places(*cell), 0)[:2]]
            yield [
                label,
                rank,
                each.cell_name(*cell),
                *places,
                float(each.values[cell]),
                *_certainty(each, cell),
            ]


def _plain(place: Place) -> int | str:
    """A place as trackers' tables can hold it: its number, or a set's name."""
    return place if isinstance(place, int) else place_name("set", place)


def _certainty(each: CellMap, cell: tuple[int, int]) -> list[object]:
    """Standard error, interval, pairs and significance of a cell; None where it has none."""
    if each.stderr is None or each.low is None or each.high is None or each.significant is None:
        return [None, None, None, each.n, None]
    ends = [float(values[cell]) for values in (each.stderr, each.low, each.high)]
    known = bool(np.isfinite(ends).all())
    return [*(ends if known else [None] * 3), each.n, bool(each.significant[cell]) if known else None]
