"""Every held-out pair's exact effects and what is cheaply known of them: estimates are drawn from these tables.

    python -m benchmarks.estimates.tables --out runs/estimates

trains both models (about fifteen minutes on a core) and writes one file a model, step and question.
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
    """

    name: str
    n_layers: int
    n_heads: int
    steps: dict[str, int]

    def material(self, n_pairs: int) -> Material:
        """What it reads, and so many held-out pairs."""
        make = demo_material if self.name == "demo" else mixed_material
        return make(max(self.steps.values()), n_pairs)


MODELS = (
    Trained("demo", 4, 4, {"late": 600}),
    Trained("deep", 8, 8, {"early": 360, "phase": 540, "late": 1260}),
)


@dataclass(frozen=True, eq=False)
class Table:
    """One question, answered for every pair.

    Attributes:
        kind: `mean` or `denoise`.
        metric: what is measured.
        exact: exact effects, `[pair, layer, head]`.
        last: exact effects of replacing z at the answer position alone, `[pair, layer, head]`.
        attribution: first-order effects position by position, `[pair, layer, head, position]`.
        bf16: exact effects in bfloat16, `[pair, layer, head]`.
        intervened_on: the metric of the run that is intervened on, `[pair]`.
        tasks: each pair's task.
    """

    kind: str
    metric: str
    exact: Tensor
    last: Tensor
    attribution: Tensor
    bf16: Tensor
    intervened_on: Tensor
    tasks: tuple[str, ...]

    def __getitem__(self, rows: Tensor) -> "Table":
        """The table of some of the pairs, each as often as it is named."""
        parts = ("exact", "last", "attribution", "bf16", "intervened_on")
        tasks = tuple(self.tasks[row] for row in rows.tolist())
        return replace(self, **{name: getattr(self, name)[rows] for name in parts}, tasks=tasks)  # type: ignore[arg-type]

    def save(self, path: Path) -> None:
        """Write the table to a file."""
        torch.save({each.name: getattr(self, each.name) for each in fields(self)}, path)

    @classmethod
    def load(cls, path: Path) -> "Table":
        """The table of a file."""
        return cls(**torch.load(path, weights_only=True))


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
        base = exact[name].corrupted if kind == "denoise" else exact[name].clean
        assert base is not None
        last, rough = single[name].per_pair[..., -1].clone(), bf16[name].per_pair
        attribution = first_order[name].per_pair
        found.append(Table(kind, name, exact[name].per_pair, last, attribution, rough, base, pairs.tasks))
    return found


def _effects(
    model: nn.Module, pairs: hw.PromptPairs, kind: str, metrics: list[str], **options: Any
) -> dict[str, hw.Effects]:
    if kind in DIRECTIONS:
        return hw.patch_activations(model, pairs, direction=kind, metric=metrics, **options)
    return hw.ablate(model, pairs, kind=kind, metric=metrics, **options)


def make(trained: Trained, folder: Path, n_pairs: int = 512) -> list[Path]:
    """Train a model, and write its weights and its tables at each of its steps."""
    material = trained.material(n_pairs)
    model, written = gpt2(trained.n_layers, trained.n_heads, material.vocabulary), list[Path]()
    for step in train(model, material):
        for word in (word for word, when in trained.steps.items() if when == step):
            print(trained.name, step, word, accuracy(model, material.pairs))
            torch.save(model.state_dict(), folder / f"{trained.name}-{word}-weights.pt")
            for table in (each for kind in KINDS for each in tables(model, material.pairs, kind)):
                written.append(folder / f"{trained.name}-{word}-{table.kind}-{table.metric}.pt")
                table.save(written[-1])
    return written


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
