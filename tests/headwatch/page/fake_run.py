"""A run that looks like a training run: heads grow at different steps, attention forms, the rest is noise."""

from pathlib import Path

import numpy as np
import torch

from headwatch.effects import Effects
from headwatch.prompts.pairs import PromptPairs
from headwatch.record import RecordWriter
from tests.models import random_pairs

HOSTILE = "</script><img src=x onerror=alert(1)>"
PROMPT = [
    "<|endoftext|>",
    "When",
    " Mary",
    " and",
    " John",
    " went",
    " to",
    " the",
    " store",
    ",",
    " John",
    " gave",
]
PROMPT += [" a", " drink", " to"]
OTHERS = ["Tom", "Ann", "Leo", "Eve", "Sam", "Kim", "Max"]


def grown(step: int, at: float, width: float) -> float:
    """From 0 to 1 around a step."""
    return float(1 / (1 + np.exp(-(step - at) / width)))


def planted(layers: int, heads: int, steps: int) -> list[tuple[int, int, float, float]]:
    """Layer, head, final effect and the step at which it appears."""
    wished = [
        (9, 9, 1.1, 0.6),
        (5, 5, 0.85, 0.3),
        (10, 7, -0.8, 0.7),
        (0, 1, 0.3, 0.1),
        (2, 2, 0.25, 0.2),
        (6, 9, 0.55, 0.5),
    ]
    return [(a % layers, b % heads, size, at * steps) for a, b, size, at in wished]


def head_means(step: int, shape: tuple[int, int], last: int, seed: int) -> torch.Tensor:
    """The true effect of each head at a step, `[layer, head]`."""
    generator = torch.Generator().manual_seed(seed)
    means = 0.03 * torch.randn(shape, generator=generator) * grown(step, last / 2, last / 10)
    for layer, head, size, at in planted(*shape, last):
        means[layer, head] += size * grown(step, at, last / 25)
    return means


def effects_of(
    means: torch.Tensor,
    dims: tuple[str, ...],
    kind: str,
    metric: str,
    clean: float,
    corrupted: float | None,
    pairs: int,
    seed: int,
) -> Effects:
    """Noisy effects per pair around the given means."""
    generator = torch.Generator().manual_seed(seed)
    per_pair = means + 0.12 * torch.randn((pairs, *means.shape), generator=generator)
    return Effects(
        per_pair,
        torch.full((pairs,), clean),
        None if corrupted is None else torch.full((pairs,), corrupted),
        dims,
        site="z",
        kind=kind,
        metric=metric,
    )


def attention(step: int, last: int, shape: tuple[int, int], tokens: int, prompts: int) -> torch.Tensor:
    """Maps that start diffuse and sharpen, `[prompt, layer, head, query, key]`."""
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn((prompts, *shape, tokens, tokens), generator=generator)
    scores[..., 0] += 1.5 * grown(step, last / 3, last / 12)
    for layer, head, size, at in planted(*shape, last):
        offset = 1 + (layer + head) % 3
        strength = 7 * abs(size) * grown(step, at, last / 25)
        scores[:, layer, head] += strength * torch.diag_embed(torch.ones(tokens - offset), offset=-offset)
    causal = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    return scores.masked_fill(~causal, -torch.inf).softmax(-1)


def prompt_tokens(prompts: int, hostile: bool) -> list[list[str]]:
    """Prompts of one length; the last of them hostile."""
    rows = [[token.replace("Mary", OTHERS[i % len(OTHERS)]) for token in PROMPT] for i in range(prompts)]
    if hostile:
        nasty = [HOSTILE, "\u202eabc", "\n", "\t", "&amp;", '"quoted"', "=1+1", "\ud83d", "é", "你好"]
        rows[-1] = (nasty + PROMPT)[: len(PROMPT)]
    return rows


def pairs_of(rows: list[list[str]]) -> PromptPairs:
    """Pairs whose second name differs."""
    ids = torch.arange(len(rows) * len(PROMPT)).reshape(len(rows), -1)
    answers = torch.zeros(len(rows), dtype=torch.long)
    pairs = PromptPairs.from_tokens(ids, ids, answers, answers + 1)
    corrupted = tuple(tuple(" Anna" if i == 10 else token for i, token in enumerate(row)) for row in rows)
    clean = tuple(tuple(row) for row in rows)
    return type(pairs)(**(vars(pairs) | {"tokens": clean, "corrupted_tokens": corrupted}))


def write_run(
    directory: Path,
    name: str = "gpt2-ioi-demo",
    shape: tuple[int, int] = (12, 12),
    passes: int = 50,
    every: int = 40,
    frames: int = 20,
    prompts: int = 8,
    series: int = 1,
    by_position: bool = True,
    hostile: bool = False,
    per_pair: bool = False,
    seed: int = 0,
) -> Path:
    """Write a whole run: `passes` passes of each of `series` questions, and everything else that a page shows."""
    last = (passes - 1) * every
    rows = prompt_tokens(prompts, hostile)
    kinds = [
        ("ablation", "mean", "loss"),
        ("patching", "denoise", "logit_diff"),
        ("ablation", "zero", "loss"),
        ("patching", "noise", "logit_diff"),
    ]
    with RecordWriter(
        directory, name=name, model={"n_layers": shape[0], "n_heads": shape[1], "d_head": 64}
    ) as writer:
        writer.prompts(pairs_of(rows))
        for i in range(passes):
            step = i * every
            write_pass(writer, step, last, shape, kinds[:series], seed + i, per_pair)
            if by_position and i % 4 == 0:
                write_positions(writer, step, last, shape, seed + i)
            if frames and i % max(1, -(-passes // frames)) == 0:
                writer.patterns(step, 0, "maps", attention(step, last, shape, len(PROMPT), prompts), rows)
        if hostile:
            writer.note("warning", HOSTILE)
    return directory


def write_pass(
    writer: RecordWriter,
    step: int,
    last: int,
    shape: tuple[int, int],
    kinds: list[tuple[str, str, str]],
    seed: int,
    per_pair: bool = False,
) -> None:
    """One pass of each question, with scores and the training loss."""
    means = head_means(step, shape, last, 0)
    rng = np.random.default_rng(seed)
    pairs = random_pairs(48) if per_pair else None
    for probe, kind, metric in kinds:
        sign = -1 if metric == "logit_diff" and kind == "noise" else 1
        clean, corrupted = (
            0.2 + 4 * grown(step, last / 2, last / 20),
            -0.2 - 4 * grown(step, last / 2, last / 20),
        )
        given = None if probe == "ablation" else corrupted
        effects = effects_of(sign * means, ("layer", "head"), kind, metric, clean, given, 48, seed)
        writer.effects(
            step, step // 400, probe, f"{probe}/z/{kind}/{metric}", effects, seconds=1.3, pairs=pairs
        )
    scores = {
        name: (means.abs() * (i + 1) / 3 + 0.05).clamp(max=1)
        for i, name in enumerate(["previous_token", "duplicate_token", "induction"])
    }
    writer.scores(step, step // 400, "scores", scores, seconds=0.2)
    for part in range(4):
        at = step + part * 10
        loss = (
            5.2
            - 3.4 * grown(at, last / 2, last / 12)
            - 0.8 * grown(at, 0, last / 12)
            + 0.06 * rng.standard_normal()
        )
        writer.scalars(at, {"train/loss": float(loss)})


def write_positions(writer: RecordWriter, step: int, last: int, shape: tuple[int, int], seed: int) -> None:
    """Patching by position: of the stream by layer, and of each head."""
    tokens, depth = len(PROMPT), shape[0]
    size = grown(step, last / 2, last / 15)
    stream = torch.zeros(depth, tokens)
    stream[: depth * 2 // 3, 10] = 4.0 * size
    stream[depth * 2 // 3 :, tokens - 1] = 3.6 * size
    effects = effects_of(
        stream, ("layer", "position"), "denoise", "logit_diff", 4 * size + 0.2, -4 * size - 0.2, 48, seed
    )
    writer.effects(
        step,
        0,
        "patching",
        "patching/resid_pre/position",
        type(effects)(**(vars(effects) | {"site": "resid_pre"})),
        2.0,
    )
    by_head = torch.zeros(*shape, tokens)
    by_head[..., tokens - 1] = head_means(step, shape, last, 0)
    effects = effects_of(by_head, ("layer", "head", "position"), "denoise", "logit_diff", 4.0, -4.0, 48, seed)
    writer.effects(step, 0, "patching", "patching/z/position", effects, 8.0)
