"""Every held-out pair's exact effects and what is cheaply known of them: estimates are drawn from these tables.

    python -m benchmarks.estimates.tables --out runs/estimates

trains both models (about ten minutes on a core) and writes one file a model, step and question. Weights that are in
the folder already are not trained again.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import headwatch as hw
from benchmarks.estimates.models import accuracy, demo_material, gpt2, mixed_material, train
from benchmarks.estimates.prompts import Material
from headwatch.interventions.sites import DIRECTIONS

METRICS = ("logit_diff", "loss")
KINDS = ("mean", "denoise")


@dataclass(frozen=True)
class Trained:
    """A model that is trained here, and the steps at which it is asked.

    Attributes:
        name: in file names and tables.
        n_layers: how many layers.
        n_heads: how many heads in each.
        steps: when effects are measured, by a word that says what the model is like then.
        of_steps: for how many steps sentences are made; their order depends on it.
    """

    name: str
    n_layers: int
    n_heads: int
    steps: dict[str, int]
    of_steps: int

    def material(self, n_pairs: int) -> Material:
        """What it reads, and so many held-out pairs."""
        make = demo_material if self.name == "demo" else mixed_material
        return make(self.of_steps, n_pairs)


MODELS = (
    Trained("demo", 4, 4, {"late": 600}, of_steps=600),
    Trained("deep", 8, 8, {"early": 360, "phase": 540, "late": 1260}, of_steps=2400),
)


@dataclass(frozen=True, eq=False)
class Table:
    """One question, answered for every pair.

    Attributes:
        kind: `mean` or `denoise`.
        metric: what is measured.
        pairs: the prompt pairs.
        exact: exact effects, `[pair, layer, head]`.
        last: exact effects of replacing z at the answer position alone, `[pair, layer, head]`.
        attribution: first-order effects position by position, `[pair, layer, head, position]`.
        bf16: exact effects in bfloat16, `[pair, layer, head]`.
        clean: the metric on each clean prompt, `[pair]`.
        corrupted: the metric on each corrupted prompt, `[pair]`.
    """

    kind: str
    metric: str
    pairs: hw.PromptPairs
    exact: Tensor
    last: Tensor
    attribution: Tensor
    bf16: Tensor
    clean: Tensor
    corrupted: Tensor

    def __getitem__(self, rows: Tensor) -> "Table":
        """The table of some of the pairs, each as often as it is named."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(
            self, **{name: value[rows] for name, value in values.items() if not isinstance(value, str)}
        )

    def save(self, path: Path) -> None:
        """Write the table to a file."""
        torch.save({each.name: getattr(self, each.name) for each in fields(self)}, path)

    @classmethod
    def load(cls, path: Path) -> "Table":
        """The table of a file."""
        return cls(**torch.load(path, weights_only=False))


def tables(
    model: nn.Module, pairs: hw.PromptPairs, kind: str, metrics: Sequence[str] = METRICS
) -> list[Table]:
    """The answers to one question by some metrics, for all pairs; the means of an ablation come from all of them."""
    exact, bf16, single = (
        _effects(model, pairs, kind, list(metrics), **options)
        for options in ({}, {"precision": "bf16"}, {"by_position": True})
    )
    first_order = hw.attribute_heads(model, pairs, target=kind, metric=list(metrics), by_position=True)
    found = []
    for name in metrics:
        effects, last = exact[name], single[name].per_pair[..., -1].clone()
        corrupted = effects.clean if effects.corrupted is None else effects.corrupted
        parts = (last, first_order[name].per_pair, bf16[name].per_pair, effects.clean, corrupted)
        found.append(Table(kind, name, pairs, effects.per_pair, *parts))
    return found


def _effects(
    model: nn.Module, pairs: hw.PromptPairs, kind: str, metrics: list[str], **options: Any
) -> dict[str, hw.Effects]:
    if kind in DIRECTIONS:
        return hw.patch_activations(model, pairs, direction=kind, metric=metrics, **options)
    return hw.ablate(model, pairs, kind=kind, metric=metrics, **options)


def make(trained: Trained, folder: Path, n_pairs: int = 512) -> None:
    """Train a model, unless its weights are in the folder, and write its tables at each of its steps."""
    material = trained.material(n_pairs)
    model = gpt2(trained.n_layers, trained.n_heads, material.vocabulary)
    weights = {step: folder / f"{trained.name}-{word}-weights.pt" for word, step in trained.steps.items()}
    if not all(path.exists() for path in weights.values()):
        for step in train(model, material):
            if step in weights:
                torch.save(model.state_dict(), weights[step])
            if step == max(weights):
                break
    for word, step in trained.steps.items():
        model.load_state_dict(torch.load(weights[step]))
        print(trained.name, step, word, accuracy(model, material.pairs), flush=True)
        for table in (each for kind in KINDS for each in tables(model, material.pairs, kind)):
            table.save(folder / f"{trained.name}-{word}-{table.kind}-{table.metric}.pt")


def main() -> None:
    """Train both models and write their tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/estimates"))
    parser.add_argument("--pairs", type=int, default=512, help="held-out pairs of each model")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for trained in MODELS:
        make(trained, given.out, given.pairs)


if __name__ == "__main__":
    main()
