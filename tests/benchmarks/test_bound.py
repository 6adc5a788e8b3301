"""The count of least arithmetic, held to a sweep that does just that: right effects, and as many operations."""

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config

from benchmarks.bound import Shape, intervention_work, layers_above, sweep_work
from benchmarks.jobs import Intervention, Job
from tests.models import random_ids, tiny_gpt2

LAYERS, HEADS, LENGTH, CHANGED = 3, 4, 6, 2
D_MODEL, D_HEAD = 32, 8
SHAPE = Shape(LAYERS, HEADS, D_MODEL, 4 * D_MODEL, LENGTH)
MODEL = tiny_gpt2()
CLEAN = random_ids(1, LENGTH, seed=1)
OTHER = torch.cat([CLEAN[:, :CHANGED], (CLEAN[:, CHANGED:] + 1) % 61], 1)


class Minimal:
    """A GPT-2 on one prompt that computes, query by query, only what has changed since the run that it keeps."""

    def __init__(self, ids: Tensor) -> None:
        gpt2 = MODEL.transformer
        self.before = [gpt2.wte(ids[0]) + gpt2.wpe.weight[: ids.shape[1]]]
        self.qkv: list[list[Tensor]] = []
        self.scores: list[Tensor] = []
        self.z: list[Tensor] = []
        self.middle: list[Tensor] = []
        for layer in range(LAYERS):
            everywhere = range(LENGTH)
            self.qkv.append([torch.zeros(LENGTH, D_MODEL) for _ in "qkv"])
            self.scores.append(torch.zeros(HEADS, LENGTH, LENGTH))
            self.z.append(torch.zeros(LENGTH, D_MODEL))
            self.middle.append(torch.zeros(LENGTH, D_MODEL))
            qkv, scores, z, middle = self.attention(layer, self.before[-1], list(everywhere), first=0)
            self.qkv[-1], self.scores[-1], self.z[-1], self.middle[-1] = qkv, scores, z, middle
            self.before.append(self.mlp(layer, middle, self.queries(layer, 0)))

    def queries(self, layer: int, first: int) -> list[int]:
        """Positions that go past keys and values."""
        return list(range(first, LENGTH)) if layer < LAYERS - 1 else [LENGTH - 1]

    def attention(
        self, layer: int, stream: Tensor, changed: list[int], first: int
    ) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        """q, k, v, scores, z and the stream after attention, where the stream changed at some positions."""
        block = MODEL.transformer.h[layer]
        weight, bias = block.attn.c_attn.weight, block.attn.c_attn.bias
        normed = block.ln_1(stream)
        queries = self.queries(layer, first)
        qkv = [part.clone() for part in self.qkv[layer]]
        for part, (value, w, b) in enumerate(zip(qkv, weight.chunk(3, 1), bias.chunk(3), strict=True)):
            rows = [row for row in changed if part > 0 or row in queries]
            if rows:
                value[rows] = normed[rows] @ w + b
        q, k, v = (part.view(LENGTH, HEADS, D_HEAD).transpose(0, 1) for part in qkv)
        scores, z = self.scores[layer].clone(), self.z[layer].clone()
        for query in queries:
            keys = [key for key in range(query + 1) if query in changed or key in changed]
            scores[:, query, keys] = (q[:, [query]] @ k[:, keys].transpose(1, 2))[:, 0] / D_HEAD**0.5
            pattern = scores[:, [query], : query + 1].softmax(-1)
            z[query] = (pattern @ v[:, : query + 1]).flatten()
        middle = self.middle[layer].clone()
        out = block.attn.c_proj
        middle[queries] = stream[queries] + z[queries] @ out.weight + out.bias
        return qkv, scores, z, middle

    def mlp(self, layer: int, middle: Tensor, rows: list[int]) -> Tensor:
        """The stream after the layer, right in these rows."""
        block = MODEL.transformer.h[layer]
        after = self.before[layer + 1].clone() if len(self.before) > layer + 1 else middle.clone()
        after[rows] = middle[rows] + block.mlp(block.ln_2(middle[rows]))
        return after

    def above(self, layer: int, stream: Tensor, changed: list[int]) -> Tensor:
        """Two logits after the layers from `layer` on."""
        first = changed[0]
        for upper in range(layer, LAYERS):
            middle = self.attention(upper, stream, changed, first)[3]
            stream = self.mlp(upper, middle, self.queries(upper, first))
            changed = list(range(first, LENGTH))
        return self.read(stream)

    def read(self, stream: Tensor) -> Tensor:
        """The logits of tokens 0 and 1 at the answer."""
        return MODEL.transformer.ln_f(stream[[-1]]) @ MODEL.lm_head.weight[:2].T

    def with_head(self, layer: int, head: int, new: Tensor, rows: list[int]) -> Tensor:
        """Two logits with one head's z replaced."""
        part = slice(head * D_HEAD, (head + 1) * D_HEAD)
        rows = [row for row in rows if row in self.queries(layer, 0)]
        if not rows:
            return self.read(self.before[-1])
        middle = self.middle[layer].clone()
        weight = MODEL.transformer.h[layer].attn.c_proj.weight[part]
        middle[rows] += (new[rows, part] - self.z[layer][rows, part]) @ weight
        stream = self.mlp(layer, middle, rows)
        return self.above(layer + 1, stream, rows) if layer < LAYERS - 1 else self.read(stream)

    def with_stream(self, layer: int, position: int, new: Tensor) -> Tensor:
        """Two logits with the stream before a layer replaced at one position."""
        stream = self.before[layer].clone()
        stream[position] = new[position]
        return self.above(layer, stream, [position])


def by_hook(site: str, where: Intervention, new: Tensor) -> Tensor:
    """Two logits of a whole forward with a plain hook."""
    block = MODEL.transformer.h[where.layer]

    def replace(module: torch.nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        value = args[0].clone()
        rows = slice(CHANGED, None) if where.position is None else where.position
        part = slice(None) if where.head is None else slice(where.head * D_HEAD, (where.head + 1) * D_HEAD)
        value[0, rows, part] = new[rows, part]
        return (value, *args[1:])

    module = block.attn.c_proj if site == "z" else block
    handle = module.register_forward_pre_hook(replace)
    logits = MODEL(OTHER).logits[0, -1:, :2]
    handle.remove()
    return logits


@torch.no_grad()
@pytest.mark.parametrize(("site", "by_position"), [("z", False), ("z", True), ("resid_pre", True)])
def test_least_work_suffices_and_is_what_is_counted(site: str, by_position: bool) -> None:
    job = Job("", site, "denoise", LENGTH, CHANGED, by_position)
    clean, base = Minimal(CLEAN), Minimal(OTHER)
    for where in job.interventions(LAYERS, HEADS):
        if where.position is not None and where.position < CHANGED:
            assert intervention_work(job, SHAPE, where).flops == 0
            continue
        rows = list(range(CHANGED, LENGTH)) if where.position is None else [where.position]
        with FlopCounterMode(display=False) as counter:
            if where.head is None:
                logits = base.with_stream(where.layer, rows[0], clean.before[where.layer])
            else:
                logits = base.with_head(where.layer, where.head, clean.z[where.layer], rows)
        new = clean.z[where.layer] if site == "z" else clean.before[where.layer]
        torch.testing.assert_close(logits, by_hook(site, where, new), atol=1e-5, rtol=1e-5)
        work = intervention_work(job, SHAPE, where).flops
        reaches = where.layer < LAYERS - 1 or where.position in (None, LENGTH - 1) or site == "resid_pre"
        assert work == (counter.get_total_flops() if reaches else 0)


@torch.no_grad()
def test_plain_run_needs_what_is_counted() -> None:
    with FlopCounterMode(display=False) as counter:
        run = Minimal(CLEAN)
        logits = run.read(run.before[-1])
    torch.testing.assert_close(logits, MODEL(CLEAN).logits[0, -1:, :2], atol=1e-5, rtol=1e-5)
    assert layers_above(SHAPE, -1, LENGTH).flops == counter.get_total_flops()


def test_a_sweep_is_its_plain_runs_and_its_interventions_for_every_pair() -> None:
    config = GPT2Config()
    job = Job("", "z", "zero", 15)
    shape = Shape.of(config, 15)
    d, rows = 768, 15
    keys = 15 * 16 // 2
    layer = 24 * rows * d * d + 4 * d * keys
    last = 4 * rows * d * d + 2 * d * d + 4 * d * 15 + 18 * d * d + 4 * d
    clean = 11 * layer + last
    own = 2 * 64 * d * rows + 16 * rows * d * d
    heads = sum(own + (10 - at) * layer + last for at in range(11)) * 12
    top = 12 * (2 * 64 * d + 16 * d * d + 4 * d)
    expected = 8 * (clean + heads + top)
    assert sweep_work(job, shape, 8, job.interventions(12, 12)).flops == expected
