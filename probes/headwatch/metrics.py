"""What is measured on a run: a number per prompt pair, read at the pair's answer position.

| metric | value | unit |
|---|---|---|
| `loss` | −log p(answer) | nats |
| `logit_diff` | logit(answer) − logit(foil) | logits |
| `prob` | p(answer) | probability |
| `prob_diff` | p(any right answer) − p(any wrong one), where a pair has sets of answers | probability |
| `accuracy` | 1 where the answer has the highest logit, else 0 | share |
| `kl` | KL(clean run ‖ this run) of the next-token distribution | nats |
| `sequence_loss` | mean −log p(next token) over the prompt that is run | nats |
| `activation(...)` | one activation's value, such as a neuron's | its own |
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from headwatch.model.activation_names import NameLike, parse, resolve
from headwatch.registry import Registry


@dataclass(frozen=True)
class Targets:
    """What logits are compared with, for each prompt of a batch.

    Attributes:
        answer: the right token, `[pair]`.
        foil: the wrong token, `[pair]`.
        ids: the tokens of the prompt that is run, `[pair, pos]`.
        lengths: its real tokens, `[pair]`.
        clean_logits: logits of the clean run at the answer position, `[pair, vocab]`; only `kl` reads them.
        answer_set: all right tokens, padded with −1, `[pair, n]`; None: just `answer`.
        foil_set: all wrong tokens, padded with −1, `[pair, n]`; None: just `foil`.
    """

    answer: Int[Tensor, " pair"]
    foil: Int[Tensor, " pair"]
    ids: Int[Tensor, "pair pos"]
    lengths: Int[Tensor, " pair"]
    clean_logits: Float[Tensor, "pair vocab"] | None = None
    answer_set: Int[Tensor, "pair n_answers"] | None = None
    foil_set: Int[Tensor, "pair n_foils"] | None = None


@dataclass(frozen=True)
class ActivationAt:
    """Which number of an activation is the metric: see `activation`."""

    name: str
    neuron: int
    head: int | None
    key: int | None

    def read(
        self, value: Float[Tensor, "pair ..."], position: Int[Tensor, " pair"]
    ) -> Float[Tensor, " pair"]:
        """The number at each pair's position, from the whole activation `[pair, ...]`."""
        rows = torch.arange(len(value), device=value.device)
        if parse(self.name).name in ("attn_scores", "pattern"):
            return value[rows, self.head, position, self.key]
        at_position = value[rows, position]
        return at_position[..., self.neuron] if self.head is None else at_position[:, self.head, self.neuron]


Reads = Literal["answers", "vocabulary", "sequence", "activation"]


@dataclass(frozen=True)
class Metric:
    """A metric: what it reads of a run, and how it makes a number per pair of that.

    Attributes:
        name: its name.
        reads: `answers`: logits of answer and foil at the answer position, `[..., pair, 2]`; `vocabulary`: all
            logits there, `[..., pair, vocab]`; `sequence`: all logits everywhere, `[..., pair, pos, vocab]`;
            `activation`: an activation's number, `[..., pair]`.
        function: `function(values, targets) -> [..., pair]`.
        activation: which activation, for `reads="activation"`.
    """

    name: str
    reads: Reads
    function: Callable[[Tensor, Targets], Tensor] = field(repr=False)
    activation: ActivationAt | None = field(default=None, repr=False)

    def __call__(self, logits: Float[Tensor, "*n pair vocab"], targets: Targets) -> Float[Tensor, "*n pair"]:
        """The metric from all logits at the answer position, `[..., pair, vocab]`.

        Raises:
            ValueError: the metric reads more of a run than these logits.
        """
        if self.reads == "answers":
            return self.function(answer_columns(logits, targets), targets)
        if self.reads != "vocabulary":
            raise ValueError(f"{self.name} is not a function of the logits at the answer position")
        return self.function(logits, targets)


def answer_columns(logits: Float[Tensor, "*n pair vocab"], targets: Targets) -> Float[Tensor, "*n pair 2"]:
    """The logits of answer and foil, `[..., pair, 2]`."""
    columns = torch.stack([targets.answer, targets.foil], dim=-1)
    return logits.gather(-1, columns.expand(*logits.shape[:-1], 2))


def logit_diff(columns: Float[Tensor, "*n pair 2"], targets: Targets) -> Float[Tensor, "*n pair"]:
    """logit(answer) − logit(foil)."""
    return columns[..., 0] - columns[..., 1]


def loss(logits: Float[Tensor, "*n pair vocab"], targets: Targets) -> Float[Tensor, "*n pair"]:
    """−log p(answer), in nats."""
    return logits.logsumexp(-1) - _at(logits, targets.answer)


def prob(logits: Float[Tensor, "*n pair vocab"], targets: Targets) -> Float[Tensor, "*n pair"]:
    """p(answer)."""
    return (-loss(logits, targets)).exp()


def prob_diff(logits: Float[Tensor, "*n pair vocab"], targets: Targets) -> Float[Tensor, "*n pair"]:
    """p(any right answer) − p(any wrong one) (Hanna et al. 2023)."""
    probabilities = logits.softmax(-1)
    right = targets.answer[:, None] if targets.answer_set is None else targets.answer_set
    wrong = targets.foil[:, None] if targets.foil_set is None else targets.foil_set
    return _summed(probabilities, right) - _summed(probabilities, wrong)


def accuracy(logits: Float[Tensor, "*n pair vocab"], targets: Targets) -> Float[Tensor, "*n pair"]:
    """1 where the answer has the highest logit, else 0."""
    return (logits.argmax(-1) == targets.answer).to(logits.dtype)


def kl(logits: Float[Tensor, "*n pair vocab"], targets: Targets) -> Float[Tensor, "*n pair"]:
    """KL(clean run ‖ this run) of the next-token distribution, in nats."""
    assert targets.clean_logits is not None
    clean = targets.clean_logits.log_softmax(-1)
    return (clean.exp() * (clean - logits.log_softmax(-1))).sum(-1)


def sequence_loss(logits: Float[Tensor, "*n pair pos vocab"], targets: Targets) -> Float[Tensor, "*n pair"]:
    """Mean −log p(next token) over the real tokens of the prompt that is run, in nats."""
    next_ids = targets.ids[:, 1:].expand(*logits.shape[:-2], -1)
    flat = cross_entropy(logits[..., :-1, :].flatten(0, -2), next_ids.flatten(), reduction="none")
    index = torch.arange(1, targets.ids.shape[1], device=logits.device)
    real = index < targets.lengths[:, None]
    return (flat.view(next_ids.shape) * real).sum(-1) / real.sum(-1)


def _at(logits: Tensor, tokens: Tensor) -> Tensor:
    """The logit of one token per pair."""
    return logits.gather(-1, tokens.expand(logits.shape[:-1]).unsqueeze(-1)).squeeze(-1)


def _summed(probabilities: Tensor, tokens: Tensor) -> Tensor:
    """The probability of a set of tokens padded with −1."""
    picked = probabilities.gather(-1, tokens.clamp(min=0).expand(*probabilities.shape[:-1], -1))
    return (picked * (tokens >= 0)).sum(-1)


MetricList = list[str] | list[Metric] | list[str | Metric] | tuple[str | Metric, ...]

METRICS: Registry[Metric] = Registry("metric")
METRICS.register("loss", Metric("loss", "vocabulary", loss))
METRICS.register("logit_diff", Metric("logit_diff", "answers", logit_diff))
METRICS.register("prob", Metric("prob", "vocabulary", prob))
METRICS.register("prob_diff", Metric("prob_diff", "vocabulary", prob_diff))
METRICS.register("accuracy", Metric("accuracy", "vocabulary", accuracy))
METRICS.register("kl", Metric("kl", "vocabulary", kl))
METRICS.register("sequence_loss", Metric("sequence_loss", "sequence", sequence_loss))


def get_metric(metric: str | Metric) -> Metric:
    """The metric of a name; a `Metric` is passed through.

    Raises:
        ValueError: an unknown name.
    """
    if isinstance(metric, Metric):
        return metric
    if not isinstance(metric, str):
        raise ValueError(f"metric={metric!r}: give a name, a Metric, or a list of them")
    return METRICS.find(metric, ", or hw.metrics.activation('post3', neuron=17)")


def get_metrics(metric: str | Metric | MetricList) -> tuple[Metric, ...]:
    """One metric, or several: each a name or a `Metric`.

    Raises:
        ValueError: an unknown name, an empty list, or one that names a metric twice.
    """
    if not isinstance(metric, list | tuple):
        return (get_metric(metric),)
    found = tuple(get_metric(one) for one in metric)
    names = [one.name for one in found]
    if not found:
        raise ValueError("metric=[]: give at least one")
    if len(set(names)) < len(names):
        raise ValueError(f"metric={names}: one is named twice")
    return found


def activation(name: NameLike, *, neuron: int = 0, head: int | None = None, key: int | None = None) -> Metric:
    """One number of an activation at the answer position as the metric: how does *this neuron* respond?

    Example:
        >>> neuron = hw.metrics.activation("post3", neuron=17)
        >>> hw.patch_activations(model, pairs, metric=neuron).metric      # which heads drive it?
        'blocks.3.mlp.hook_post[17]'

    Args:
        name: the activation, such as `post3`, `("resid_post", 2)` or `z5`.
        neuron: the index along the activation's last axis.
        head: the head, for `q`, `k`, `v`, `z`, `result`, `attn_scores` and `pattern`.
        key: the key position, for `attn_scores` and `pattern`.

    Raises:
        ValueError: an unknown activation, or a missing or superfluous `head` or `key`.
    """
    full = resolve(name)
    short = parse(full).name
    per_head = short in ("q", "k", "v", "z", "result", "attn_scores", "pattern")
    if per_head != (head is not None):
        raise ValueError(f"activation({full!r}) {'needs' if per_head else 'takes no'} head=, got head={head}")
    if (short in ("attn_scores", "pattern")) != (key is not None):
        raise ValueError(
            f"activation({full!r}) {'takes no' if key is not None else 'needs'} key=, got key={key}"
        )
    place = f"[{neuron}]" if head is None else f"[head {head}, {neuron if key is None else f'key {key}'}]"
    return Metric(
        f"{full}{place}", "activation", lambda values, targets: values, ActivationAt(full, neuron, head, key)
    )
