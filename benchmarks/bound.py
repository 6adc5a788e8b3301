"""The least arithmetic that a sweep needs, as matrix products: rows through each `[inputs, outputs]` matrix.

What is counted, and why no less will do, is in README.md beside this file. Only multiply-adds of matrix products
count, two operations each; normalisation, softmax and the activation function are taken to be free.
"""

from collections import Counter
from dataclasses import dataclass, field

from transformers import GPT2Config

from benchmarks.jobs import Intervention, Job


@dataclass(frozen=True)
class Shape:
    """What the count needs to know of a model and its prompts; `length` ends at the answer position."""

    n_layers: int
    n_heads: int
    d_model: int
    d_mlp: int
    length: int

    @classmethod
    def of(cls, config: GPT2Config, length: int) -> "Shape":
        """The shape of a GPT-2 on prompts of a length."""
        d_mlp = config.n_inner or 4 * config.n_embd
        return cls(config.n_layer, config.n_head, config.n_embd, d_mlp, length)


@dataclass
class Work:
    """Arithmetic: `rows[inputs, outputs]` vectors through each matrix, and operations between activations."""

    rows: Counter[tuple[int, int]] = field(default_factory=Counter)
    attention: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.rows + other.rows, self.attention + other.attention)

    def __mul__(self, times: int) -> "Work":
        return Work(Counter({key: rows * times for key, rows in self.rows.items()}), self.attention * times)

    @property
    def flops(self) -> int:
        """Operations, two for each multiply-add."""
        products = sum(2 * rows * inputs * outputs for (inputs, outputs), rows in self.rows.items())
        return products + self.attention


def sweep_work(job: Job, shape: Shape, pairs: int, every: list[Intervention]) -> Work:
    """The least work of a whole job: the runs that nothing is changed in, and every intervention."""
    work = layers_above(shape, -1, shape.length)
    if job.kind == "denoise":
        work += layers_above(shape, -1, shape.length - job.first_change)
    for where in every:
        work += intervention_work(job, shape, where)
    return work * pairs


def intervention_work(job: Job, shape: Shape, where: Intervention) -> Work:
    """The least work of one intervention on one prompt; none where it cannot reach the answer."""
    if where.position is not None and where.position < job.first_change:
        return Work()
    if where.head is None:
        assert where.position is not None
        return changed_at(shape, where.layer, where.position)
    if where.position is None:
        return head_everywhere(shape, where.layer, shape.length - job.first_change)
    return head_at(shape, where.layer, where.position)


def head_everywhere(shape: Shape, layer: int, n: int) -> Work:
    """One head's z replaced at the last `n` positions."""
    if layer == shape.n_layers - 1:
        return _head_output(shape) + _mlp(shape, 1) + _unembedding(shape)
    return _head_output(shape) * n + _mlp(shape, n) + layers_above(shape, layer, n)


def head_at(shape: Shape, layer: int, position: int) -> Work:
    """One head's z replaced at one position."""
    if layer < shape.n_layers - 1:
        return _head_output(shape) + _mlp(shape, 1) + changed_at(shape, layer + 1, position)
    return head_everywhere(shape, layer, 1) if position == shape.length - 1 else Work()


def changed_at(shape: Shape, layer: int, position: int) -> Work:
    """The layers from `layer` on, when the stream before it has changed at one position only.

    The other positions' queries, and the keys and values of all other positions, are those of the base run. Only
    scores with a changed query or key are computed; a softmax changes all weights of a query, so sums are whole.
    """
    d, length = shape.d_model, shape.length
    if layer == shape.n_layers - 1:
        at_answer = position == length - 1
        queries = Work(Counter({(d, d): 1})) if at_answer else Work()
        scores = 2 * d * (length if at_answer else 1)
        keys_values = Work(Counter({(d, 2 * d): 1}), scores + 2 * d * length)
        return keys_values + queries + _after_attention(shape, 1) + _unembedding(shape)
    n = length - position
    scores = 2 * d * (position + 1) + 2 * d * (n - 1)
    sums = 2 * d * _keys_seen(length, n)
    narrow = Work(Counter({(d, 3 * d): 1}), scores + sums) + _after_attention(shape, n)
    return narrow + layers_above(shape, layer, n)


def layers_above(shape: Shape, layer: int, n: int) -> Work:
    """The layers above `layer`, when the stream has changed at the last `n` positions; −1 for a whole run."""
    middle = max(shape.n_layers - 2 - layer, 0)
    last = _last_layer(shape, n) if layer < shape.n_layers - 1 else Work()
    return _layer(shape, n) * middle + last


def _layer(shape: Shape, n: int) -> Work:
    d = shape.d_model
    attention = Work(Counter({(d, 3 * d): n}), 4 * d * _keys_seen(shape.length, n))
    return attention + _after_attention(shape, n)


def _last_layer(shape: Shape, n: int) -> Work:
    """Keys and values at `n` positions, all else at the answer only."""
    d = shape.d_model
    attention = Work(Counter({(d, 2 * d): n}) + Counter({(d, d): 1}), 4 * d * shape.length)
    return attention + _after_attention(shape, 1) + _unembedding(shape)


def _after_attention(shape: Shape, n: int) -> Work:
    return Work(Counter({(shape.d_model, shape.d_model): n})) + _mlp(shape, n)


def _mlp(shape: Shape, n: int) -> Work:
    return Work(Counter({(shape.d_model, shape.d_mlp): n, (shape.d_mlp, shape.d_model): n}))


def _head_output(shape: Shape) -> Work:
    return Work(Counter({(shape.d_model // shape.n_heads, shape.d_model): 1}))


def _unembedding(shape: Shape) -> Work:
    """The answer's and the foil's column."""
    return Work(Counter({(shape.d_model, 2): 1}))


def _keys_seen(length: int, n: int) -> int:
    """Keys that the last `n` queries attend to, together."""
    return sum(range(length - n + 1, length + 1))
