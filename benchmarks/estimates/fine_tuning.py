"""Importance under `max_overhead` while a model is fine-tuned: is it kept, and how far off are the trajectories?

    python -m benchmarks.estimates.fine_tuning [--weights runs/estimates] [--runs 20]

fine-tunes the deeper model of `benchmarks.estimates.tables` with dropout by Lightning, once without a probe, when
every head's exact effect on 512 held-out pairs is measured at each pass' step, and then again and again with
`HeadAblation(max_overhead=0.05)` on 64 of these pairs, other ones each time. Its batches are the same each time and
probes change nothing, so that all runs have the weights of the first; that is checked.
"""

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

import headwatch as hw
from benchmarks.estimates.models import BATCH, gpt2
from benchmarks.estimates.prompts import TASKS, mixed_tasks
from benchmarks.estimates.tables import MODELS
from headwatch.record import Record
from headwatch_callbacks import HeadAblation, probe_share, record_folder

STEPS, EVERY, LIMIT = 400, 100, 0.05
DROPOUT, LEARNING_RATE = 0.1, 1e-4
N_PAIRS = 64
STEPS_BEFORE_ITS_LOSS = 1  # Lightning writes the loss of the k-th step at x = k - 1, and passes stand there
NEW = 7  # the seed of the sentences that the model is fine-tuned on
QUESTION = {"kind": "mean", "metric": "logit_diff"}


@dataclass(frozen=True, eq=False)
class Truth:
    """The exact effects of all heads on all held-out pairs while the model was fine-tuned without a probe.

    Attributes:
        pairs: the held-out pairs.
        effects: by the number of optimizer steps taken, `[pair, layer, head]`.
        weights: what `fit` left.
    """

    pairs: hw.PromptPairs
    effects: Mapping[int, Tensor]
    weights: Mapping[str, Tensor]

    def errors(self, step: int, mean: Tensor) -> Tensor:
        """How far off estimates are, in the standard errors of an exact sweep on `N_PAIRS`, `[layer, head]`."""
        exact = self.effects[step].double()
        return (mean.double() - exact.mean(0)).abs() / (exact.std(0) / N_PAIRS**0.5)


class FineTuned(pl.LightningModule):
    """The deeper model with dropout."""

    def __init__(self, weights: Path, vocabulary: int) -> None:
        super().__init__()
        self.gpt = gpt2(MODELS[1].n_layers, MODELS[1].n_heads, vocabulary)
        self.gpt.load_state_dict(torch.load(weights))
        for module in self.gpt.modules():
            if isinstance(module, nn.Dropout):
                module.p = DROPOUT

    def training_step(self, ids: Tensor) -> Tensor:
        """The loss of the next tokens."""
        logits = self.gpt(ids).logits[:, :-1]
        return cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW at one learning rate."""
        return torch.optim.AdamW(self.parameters(), lr=LEARNING_RATE, weight_decay=0.01)


class ExactEffects(pl.Callback):
    """Measures every head's exact effect on all pairs when a pass would be due."""

    def __init__(self, pairs: hw.PromptPairs) -> None:
        self.pairs = pairs
        self.found: dict[int, Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Before the first step."""
        self._measure(0, pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """After a step at which a pass is due."""
        if trainer.global_step % EVERY == 0:
            self._measure(trainer.global_step, pl_module)

    def _measure(self, step: int, module: nn.Module) -> None:
        with torch.random.fork_rng():
            self.found[step] = hw.ablate_heads(module, self.pairs, **QUESTION).per_pair


def fit(weights: Path, folder: Path, callback: pl.Callback) -> tuple[pl.Trainer, FineTuned]:
    """Fine-tune the model, always on the same batches."""
    new = mixed_tasks(BATCH * STEPS, len(TASKS), seed=NEW)
    pl.seed_everything(0, verbose=False)
    module = FineTuned(weights, new.vocabulary)
    trainer = pl.Trainer(
        max_steps=STEPS, callbacks=[callback], default_root_dir=folder, accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, DataLoader(new.sentences, batch_size=BATCH))
    return trainer, module


def measure_truth(weights: Path, folder: Path) -> Truth:
    """Fine-tune without a probe."""
    pairs = MODELS[1].material(512).pairs
    exact = ExactEffects(pairs)
    _, module = fit(weights, folder, exact)
    return Truth(pairs, exact.found, {name: value.clone() for name, value in module.state_dict().items()})


def probed(weights: Path, folder: Path, truth: Truth, seed: int) -> tuple[float, dict[int, Tensor]]:
    """Fine-tune with a probe on some of the pairs; the share of time that it took, and its passes' errors by step."""
    rows = torch.randperm(len(truth.pairs), generator=torch.Generator().manual_seed(seed))[:N_PAIRS]
    probe = HeadAblation(truth.pairs[rows], **QUESTION, every_n_train_steps=EVERY, max_overhead=LIMIT)
    trainer, module = fit(weights, folder, probe)
    for name, value in module.state_dict().items():
        if not torch.equal(value, truth.weights[name]):
            raise AssertionError(f"the probe changed the training: {name} differs")
    folder_of_record = record_folder(trainer)
    assert folder_of_record is not None
    passes = Record.read(folder_of_record).effects
    print(*(f"{each.step}: {each.n} pairs at {each.cost or 1.0:.2f};" for each in passes), end=" ")
    taken = {each.step + STEPS_BEFORE_ITS_LOSS: torch.as_tensor(each.mean) for each in passes}
    return probe_share(trainer), {step: truth.errors(step, mean) for step, mean in taken.items()}


def main() -> None:
    """Fine-tune, print a line a run and the figures of all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, default=Path("runs/estimates"))
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    weights = given.weights / "deep-late-weights.pt"
    with tempfile.TemporaryDirectory() as folder:
        truth = measure_truth(weights, Path(folder))
        shares, errors = list[float](), dict[int, list[Tensor]]()
        for seed in range(given.runs):
            share, found = probed(weights, Path(folder), truth, seed)
            shares.append(share)
            for step, error in found.items():
                errors.setdefault(step, []).append(error)
            print(f"run {seed}: overhead {share:.1%}, {len(found)} passes", flush=True)
    print(
        f"overhead kept in {sum(share <= LIMIT for share in shares)} of {len(shares)} runs, at most {max(shares):.1%}"
    )
    print("mean absolute error, in an exact sweep's standard errors (its own is 0.8 of them):")
    for step, found in errors.items():
        error = torch.stack(found).mean(0)
        print(f"step {step}: {error.median():.2f} of the median head, {error.max():.2f} of the worst")


if __name__ == "__main__":
    main()
