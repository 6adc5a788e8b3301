"""Two small GPT-2s, trained from a seed: the demo's, and a deeper one on three tasks mixed."""

import itertools
from collections.abc import Iterator
from random import Random

import torch
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel

import headwatch as hw
from benchmarks.estimates.prompts import Material, mixed_tasks
from examples.ioi_demo import HELD_OUT, NAMES, draw, held_out_pairs, word_tokenizer

BATCH = 64
WARM_UP = 100  # steps
LEARNING_RATE = 1e-3


def demo_material(steps: int, n_pairs: int, seed: int = 0) -> Material:
    """What the demo's model reads: its sentences, and pairs about people whom they never bring together."""
    random, tokenizer = Random(seed), word_tokenizer()
    people = list(itertools.combinations(NAMES, 2))
    random.shuffle(people)
    pairs = hw.PromptPairs.from_pairs(held_out_pairs(random, people[:HELD_OUT], n_pairs), tokenizer)
    drawn = [draw(random, random.choice(people[HELD_OUT:])) for _ in range(BATCH * steps)]
    texts = [f"{sentence.prompt(sentence.giver)} {sentence.receiver}" for sentence in drawn]
    return Material(torch.tensor(tokenizer(texts)["input_ids"]), pairs, len(tokenizer))


def mixed_material(steps: int, n_pairs: int, seed: int = 0) -> Material:
    """What the deeper model reads: enough sentences for so many steps."""
    return mixed_tasks(BATCH * steps + n_pairs, n_pairs, seed)


def gpt2(n_layers: int, n_heads: int, vocabulary: int, seed: int = 0) -> GPT2LMHeadModel:
    """An untrained GPT-2 of width 128, without dropout."""
    torch.manual_seed(seed)
    config = GPT2Config(
        n_layer=n_layers, n_head=n_heads, n_embd=128, n_positions=32, vocab_size=vocabulary,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def train(model: GPT2LMHeadModel, material: Material) -> Iterator[int]:
    """Train on each sentence once, `BATCH` at a step; yields the number of steps done, from 1, after each."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / WARM_UP))
    batches = material.sentences.split(BATCH)
    for step, ids in enumerate(batches, start=1):
        model.train()
        logits = model(ids).logits[:, :-1]
        loss = cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        yield step


@torch.no_grad()
def accuracy(model: GPT2LMHeadModel, pairs: hw.PromptPairs) -> dict[str, float]:
    """The share of pairs whose answer has a higher logit than the foil, task by task."""
    model.eval()
    logits = model(pairs.clean).logits[:, -1]
    right = logits.gather(1, pairs.answer[:, None]) > logits.gather(1, pairs.foil[:, None])
    found = {}
    for task in dict.fromkeys(pairs.tasks):
        rows = [row for row, name in enumerate(pairs.tasks) if name == task]
        found[task] = float(right[rows].float().mean())
    return found
