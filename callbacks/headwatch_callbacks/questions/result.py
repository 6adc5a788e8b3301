"""What one pass hands to the record and the trackers: effects, scores or attention maps, and when they were taken."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from headwatch.effects.measured import MeasuredCells
from headwatch.prompts.pairs import PromptPairs


@dataclass(frozen=True)
class AttentionFrame:
    """Attention maps of a few prompts at one step.

    Attributes:
        maps: `[prompt, layer, head, query, key]`, each query's row sums to 1 over the real keys.
        tokens: the text of each prompt's tokens, without padding.
    """

    maps: Float[Tensor, "prompt layer head query key"]
    tokens: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ProbeResult:
    """One pass of one probe.

    Attributes:
        probe: which question was asked: `ablation`, `patching`, `patterns` or `gradients`.
        label: a fixed name for this series, unique within a run, such as `ablation/z/mean/loss`.
        step: the optimizer step, the x that the training loss of the same step has in the tracker.
        epoch: the epoch.
        seconds: how long the pass took.
        effects: effects with error bars, exact or estimated, where the probe measures them.
        scores: per-head scores `[layer, head]` by name, such as `induction`.
        frame: attention maps.
        scalars: the few numbers that summarise the pass, such as the metric on the `clean` prompts.
        pairs: the prompt pairs that the pass looked at.
        overhead: the share of the training time that passes had taken up to here; None where nobody counted.
    """

    probe: str
    label: str
    step: int
    epoch: int
    seconds: float = 0.0
    effects: MeasuredCells | None = None
    scores: Mapping[str, Float[Tensor, "layer head"]] = field(default_factory=dict)
    frame: AttentionFrame | None = None
    scalars: Mapping[str, float] = field(default_factory=dict)
    pairs: PromptPairs | None = None
    overhead: float | None = None
